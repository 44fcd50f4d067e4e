"""The site's processes, who starts them again when they die, and who kills them.

Each part (a gunicorn, a qcluster) is started as systemd or a container would: in a session of its own, its whole tree
is killed once its first process has ended, and it is started again.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from benchmarks.accounts import make_accounts

ROOT = Path(__file__).parent.parent.parent
PASSWORD = "a password for the run"
MARK = "CHAOS_PART"
PR_SET_CHILD_SUBREAPER = 36
LEASE_SECONDS = 45
WEIGHTS = {
    "web master": 1.0,
    "web process": 3.0,
    "worker master": 1.0,
    "worker guard": 1.0,
    "worker process": 3.0,
    "run": 1.5,
    "renderer": 1.0,
    "database connection": 1.0,
    "database process": 0.5,
    "cache": 1.0,
}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def facts_of(pid: int) -> tuple[int, str]:
    """Return a process's parent and state; (0, "") when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return 0, ""
    return int(words[1]), words[0]


def words_of(pid: int) -> str:
    """Return a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Part:
    """A group of processes that is started and ended together."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], log: Path) -> None:
        self.name = name
        self.argv = argv
        self.mark = f"{name}-{uuid.uuid4().hex}"
        self.env = {**env, MARK: self.mark}
        self.log = log
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1

    def members(self) -> list[int]:
        """Return the ids of its living processes, children of children too."""
        mark = f"{MARK}={self.mark}".encode()
        found = {self.process.pid} if self.process.poll() is None else set()  # Redis overwrites its environment
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                with suppress(OSError):
                    if mark in (path / "environ").read_bytes().split(b"\0"):
                        found.add(int(path.name))
        return sorted(found)

    def kill(self) -> None:
        """Kill all of it."""
        while members := self.members():
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)
        self.process.wait()

    def kinds(self) -> Iterator[tuple[str, int]]:
        """Yield what each of its processes is, and its id."""
        what = self.name.split()[0]
        first = self.process.pid
        for pid in self.members():
            words, (parent, _state) = words_of(pid), facts_of(pid)
            if pid == first:
                yield f"{what} master" if what != "cache" else "cache", pid
            elif "projects.render" in words:
                yield "renderer", pid
            elif "run_assist" in words:
                yield "run", pid
            elif what == "worker" and parent == first:
                yield "worker guard", pid
            else:
                yield f"{what} process", pid


class Site:
    """Several web processes and workers on one database, watched over and started again when they end."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        webs: int,
        web_processes: int,
        workers: list[str],
        redis: bool,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what is orphaned comes to us, and shows
        self.folder = folder
        self.url = url
        self.is_postgresql = url.startswith("postgres")
        self.log = folder / "site.log"
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.env = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "DEVELOPMENT": "1",
            "DATABASE_URL": url,
            "DATA_DIR": str(folder / "data"),
            "TMPDIR": str(folder / "tmp"),
            "LEASE_SECONDS": str(lease_seconds),
            "LOG_LEVEL": "WARNING",
            "ASSIST_DOWNLOAD": "0",
            "OMP_NUM_THREADS": "1",
            "API_JOB_RATE": "6000/min",
        }
        self.parts: list[Part] = []
        self._is_over = threading.Event()
        try:
            if redis:
                port = free_port()
                self._add("cache", ["redis-server", "--port", str(port), "--save", ""])
                self.env |= {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "BROKER": "database"}
            self.manage("migrate", "--verbosity", "0")
            self.manage("collectstatic", "--noinput", "--verbosity", "0")
            self.ports = [free_port() for _web in range(webs)]
            for number, port in enumerate(self.ports):
                self._add(
                    f"web {number}",
                    [sys.executable, "-m", "gunicorn", "labelsite.wsgi", "--bind", f"127.0.0.1:{port}"]
                    + ["--workers", str(web_processes), "--threads", "8", "--timeout", "120"]
                    + ["--graceful-timeout", "3", "--log-level", "warning"],
                )
            for number, queue in enumerate(workers):
                self._add(f"worker {number}", [sys.executable, "manage.py", "qcluster"], Q_CLUSTER_NAME=queue)
            self.wait()
        except BaseException:
            self.kill()
            raise
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def _add(self, name: str, argv: list[str], **more: str) -> None:
        env = {**self.env, **{key: value for key, value in more.items() if value}}
        self.parts.append(Part(name, argv, env, self.log))

    def wait(self) -> None:
        """Wait until every web process answers."""
        deadline = time.monotonic() + 120
        for port in self.ports:
            while True:
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
                    break
                if time.monotonic() > deadline:
                    raise SystemExit(f"The site did not start: {self.log.read_text()[-2000:]}")
                time.sleep(0.2)

    def manage(self, *words: str) -> None:
        """Run a command."""
        subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, check=True)

    def people(self, roles: dict[str, str]) -> dict[str, str]:
        """Make accounts, given as names and roles; return their keys to the API."""
        return make_accounts(roles, PASSWORD, self.env)

    def _supervise(self) -> None:
        """Start again what has ended, after killing what is left of it."""
        while not self._is_over.wait(0.2):
            for part in self.parts:
                if part.process.poll() is not None and not self._is_over.is_set():
                    part.kill()
                    part.start()
            self.bury()

    def bury(self) -> None:
        """Take note of orphans that have ended: they came to us."""
        mine = {part.process.pid for part in self.parts}
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and int(path.name) not in mine:
                parent, state = facts_of(int(path.name))
                if parent == os.getpid() and state == "Z" and not words_of(int(path.name)):
                    with suppress(ChildProcessError):
                        os.waitpid(int(path.name), os.WNOHANG)

    def members(self) -> list[int]:
        """Return all living processes."""
        return [pid for part in self.parts for pid in part.members()]

    def zombies(self) -> list[str]:
        """Return the processes that have ended and that their parents take no note of."""
        found = []
        mine = set(self.members())
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                parent, state = facts_of(int(path.name))
                if state == "Z" and parent in mine:
                    found.append(f"{path.name}, child of {words_of(parent)[:80]}")
        return found

    def orphans(self) -> list[str]:
        """Return the processes that have lost their parents and live on."""
        mine = {part.process.pid for part in self.parts}
        lost = [pid for pid in self.members() if pid not in mine and facts_of(pid)[0] in (1, os.getpid())]
        return [f"{pid}: {words_of(pid)[:100]}" for pid in lost]

    def end(self, seconds: float = 60) -> list[str]:
        """Stop it as an operator would; return the processes that did not go."""
        self._is_over.set()
        self._supervisor.join()
        for part in self.parts:
            with suppress(ProcessLookupError):
                part.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.members():
            for part in self.parts:
                part.process.poll()
            time.sleep(0.2)
        left = [f"{pid}: {words_of(pid)[:100]}" for pid in self.members()]
        self.kill()
        return left

    def kill(self) -> None:
        """End everything at once."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)
        self._is_over.set()
        for part in self.parts:
            part.kill()


class Killer(threading.Thread):
    """Kills one process after the other, chosen at random."""

    def __init__(self, site: Site, seed: int, pause: tuple[float, float]) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.chance = random.Random(seed)
        self.pause = pause
        self.kills: Counter[str] = Counter()
        self.is_over = threading.Event()

    def run(self) -> None:
        """Kill until told to stop."""
        while not self.is_over.wait(self.chance.uniform(*self.pause)):
            self.strike()

    def targets(self) -> dict[str, list[int]]:
        """Return the processes that there are, by kind."""
        found: dict[str, list[int]] = {}
        for part in self.site.parts:
            for kind, pid in part.kinds():
                found.setdefault(kind, []).append(pid)
        if self.site.is_postgresql:
            backends = self._backends()
            found["database connection"] = found["database process"] = backends
        return {kind: pids for kind, pids in found.items() if pids}

    def strike(self) -> None:
        """Kill one process."""
        targets = self.targets()
        if not targets:
            return
        kinds = sorted(targets)
        kind = self.chance.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        pid = self.chance.choice(sorted(targets[kind]))
        self.kill(kind, pid)

    def kill(self, kind: str, pid: int) -> None:
        """Kill a process; of a database's connection, politely."""
        with suppress(ProcessLookupError, psycopg.Error):
            if kind == "database connection":
                with psycopg.connect(self.site.url, autocommit=True, connect_timeout=5) as connection:
                    connection.execute("SELECT pg_terminate_backend(%s)", [pid])
            else:
                os.kill(pid, signal.SIGKILL)
            self.kills[kind] += 1

    def _backends(self) -> list[int]:
        try:
            with psycopg.connect(self.site.url, autocommit=True, connect_timeout=5) as connection:
                rows = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchall()
        except psycopg.Error:
            return []
        return [pid for (pid,) in rows]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Yield the address of an empty database of one's own."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'labelsite.sqlite3'}"
        return
    from tests.postgresql import cluster

    with cluster() as url:
        yield url


def verdict(site: Site, *words: str) -> dict[str, object]:
    """Run the checks (verdict.py) in a process of the site's settings and return what they found."""
    command = [sys.executable, "-m", "benchmarks.chaos.verdict", str(site.folder), *words]
    env = {**site.env, "DJANGO_SETTINGS_MODULE": "labelsite.settings"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))
