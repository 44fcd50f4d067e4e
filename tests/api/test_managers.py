"""The managers' calls (API.md, "Managers"): shapes, filters, all or nothing, and whose is whose."""

from __future__ import annotations

import zipfile
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from PIL import Image as Picture
from pytest_django.fixtures import Settings

from labeling.models import LabelEvent, LabelTask
from labeling.submit import submit
from projects.models import Dataset, Datastore, IdempotentCall, LabelClass, Project
from tests import make
from tests.api.doors import JSON, assert_problem, client


def label(project: Project, labeler: User, count: int = 3) -> list[int]:
    """Have some images labeled with the first class; return their ids."""
    page = make.page(project, labeler, count)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]), 30)
    return list(LabelTask.objects.filter(project=project, status="labeled").values_list("image", flat=True))


def png(name: str = "new.png") -> BytesIO:
    content = BytesIO()
    Picture.new("RGB", (8, 8)).save(content, "PNG")
    file = BytesIO(content.getvalue())
    file.name = name
    return file


def test_a_project_takes_and_gives_all_its_fields(manager: User, project: Project) -> None:
    api = client(manager)
    body = {
        "name": "all",
        "task_type": "multilabel",
        "dataset": project.dataset_id,
        "classes": [{"name": "a", "color": "#c0392b"}, {"name": "b"}],
        "instructions": {"url": "https://example.org/how", "text": "Look twice."},
        "incremental_refresh": True,
        "assist": {
            "enabled": False,
            "target_precision": 0.9,
            "min_labels": 50,
            "threshold": 0.8,
            "device": "cpu",
            "training": "head",
        },
    }
    made = api.post("/api/v1/projects/", body, JSON)
    assert made.status_code == 201, made.content
    found = api.get(f"/api/v1/projects/{made.json()['id']}/").json()
    for name in ("name", "task_type", "dataset", "instructions", "incremental_refresh", "assist"):
        assert found[name] == body[name]
    assert [c["name"] for c in found["classes"]] == ["a", "b"]
    assert found["classes"][0]["color"] == "#c0392b"
    assert found["state"] == "running"
    changed = api.patch(f"/api/v1/projects/{found['id']}/", {"assist": {"threshold": None}}, JSON).json()
    assert changed["assist"] == {**body["assist"], "threshold": None}


def test_a_project_with_a_wrong_field_is_not_made(manager: User, project: Project) -> None:
    api = client(manager)
    good = {"name": "x", "task_type": "multiclass", "dataset": project.dataset_id, "classes": [{"name": "a"}]}
    for field, wrong in [
        ("name", project.name),
        ("name", ""),
        ("task_type", "poetry"),
        ("dataset", 10**17),
        ("classes", []),
        ("classes", [{"name": "a"}, {"name": "A"}]),
        ("classes", [{"name": "a", "color": "red"}]),
        ("instructions", {"url": "javascript:alert(1)"}),
        ("assist", {"target_precision": 2}),
        ("assist", {"device": "cuda:99"}),
    ]:
        answer = api.post("/api/v1/projects/", {**good, field: wrong}, JSON)
        assert_problem(answer, 400)
        assert answer.json()["errors"], (field, wrong)
    assert Project.objects.count() == 1


def test_what_is_settled_can_not_be_patched(manager: User, project: Project) -> None:
    other = make.dataset(Path(project.dataset.datastore.container))
    answer = client(manager).patch(f"/api/v1/projects/{project.pk}/", {"name": "no", "dataset": other.pk}, JSON)
    assert_problem(answer, 409, "dataset can't change")
    project.refresh_from_db()
    assert project.name != "no"


def test_lists_come_in_pages_that_lead_on(manager: User, project: Project) -> None:
    api = client(manager)
    seen, address = [], f"/api/v1/projects/{project.pk}/images/?page_size=8"
    while address:
        page = api.get(address).json()
        assert set(page) == {"next", "previous", "results"}
        seen += [image["id"] for image in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 20
    assert len(api.get(f"/api/v1/projects/{project.pk}/images/?page_size=5000").json()["results"]) == 20


def test_progress_has_its_shape_and_adds_up(manager: User, labeler: User, project: Project) -> None:
    label(project, labeler, 3)
    make.page(project, labeler, 2)
    found = client(manager).get(f"/api/v1/projects/{project.pk}/progress/").json()
    first, second, third = make.class_ids(project)
    assert found.pop("refreshed_at").endswith("Z")
    pending = found["pending"]
    assert pending == {"unqueued": 0, "queued": 15, "claimed": 2}
    assert found == {
        "total": 20,
        "labeled": 3,
        "skipped": 0,
        "needs_review": 0,
        "unreadable": 0,
        "missing": 0,
        "pending": pending,
        "queue": {"manual": 15, "clustered": 0, "prelabeled": 0},
        "labels": {str(first): 3},
        "next_training": None,
    }


def test_every_filter_of_the_images_works(manager: User, labeler: User, project: Project) -> None:
    ids = set(label(project, labeler, 3))
    api, (first, second, _third) = client(manager), make.class_ids(project)
    path = LabelTask.objects.get(image=min(ids)).image.path

    def found(query: str) -> set[int]:
        answer = api.get(f"/api/v1/projects/{project.pk}/images/?{query}")
        assert answer.status_code == 200, answer.content
        return {image["id"] for image in answer.json()["results"]}

    everything = found("")
    assert found("status=labeled") == ids
    assert found("status=labeled,queued") == everything
    assert (found(f"label_class={first}"), found(f"label_class={second}")) == (ids, set())
    assert (found(f"labeler={labeler.pk}"), found(f"labeler={manager.pk}")) == (ids, set())
    assert (found("since=2020-01-01"), found("until=2020-01-01"), found("until=2099-01-01")) == (ids, set(), ids)
    assert (found("kind=manual"), found("kind=clustered")) == (everything, set())
    assert found(f"path={path}") == {min(ids)}
    assert found(f"status=queued&labeler={labeler.pk}") == set()


@pytest.mark.parametrize(
    "query",
    ["status=lost", "label_class=first", "labeler=-1", "since=yesterday", "until=2026-99-99", "kind=odd", "path=%00"],
)
def test_a_filter_that_can_not_be_read_is_refused(manager: User, project: Project, query: str) -> None:
    assert_problem(client(manager).get(f"/api/v1/projects/{project.pk}/images/?{query}"), 400)


def test_an_image_tells_its_history(manager: User, labeler: User, project: Project) -> None:
    image = label(project, labeler, 1)[0]
    api = client(manager)
    api.post(f"/api/v1/projects/{project.pk}/approve/", {"images": [image]}, JSON)
    api.post(f"/api/v1/projects/{project.pk}/reject/", {"images": [image]}, JSON)
    found = api.get(f"/api/v1/projects/{project.pk}/images/{image}/").json()
    given = [{"label_class": make.class_ids(project)[0]}]
    assert [(e["action"], e["by"], e["before"], e["labels"]) for e in found["history"]] == [
        ("submitted", "labeler", [], given),
        ("approved", "manager", given, given),
        ("rejected", "manager", given, []),
    ]
    assert found["history"][0]["seconds"] == 30
    assert (found["status"], found["labels"], found["prediction"]) == ("queued", [], None)


def test_pictures_come_by_key(manager: User, labeler: User, outsider: User, project: Project) -> None:
    page = client(labeler, "label").post(f"/api/v1/labeling/projects/{project.pk}/claim/", {"count": 1}, JSON).json()
    image = page["page"]["items"][0]["image"]
    for api in (client(manager), client(labeler), client(labeler, "label"), client(manager, "read")):
        preview = api.get(image["preview_url"])
        assert (preview.status_code, preview["Content-Type"]) == (200, "image/jpeg")
        assert "immutable" in preview["Cache-Control"]
        original = api.get(image["file_url"])
        assert original["Content-Type"] == "application/octet-stream"
        assert original["Content-Disposition"].startswith("attachment")
        assert b"".join(original.streaming_content).startswith(b"\x89PNG")
    base = image["preview_url"].partition("?")[0]
    for size, status in (("2048", 200), ("full", 200), ("7", 400), ("../x", 400)):
        assert client(manager).get(base, {"size": size}).status_code == status
    assert client(outsider).get(base).status_code == client(outsider).get(image["file_url"]).status_code == 404
    elsewhere = base.replace(f"projects/{project.pk}/", f"projects/{project.pk + 1}/")
    assert client(manager).get(elsewhere).status_code == 404


def test_an_image_that_can_not_be_read_says_why(manager: User, tmp_path: Path) -> None:
    folder = make.pictures(tmp_path / "images", 1)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    project = make.project(manager, folder)
    image = project.images.get(path="broken.png")
    answer = client(manager).get(f"/api/v1/projects/{project.pk}/images/{image.pk}/preview/")
    assert_problem(answer, 404, "not a JPEG, PNG")


@pytest.mark.parametrize("action", ["reject", "approve"])
def test_bulk_review_is_all_or_nothing(manager: User, labeler: User, project: Project, action: str) -> None:
    ids = label(project, labeler, 3)
    other = make.project(manager, Path(project.dataset.datastore.container))
    unlabeled = LabelTask.objects.filter(project=project, status="queued").values_list("image", flat=True)[0]
    foreign = other.images.values_list("pk", flat=True)[0]
    api, address = client(manager), f"/api/v1/projects/{project.pk}/{action}/"
    n_events = LabelEvent.objects.count()
    for images, status in [
        ([*ids, unlabeled], 409),
        ([*ids, foreign], 409),
        ([*ids, 10**17], 409),
        ([], 400),
        (["one"], 400),
        ([10**30], 400),
        ("all", 400),
        (list(range(1, 10_002)), 400),
    ]:
        assert_problem(api.post(address, {"images": images}, JSON), status)
    assert LabelEvent.objects.count() == n_events
    answer = api.post(address, {"images": [*ids, *ids]}, JSON)  # named twice counts once
    assert answer.json() == {"rejected" if action == "reject" else "approved": 3}
    assert LabelEvent.objects.count() == n_events + 3


def test_ten_thousand_images_in_one_call(manager: User, project: Project) -> None:
    """The bound of API.md holds, not one less: those that are not there make it a 409 and no 400."""
    answer = client(manager).post(f"/api/v1/projects/{project.pk}/approve/", {"images": list(range(1, 10_001))}, JSON)
    assert_problem(answer, 409, "not in this project")


def test_refresh_answers_with_its_record(manager: User, project: Project) -> None:
    make.pictures(Path(project.dataset.datastore.container), 23)
    answer = client(manager).post(f"/api/v1/projects/{project.pk}/refresh/")
    assert answer.status_code == 202
    assert {"id", "state", "found", "added", "missing", "left_out", "error"} <= set(answer.json())
    assert project.images.count() == 23


def test_a_datastore_is_tested_in_words(manager: User, tmp_path: Path) -> None:
    api = client(manager)
    (tmp_path / "in").mkdir()
    made = api.post("/api/v1/datastores/", {"name": "s", "container": str(tmp_path / "in")}, JSON).json()
    assert api.post(f"/api/v1/datastores/{made['id']}/test/").json()["ok"] is True
    (tmp_path / "in").rmdir()
    answer = api.post(f"/api/v1/datastores/{made['id']}/test/").json()
    assert (answer["ok"], "is not there" in answer["detail"]) == (False, True)


def test_a_datastore_is_changed_by_its_maker_only(manager: User, roles: None, tmp_path: Path) -> None:
    made = client(manager).post("/api/v1/datastores/", {"name": "s", "container": str(tmp_path)}, JSON).json()
    other, address = client(make.user("other", "manager")), f"/api/v1/datastores/{made['id']}/"
    assert_problem(other.patch(address, {"name": "mine"}, JSON), 404)
    assert_problem(other.delete(address), 404)
    assert client(manager).patch(address, {"name": "t"}, JSON).json()["name"] == "t"
    assert client(manager).delete(address).status_code == 204


def test_a_datastore_in_use_stays(manager: User, project: Project) -> None:
    store = project.dataset.datastore
    Datastore.objects.filter(pk=store.pk).update(created_by=manager)
    assert_problem(client(manager).delete(f"/api/v1/datastores/{store.pk}/"), 409, "Datasets use this")


def test_a_malformed_pattern_is_refused_with_the_right_form(manager: User, project: Project) -> None:
    body = {"name": "d", "datastore": project.dataset.datastore_id, "pattern": "/* *"}
    answer = client(manager).post("/api/v1/datasets/", body, JSON)
    assert_problem(answer, 400)
    assert "pattern" in answer.json()["errors"]


def test_images_and_zips_are_uploaded(manager: User, project: Project) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/zip.png", png().getvalue())
        archive.writestr("../out.png", png().getvalue())
    packed = BytesIO(packed.getvalue())
    packed.name = "some.zip"
    dataset = Dataset.objects.get(project=project)
    address = f"/api/v1/datasets/{dataset.pk}/files/"
    answer = client(manager).post(address, {"files": [png(), packed]})
    assert answer.status_code == 201
    assert answer.json()["stored"] == ["new.png", "in/zip.png"]
    assert [file["name"] for file in answer.json()["refused"]] == ["../out.png"]
    assert client(manager).post(address, {"files": [png()]}).json()["kept"] == ["new.png"]
    assert_problem(client(manager).post(address, {}), 400, "at least one file")


def test_the_same_key_stores_an_upload_once(manager: User, project: Project) -> None:
    address, key = f"/api/v1/datasets/{project.dataset_id}/files/", {"idempotency-key": "up-1"}
    api = client(manager)
    first, again = (api.post(address, {"files": [png()]}, headers=key) for _ in range(2))
    assert first.json() == again.json() == {"stored": ["new.png"], "kept": [], "refused": []}
    assert_problem(api.post(address, {"files": [png("other.png")]}, headers=key), 422)


def test_a_key_brings_back_errors_as_they_were(manager: User, project: Project) -> None:
    api, key = client(manager), {"idempotency-key": "once"}
    body = {"name": project.name, "task_type": "multiclass", "dataset": project.dataset_id, "classes": [{"name": "a"}]}
    for _ in range(2):
        assert_problem(api.post("/api/v1/projects/", body, JSON, headers=key), 400)
    assert_problem(api.post("/api/v1/projects/", body, JSON, headers={"idempotency-key": "x" * 300}), 400)


def test_a_key_whose_call_is_under_way_is_a_conflict(manager: User, project: Project) -> None:
    api, key, address = client(manager), {"idempotency-key": "k"}, f"/api/v1/projects/{project.pk}/pause/"
    assert api.post(address, headers=key).status_code == 200
    IdempotentCall.objects.update(status=None)  # as while the first is being carried out
    assert_problem(api.post(address, headers=key), 409, "under way")


def test_a_call_whose_process_was_killed_may_be_made_again(manager: User, project: Project) -> None:
    api, key, address = client(manager), {"idempotency-key": "k"}, f"/api/v1/projects/{project.pk}/pause/"
    assert api.post(address, headers=key).status_code == 200
    Project.objects.update(state="running")
    IdempotentCall.objects.update(status=None, made_at=timezone.now() - timedelta(minutes=3))
    assert api.post(address, headers=key).json()["state"] == "paused"
    Project.objects.update(state="running")
    assert api.post(address, headers=key).json()["state"] == "paused"  # the answer of before
    assert Project.objects.get().state == "running"


def test_deleting_a_project_frees_its_name(manager: User, labeler: User, project: Project) -> None:
    label(project, labeler, 3)
    make.page(project, labeler, 2)
    api = client(manager)
    assert api.delete(f"/api/v1/projects/{project.pk}/").status_code == 204
    assert_problem(api.get(f"/api/v1/projects/{project.pk}/"), 404)
    assert not LabelClass.objects.exists()
    body = {"name": project.name, "task_type": "detection", "dataset": project.dataset_id, "classes": [{"name": "a"}]}
    assert api.post("/api/v1/projects/", body, JSON).status_code == 201


def test_times_are_in_utc_whatever_the_sites_zone(project: Project, manager: User, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    label(project, manager, 1)
    api = client(manager)
    address = f"/api/v1/projects/{project.pk}/"
    export = api.post(f"{address}exports/", {"format": "csv"}, JSON).json()
    image = api.get(f"{address}images/?status=labeled").json()["results"][0]
    said = [api.get(address).json()["created_at"], export["created_at"], image["labeled_at"]]
    assert [time[-1] for time in said] == ["Z", "Z", "Z"]
