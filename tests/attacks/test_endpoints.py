"""Endpoints of datastores that lead inside, and secrets that could leak (attacks 14 and 15)."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from projects.models import Datastore
from projects.stores import StoreError, endpoints, store_for
from tests.clouds.servers import Google

HUSH = "aHVzaCBodXNoIGh1c2g="
INSIDE = [
    "127.0.0.1",
    "localhost",
    "169.254.169.254",
    "[::1]",
    "0.0.0.0",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.64.0.1",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1]",
    "[fd00::1]",
]


class _Secretive(HTTPServer):
    """A service of the own network: it counts who comes, and answers with what nobody should see."""

    def __init__(self) -> None:
        self.n_visits = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.n_visits += 1
                self.send_response(500)
                self.end_headers()
                self.wfile.write(b"<Error><Code>inner secret, with spaces</Code></Error>")

            do_HEAD = do_PUT = do_POST = do_GET

            def log_message(self, *words: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def inner() -> Iterator[_Secretive]:
    server = _Secretive()
    yield server
    server.shutdown()
    server.server_close()


def datastore(kind: str, endpoint: str, secret: str = HUSH) -> SimpleNamespace:
    """A datastore of a kind at an endpoint."""
    options = {
        "azure": {"account": "somebody", "endpoint": endpoint},
        "s3": {"access_key": "somebody", "endpoint": endpoint},
        "gcs": {"endpoint": endpoint},
    }
    secret = "" if kind == "gcs" else secret
    return SimpleNamespace(kind=kind, container="bucket", prefix="", options=options[kind], secret=secret)


@pytest.mark.parametrize("host", INSIDE)
def test_an_endpoint_inside_is_refused_before_it_is_connected_to(host: str, inner: _Secretive) -> None:
    try:
        found = socket.getaddrinfo(host.strip("[]"), inner.port)
    except OSError:
        found = []
    with pytest.raises(StoreError, match="own network|can't be reached") as caught:
        store_for(datastore("azure", f"http://{host}:{inner.port}")).check()
    assert inner.n_visits == 0
    assert not found or "own network" in str(caught.value)


@pytest.mark.parametrize("kind", ["azure", "s3", "gcs"])
def test_every_kind_of_store_is_guarded(kind: str, inner: _Secretive) -> None:
    store = store_for(datastore(kind, f"http://127.0.0.1:{inner.port}"))
    for door in (store.check, lambda: store.browse(""), lambda: store.open("a.png"), lambda: next(store.pages())):
        with pytest.raises(StoreError, match="own network"):
            door()
    with pytest.raises(StoreError, match="own network"):
        store.write("a.png", io.BytesIO(b"x"))
    assert inner.n_visits == 0


def test_a_name_that_answers_differently_the_second_time_gains_nothing(
    inner: _Secretive, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the answers of the name server are ours here; all that connects is real.
    real = socket.getaddrinfo
    asked: list[str] = []

    def rebinding(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "images.example":
            return real(host, *args, **kwargs)
        asked.append(host)
        return real("192.0.2.1" if len(asked) == 1 else "127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr("projects.stores.azure.CONNECT_SECONDS", 0.2)
    # 192.0.2.1 is nobody's; it passes for the public address that comes first.
    monkeypatch.setattr(endpoints, "_is_public", lambda address: str(address) == "192.0.2.1")
    with pytest.raises(StoreError):
        store_for(datastore("azure", f"http://images.example:{inner.port}")).check()
    assert len(asked) > 1
    assert inner.n_visits == 0


@pytest.mark.parametrize("kind", ["azure", "s3", "gcs"])
def test_a_redirect_to_the_inside_is_refused(kind: str, inner: _Secretive, settings: Any) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.1:{inner.port}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *words: Any) -> None:
            pass

    outside = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=outside.serve_forever, daemon=True).start()
    settings.PRIVATE_ENDPOINTS = [f"127.0.0.1:{outside.server_address[1]}"]  # this one passes for a public place
    try:
        with pytest.raises(StoreError):
            store_for(datastore(kind, f"http://127.0.0.1:{outside.server_address[1]}")).check()
    finally:
        outside.shutdown()
        outside.server_close()
    assert inner.n_visits == 0


def test_the_key_files_own_address_is_guarded_too(inner: _Secretive, clouds: Callable[[str], Any], settings) -> None:
    server = clouds("gcs")
    assert isinstance(server, Google)
    settings.PRIVATE_ENDPOINTS = [f"127.0.0.1:{server.port}"]
    place = datastore("gcs", f"http://127.0.0.1:{server.port}")
    place.secret = server.service_account(f"http://127.0.0.1:{inner.port}/token")
    with pytest.raises(StoreError, match="own network"):
        store_for(place).check()
    assert inner.n_visits == 0


def test_the_operator_may_allow_a_place_and_the_answer_is_still_not_echoed(inner: _Secretive, settings: Any) -> None:
    settings.PRIVATE_ENDPOINTS = [f"localhost:{inner.port}"]
    with pytest.raises(StoreError) as caught:
        store_for(datastore("s3", f"http://localhost:{inner.port}")).check()
    assert inner.n_visits > 0
    assert "inner secret" not in str(caught.value)
    with pytest.raises(StoreError, match="own network"):
        store_for(datastore("s3", f"http://127.0.0.1:{inner.port}")).check()
    settings.PRIVATE_ENDPOINTS = ["127.0.0.0/8"]
    with pytest.raises(StoreError, match="answered with error 500"):
        store_for(datastore("s3", f"http://127.0.0.1:{inner.port}")).check()


@pytest.mark.parametrize(
    "endpoint",
    [
        "file:///etc/passwd",
        "ftp://a.example",
        "http://",
        "https://u:pw@a.example",
        "https://a.example/?x=1",
        "x",
        "http://a b",
    ],
)
def test_what_is_no_endpoint_is_refused_in_words(endpoint: str) -> None:
    with pytest.raises(StoreError, match="is not an endpoint"):
        store_for(datastore("s3", endpoint))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("azure", {"account": "evil.example/#"}),
        ("azure", {"account": ["a"]}),
        ("s3", {"region": "x.evil.example/", "access_key": "k"}),
        ("s3", {"access_key": ""}),
        ("gcs", {"endpoint": 5}),
    ],
)
def test_options_can_not_lead_elsewhere(kind: str, options: dict[str, Any]) -> None:
    place = SimpleNamespace(kind=kind, container="bucket", prefix="", options=options, secret=HUSH)
    with pytest.raises(StoreError):
        store_for(place)


@pytest.mark.parametrize("kind", ["authorized_user", "external_account", "impersonated_service_account"])
def test_only_key_files_of_service_accounts_are_read(kind: str) -> None:
    place = datastore("gcs", "")
    place.secret = json.dumps({"type": kind, "credential_source": {"executable": {"command": "/bin/false"}}})
    with pytest.raises(StoreError, match="not the key file of a service account"):
        store_for(place)


def test_this_machines_own_credentials_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine secret")
    store = store_for(
        SimpleNamespace(kind="s3", container="bucket", prefix="", options={"region": "eu-west-1"}, secret="")
    )
    assert store.url("a.png", 60) is None


def test_a_secret_shows_nowhere(manager: User, inner: _Secretive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = Client()
    client.force_login(manager)
    form = {"name": "hushed", "kind": "s3", "container": "bucket", "access_key": "somebody", "region": "eu-west-1"}
    form |= {"endpoint": f"http://127.0.0.1:{inner.port}", "secret": HUSH}
    tested = client.post("/admin/projects/datastore/test/", form)
    assert "own network" in tested.content.decode()
    saved = client.post("/admin/projects/datastore/add/", form)
    assert saved.status_code == 302
    store = Datastore.objects.get(name="hushed")
    assert store.secret == HUSH
    shown = [
        tested.content,
        client.get(f"/admin/projects/datastore/{store.pk}/change/").content,
        client.post(f"/admin/projects/datastore/{store.pk}/change/", {**form, "name": ""}).content,
        client.get("/admin/projects/datastore/").content,
        client.get("/api/v1/datastores/").content,
        client.post(f"/api/v1/datastores/{store.pk}/test/").content,
        client.patch(f"/api/v1/datastores/{store.pk}/", {"options": 5}, "application/json").content,
        json.dumps(list(LogEntry.objects.values_list("change_message", "object_repr"))).encode(),
        caplog.text.encode(),
        repr(store.__dict__).encode(),
    ]
    for text in shown:
        assert HUSH.encode() not in text
    # Another place would get the secret, so it is asked for again (and then nothing has changed).
    moved = client.post(
        f"/admin/projects/datastore/{store.pk}/change/", {**form, "endpoint": "https://evil.example", "secret": ""}
    )
    assert "enter the secret again" in moved.content.decode()
    store.refresh_from_db()
    assert store.options["endpoint"] == f"http://127.0.0.1:{inner.port}"
