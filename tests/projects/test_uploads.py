"""Uploads take images and nothing else, and write inside their folder only (SPEC D3; attacks 10, 11, 13)."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image as Picture

from projects.models import Datastore

Answer = dict[str, object]


def picture(color: str = "navy") -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (8, 6), color).save(buffer, "PNG")
    return buffer.getvalue()


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class Console:
    """The upload of the wizard, as its page calls it."""

    def __init__(self, person: User) -> None:
        self.client = Client()
        self.client.force_login(person)
        self.root = Path(Datastore.objects.get(is_default=True).container)
        self.folder = f"uploads/{person.pk}-{id(self)}"

    def send(self, *files: tuple[str, bytes], **more: str) -> Answer:
        answer = self.client.post(
            "/admin/projects/datastore/upload/",
            {
                "datastore": Datastore.objects.get(is_default=True).pk,
                "folder": self.folder,
                "files": [SimpleUploadedFile(Path(name).name or "x", content) for name, content in files],
                "paths": json.dumps([name for name, _content in files]),
                **more,
            },
        )
        assert answer.status_code == 200, answer.content
        return answer.json()

    def stored(self) -> list[str]:
        """What lies in the upload's folder now."""
        place = self.root / self.folder
        return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


@pytest.fixture
def console(manager: User) -> Console:
    return Console(manager)


def reasons(answer: Answer) -> str:
    return " ".join(f"{item['name']}: {item['reason']}" for item in answer["refused"])  # type: ignore[attr-defined, index]


def test_files_a_folder_and_a_zip_keep_their_places(console: Console) -> None:
    answer = console.send(
        ("a.png", picture()),
        ("folder/deep/b.png", picture()),
        ("set.zip", packed(("c.png", picture()), ("sub/d.png", picture()), ("__MACOSX/._c.png", b"x"))),
    )
    assert (answer["stored"], answer["n_refused"]) == (4, 0)
    assert console.stored() == ["a.png", "c.png", "folder/deep/b.png", "sub/d.png"]


def test_names_that_are_there_stay_unless_overwrite_is_ticked(console: Console) -> None:
    old, new = picture("red"), picture("blue")
    console.send(("a.png", old))
    assert console.send(("a.png", new))["kept"] == 1
    assert (console.root / console.folder / "a.png").read_bytes() == old
    assert console.send(("a.png", new), overwrite="on")["stored"] == 1
    assert (console.root / console.folder / "a.png").read_bytes() == new


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/evil.png", "..\\evil.png", "C:\\evil.png", "a/../../evil.png"]
)
def test_a_zip_that_leads_out_of_its_folder_is_refused(console: Console, name: str) -> None:
    answer = console.send(("slip.zip", packed((name, picture()), ("fine.png", picture()))))
    assert (answer["stored"], answer["n_refused"]) == (1, 1)
    assert "out of the folder" in reasons(answer) or "outside the upload" in reasons(answer)
    assert console.stored() == ["fine.png"]
    assert not list(console.root.parent.rglob("evil.png"))


def test_links_in_a_zip_are_refused(console: Console) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    answer = console.send(("links.zip", packed((link, b"/etc/passwd"))))
    assert "Links in a zip are not followed" in reasons(answer)
    assert console.stored() == []


def test_a_bomb_is_refused(console: Console) -> None:
    bomb = packed(("bomb.png", picture() + bytes(300 * 1024**2)), ("fine.png", picture()))
    assert len(bomb) < 1024**2
    answer = console.send(("bomb.zip", bomb))
    assert "unfolds to far more than its size" in reasons(answer)
    assert console.stored() == ["fine.png"]


def test_a_zip_of_many_bombs_is_refused_whole(console: Console) -> None:
    bomb = packed(*((f"{n}.png", picture() + bytes(60 * 1024**2)) for n in range(9)), ("fine.png", picture()))
    answer = console.send(("bombs.zip", bomb))
    assert "as no set of images does" in reasons(answer)
    assert console.stored() == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("letter.jpg", b"Dear image", "its content is something else"),
        ("page.png", b"<html><script>alert(1)</script>", "its content is something else"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "This is no image"),
        ("run.sh", b"#!/bin/sh", "This is no image"),
        ("broken.zip", b"PK\x03\x04 and nothing more", "damaged"),
    ],
)
def test_what_is_no_image_is_refused_in_words(console: Console, name: str, content: bytes, words: str) -> None:
    assert words in reasons(console.send((name, content)))
    assert console.stored() == []


def test_an_upload_without_files_says_so(console: Console, manager: User) -> None:
    answer = console.client.post(
        "/admin/projects/datastore/upload/", {"datastore": Datastore.objects.get(is_default=True).pk}
    )
    assert answer.status_code == 400
    assert "Choose files" in answer.json()["detail"]
