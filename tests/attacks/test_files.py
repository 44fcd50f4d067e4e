"""Attacks 10 and 22: files that are documents or programs in an image's, a model's or a task's clothes."""

from __future__ import annotations

import base64
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from django.contrib.auth.models import User
from django.core import signing
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.core.signing import BadSignature
from django.test import Client
from django_q.conf import Conf
from django_q.signing import PickleSerializer, SignedPackage

from assist.models import AssistRun
from labeling.models import LabelTask
from projects.models import Dataset, Datastore, Image
from projects.stores import StoreError, store_for
from tests import make
from tests.assist import planted

SECRET = "what only this machine should read"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCUMENTS = {
    "svg": "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>",
    "bomb": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><svg>&l9;</svg>',
    "entity": '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><svg>&e;</svg>',
}


@pytest.fixture
def documents(tmp_path: Path) -> dict[str, bytes]:
    (tmp_path / "secret").write_text(SECRET)
    return {name: text.replace("{secret}", str(tmp_path / "secret")).encode() for name, text in DOCUMENTS.items()}


def test_10_documents_are_no_images_whatever_their_name(
    manager: User, tmp_path: Path, documents: dict[str, bytes]
) -> None:
    """In a folder: an .svg is not listed; one named as an image is unreadable, and never handed out or sent."""
    folder = make.pictures(tmp_path / "images", 1)
    for name, content in documents.items():
        for ending in ("svg", "xml", "png", "jpg"):
            (folder / f"{name}.{ending}").write_bytes(content)
    project = make.project(manager, folder)
    page = make.page(project, manager)
    assert page.size == 1
    assert Image.objects.filter(project=project).count() == 1 + 2 * len(documents)
    assert LabelTask.objects.filter(project=project, status="unreadable").count() == 2 * len(documents)
    client = Client()
    client.force_login(manager)
    for image in Image.objects.filter(project=project, problem="unreadable"):
        answer = client.get(f"/images/{image.pk}/512/")
        content = b"".join(answer) if answer.streaming else answer.content
        assert answer.status_code >= 400
        assert b"<svg" not in content and SECRET.encode() not in content


def test_10_documents_are_refused_by_the_upload(manager: User, documents: dict[str, bytes]) -> None:
    store = Datastore.objects.get(is_default=True)
    dataset = Dataset.objects.create(name="in", datastore=store, pattern="attack-10/**", created_by=manager)
    client = Client()
    client.force_login(manager)
    files = [
        SimpleUploadedFile(f"{name}.{ending}", content)
        for name, content in documents.items()
        for ending in ("svg", "png")
    ]
    answer = client.post(f"/api/v1/datasets/{dataset.pk}/files/", {"files": files}).json()
    assert answer["stored"] == [] and len(answer["refused"]) == len(files)
    folder = Path(store.container) / "attack-10"
    assert not folder.exists() or not list(folder.iterdir())


@pytest.fixture
def speaker(settings: Any) -> Iterator[Callable[[bytes], str]]:
    """A store of somebody else's, which answers everything with one document."""
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    servers: list[ThreadingHTTPServer] = []

    def say(document: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, *words: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield say
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["azure", "s3"])
@pytest.mark.parametrize("document", ["bomb", "entity"])
def test_10_a_stores_listing_blows_nothing_up_and_reads_no_file(
    kind: str, document: str, speaker: Callable[[bytes], str], documents: dict[str, bytes]
) -> None:
    """These stores answer in XML: one that is an attack is an error in words, quickly, or lists nothing."""
    body = documents[document].replace(b"<svg>", b"<Key>").replace(b"</svg>", b"</Key>")
    listing = b"<ListBucketResult><Contents>" if kind == "s3" else b"<EnumerationResults><Blobs><Blob>"
    ending = b"</Contents></ListBucketResult>" if kind == "s3" else b"</Blob></Blobs></EnumerationResults>"
    head, _mark, rest = body.partition(b"]>")
    root = b"ListBucketResult" if kind == "s3" else b"EnumerationResults"
    answer = head.replace(b"DOCTYPE x", b"DOCTYPE " + root) + b"]>" + listing + rest + ending
    options = {
        "azure": {"account": "somebody", "endpoint": speaker(answer)},
        "s3": {"access_key": "somebody", "endpoint": speaker(answer)},
    }
    store = store_for(
        SimpleNamespace(
            kind=kind, container="bucket", prefix="", options=options[kind], secret="aHVzaCBodXNoIGh1c2g="
        )  # fmt: skip
    )
    found: list[Any] = []
    started = time.process_time()
    try:
        for page in store.pages("", "", 100):
            found += page
            break
    except StoreError as error:
        assert SECRET not in str(error)
    assert time.process_time() - started < 10
    assert all(SECRET not in entry.key and len(entry.key) < 2000 for entry in found)


class Harm:
    """Does something when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_22_weights_that_are_programs_are_refused(tmp_path: Path, settings: Any) -> None:
    settings.ASSIST_WEIGHTS_DIR = str(tmp_path / "weights")
    torch.save({"features": Harm(tmp_path / "harm")}, tmp_path / "weights.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"features": Harm(tmp_path / "harm")}))
    for name in ("weights", "plain"):
        with pytest.raises(CommandError):
            call_command("import_weights", str(tmp_path / f"{name}.pth"), "--backbone", "resnet18")
    assert not (tmp_path / "harm").exists()


def test_22_a_models_file_that_was_replaced_runs_nothing(manager: User, labeler: User, tmp_path: Path) -> None:
    """Whoever can write to DATA_DIR gets no code into a worker by a model or by features."""
    project = planted.project(manager, tmp_path / "images", min_labels=1000)
    planted.label(project, labeler, 20)
    run = AssistRun.objects.create(project=project, kind="training", device="cpu")
    from assist import runs

    runs.execute(run.pk)
    assert run.folder.is_dir()
    n_replaced = 0
    for path in run.folder.rglob("*"):
        if path.is_file():
            with path.open("wb") as file:
                np.save(file, np.array([Harm(tmp_path / "harm")], dtype=object), allow_pickle=True)
            n_replaced += 1
    assert n_replaced
    again = AssistRun.objects.create(project=project, kind="inference", device="cpu")
    with suppress(ValueError):
        runs.execute(again.pk)
    again.refresh_from_db()
    assert again.state == "failed"
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("key", ["", "another site's key"])
def test_22_a_task_that_this_site_did_not_sign_is_not_unpacked(tmp_path: Path, key: str) -> None:
    """Whoever can write to the queue, but has not SECRET_KEY, gets no code into a worker."""
    harm = Harm(tmp_path / "harm")
    if key:
        package = signing.dumps(harm, key=key, salt=Conf.PREFIX, serializer=PickleSerializer)
    else:
        package = base64.urlsafe_b64encode(pickle.dumps(harm)).decode()
    with pytest.raises(BadSignature):
        SignedPackage.loads(package)
    assert not (tmp_path / "harm").exists()
