"""Several web processes and several workers on one PostgreSQL: what the queue promises holds among them (SPEC N3)."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from benchmarks.chaos.people import Browser, Caller, Journal, Labeler, make_project
from benchmarks.chaos.processes import Killer, Site, verdict
from tests import make
from tests.ops.test_stopping import wait_for
from tests.postgresql import cluster, is_installed

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="PostgreSQL is not installed"),
    pytest.mark.skipif(connection.vendor == "postgresql", reason="has a database of its own: once is enough"),
]

N_IMAGES = 96
LEASE_SECONDS = 8  # so that what went down with a process is soon handed out again
PEOPLE = {"boss": "manager", **{f"labeler{n}": "labeler" for n in range(6)}}
SECONDS = 400.0  # on a machine that others use as well


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Two web servers of two processes each, and two workers, started again when they end."""
    with cluster() as url:
        site = Site(tmp_path, url, webs=2, web_processes=2, workers=["", ""], redis=False, lease_seconds=LEASE_SECONDS)
        try:
            yield site
        finally:
            site.kill()


def test_no_image_goes_to_two_and_none_is_lost_while_processes_are_killed(site: Site, tmp_path: Path) -> None:
    keys, chance, over = site.people(PEOPLE), random.Random(4), threading.Event()
    journal = Journal(tmp_path)
    boss = Caller(site, "boss", keys.pop("boss"), random.Random(1), over)
    project = make_project(boss, "Crowd", "multiclass", make.pictures(tmp_path / "images", N_IMAGES, (16, 12)))
    # All by the pages: a killed call of the API with a key is under way for two minutes before it may be made again.
    labelers: list[Labeler] = [
        Browser(site, name, key, random.Random(number), over, journal=journal, projects=[project], think=0.3)
        for number, (name, key) in enumerate(keys.items())
    ]
    threads = [threading.Thread(target=labeler.work) for labeler in labelers]
    for thread in threads:
        thread.start()

    def n_answered() -> int:
        _status, counts = boss.api("GET", f"projects/{project['id']}/progress/")
        return int(counts["labeled"] + counts["skipped"])

    killer = Killer(site, 0, (0, 0))
    for number, kind in enumerate(["web process", "worker process", "web master", "worker guard"], 1):
        wait_for(lambda number=number: n_answered() >= number * N_IMAGES // 6, SECONDS)
        targets = wait_for(lambda kind=kind: killer.targets().get(kind), SECONDS)
        killer.kill(kind, chance.choice(targets))
    wait_for(lambda: n_answered() == N_IMAGES, SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    assert sum(killer.kills.values()) == 4
    assert {port for labeler in labelers for port in labeler.asked} == set(site.ports)

    site.wait()  # all are back, and say the same, whichever is asked
    answers = {boss.once("GET", f"/api/v1/projects/{project['id']}/progress/")[2] for _ask in wait_for_all(boss)}
    assert len(answers) == 1
    found = verdict(site, "check")["found"]
    assert {name: words for name, words in found.items() if words} == {}  # type: ignore[attr-defined]
    assert journal.counts["submit"] >= N_IMAGES // 9
    assert journal.counts["twice"] == 0
    assert site.end() == []


def wait_for_all(boss: Caller) -> Iterator[int]:
    """Let the caller ask each web server several times, so that each of its processes has a turn."""
    for number in range(16):
        boss.turn(number)
        yield number
