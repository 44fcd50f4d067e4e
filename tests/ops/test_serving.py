"""`manage.py serve`: the web server and the worker in one terminal, ended together, watched by next to nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.test_killed_processes import children
from tests.ops.test_stopping import ROOT, wait_for


class Served:
    """The site as `serve` runs it, and all its processes."""

    def __init__(self, folder: Path) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(self.port), "--demo"],
                cwd=folder,  # from wherever it is called
                env={**kept, "DEVELOPMENT": "1", "DATA_DIR": str(folder / "var"), "WORKERS": "1"},
                stdout=log,
                stderr=log,
            )
        address = f"http://127.0.0.1:{self.port}/healthz"
        wait_for(lambda: urllib.request.urlopen(address).status == 200)
        wait_for(lambda: "running" in self.log.read_text())
        self.first = children(self.process.pid)

    def everybody(self) -> list[int]:
        """Return the ids of all processes below the first one."""
        found = list(self.first)
        for pid in found:
            found += children(pid)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    if served.process.poll() is None:
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(timeout=60)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(site: Served, number: signal.Signals) -> None:
    everybody = site.everybody()
    assert len(everybody) >= 6  # two of the web server; of the worker the first one, the guard, and three more
    site.process.send_signal(number)
    assert site.process.wait(timeout=30) == 0
    assert [pid for pid in everybody if is_there(pid)] == []


@pytest.mark.parametrize("which", [0, 1], ids=["web server", "worker"])
def test_the_end_of_one_ends_the_other_and_is_told(site: Served, which: int) -> None:
    everybody = site.everybody()
    os.kill(site.first[which], signal.SIGTERM)
    assert site.process.wait(timeout=30) == 1
    assert [pid for pid in everybody if is_there(pid)] == []
    assert site.log.read_text().endswith("The web server or the worker ended unexpectedly; see above.\n")


def test_what_watches_holds_next_to_nothing(site: Served) -> None:
    """Migrating and making the demo loads Django, numpy and scikit-learn: 200 MB that would stay for months."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    assert int(line.split()[1]) < 30_000  # kB
    text = site.log.read_text()
    where = f"\n\nlabelsite is at http://127.0.0.1:{site.port}/  (Ctrl-C ends it)\n\n"
    assert text.index("labeler2") < text.index(where)
