"""The cast: a manager, two labelers and an outsider, and a project of images to label."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from projects.models import Project
from tests import emptying, make
from tests.clouds.servers import SERVERS, Server
from tests.clouds.weather import Weather

emptying.install()


@pytest.fixture(autouse=True)
def _jobs_run_at_commit(request: pytest.FixtureRequest) -> None:
    """Have what waits for a commit done, as in the real site: tests with a database commit."""
    if "project" in request.fixturenames or "manager" in request.fixturenames:
        request.getfixturevalue("transactional_db")


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    """Have runs of models drawn the same seeds each time: some network of two steps learns too little by chance."""
    random.seed(11)


@pytest.fixture(autouse=True)
def _in_the_language_of_the_site() -> None:
    """Forget the language of another test's last request, which stays with the thread."""
    translation.deactivate()


@pytest.fixture
def roles(transactional_db: None) -> None:
    """Make again what migrations made: an emptied database has lost it."""
    from django.conf import settings
    from django.contrib.auth.models import Group

    from projects.apps import grant_role_rights
    from projects.models import Datastore

    for name in ("Manager", "Labeler", "Reviewer"):
        Group.objects.get_or_create(name=name)
    folder = Path(settings.DATA_DIR) / "datastore"
    folder.mkdir(exist_ok=True)
    Datastore.objects.get_or_create(is_default=True, defaults={"name": "default", "container": str(folder)})
    grant_role_rights()


@pytest.fixture
def manager(roles: None) -> User:
    return make.user("manager", "manager")


@pytest.fixture
def labeler(roles: None) -> User:
    return make.user("labeler", "labeler")


@pytest.fixture
def labeler2(roles: None) -> User:
    return make.user("labeler2", "labeler")


@pytest.fixture
def outsider(roles: None) -> User:
    return make.user("outsider")


@pytest.fixture
def project(manager: User, tmp_path: Path) -> Project:
    """A running multi-class project of twenty images."""
    return make.project(manager, make.pictures(tmp_path / "images", 20))


@pytest.fixture
def boxes(manager: User, tmp_path: Path) -> Project:
    """A running detection project of five images of 64 × 48 pixels."""
    return make.project(manager, make.pictures(tmp_path / "scenes", 5), "detection", ("digit", "line"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A real browser: the system's Chromium, else the one that Playwright brings."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright keeps a loop running in this thread
    expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


def listens(page: Page) -> None:
    """Wait until a labeling page's modules have taken over: keys pressed before are nobody's."""
    expect(page.locator("#page[aria-busy]")).to_have_count(0)


@pytest.fixture
def open_page(chromium: Browser, live_server: LiveServer) -> Iterator[Callable[..., Page]]:
    """Open an address as somebody; the test fails on any error or policy violation that the browser reports."""
    contexts = []
    errors: list[str] = []

    def open_as(user: User, path: str, **options: Any) -> Page:
        client = Client()
        client.force_login(user)
        context = chromium.new_context(
            base_url=live_server.url, **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        context.set_default_timeout(30_000)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
        page.goto(path)
        listens(page)
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="session")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """The clouds' servers, each started when a test first asks for it and ended with the last one."""
    running: dict[str, Server] = {}

    def server(kind: str) -> Server:
        if kind not in running:
            running[kind] = SERVERS[kind](tmp_path_factory.mktemp(kind))
        return running[kind]

    yield server
    for one in running.values():
        one.end()


@pytest.fixture(params=sorted(SERVERS))
def cloud(request: pytest.FixtureRequest, clouds: Callable[[str], Server], settings: Any) -> Server:
    """Each of the clouds in turn; the operator lets stores lie on this machine."""
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    return clouds(request.param)


@pytest.fixture
def weather(settings: Any) -> Iterator[Callable[[Server], Weather]]:
    """A proxy in front of a server, for what goes wrong on the way."""
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    proxies = []

    def before(server: Server) -> Weather:
        proxies.append(Weather(server.port))
        return proxies[-1]

    yield before
    for proxy in proxies:
        proxy.end()
