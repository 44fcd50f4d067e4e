"""Labelers and a manager over HTTP, who note in a journal all that the site has said yes to (journal.jsonl).

They try again as browsers and programs do: the same request, until there is an answer.
"""

from __future__ import annotations

import hashlib
import html
import http.client
import json
import random
import re
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from benchmarks.chaos.processes import PASSWORD, Site

PAGE_DATA = re.compile(r'<script id="page-data" type="application/json">(.*?)</script>', re.DOTALL)
FORM = "application/x-www-form-urlencoded"
CLASSES = ("red", "green", "blue")
COLORS = ((200, 40, 40), (40, 180, 60), (50, 60, 210))
SIZE = (48, 36)
IMPORT = 1100  # images in a file of labels: three chunks of the importer
PATIENCE = 180.0  # seconds after which somebody gives up asking


def picture(number: int, chance: random.Random) -> bytes:
    """Return a small image whose colour says its class, ``number`` modulo 3; no two are alike."""
    image = Picture.new("RGB", SIZE, COLORS[number % 3])
    for _dot in range(60):
        spot = (chance.randrange(SIZE[0]), chance.randrange(SIZE[1]))
        image.putpixel(spot, tuple(min(255, max(0, c + chance.randint(-40, 40))) for c in COLORS[number % 3]))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def number_of(path: str) -> int:
    """Return the number in an image's name."""
    return int(Path(path).stem)


class Journal:
    """What the site has said yes to; and what looked wrong already on the way."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.jsonl"
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._holders: dict[int, tuple[str, float, str]] = {}
        self._exempt: set[str] = set()

    def note(self, what: str, **facts: Any) -> None:
        """Write down an act that was acknowledged."""
        with self._lock, self.path.open("a") as file:
            self.counts[what] += 1
            file.write(json.dumps({"what": what, "at": time.time(), **facts}) + "\n")

    def refused(self, what: str, status: int) -> None:
        """Count a no."""
        with self._lock:
            self.refusals[f"{what}: {status or 'gave up'}"] += 1

    def exempt(self, paths: list[str]) -> None:
        """Say that these images may be taken off a screen: their files go."""
        with self._lock:
            self._exempt.update(paths)

    def handed_out(self, who: str, page: dict[str, Any]) -> None:
        """Note who has which images on the screen; nobody else may have them."""
        now = time.time()
        lapses_at = datetime.fromisoformat(page["lease_expires_at"]).timestamp()
        twice = []
        with self._lock:
            for item in page["items"]:
                holder, until, path = self._holders.get(item["id"], ("", 0.0, ""))
                if holder not in ("", who) and until > now and path not in self._exempt:
                    twice.append((item["id"], holder))
                self._holders[item["id"]] = (who, lapses_at, item["image"]["path"])
        for task, holder in twice:
            self.note("twice", task=task, first=holder, second=who)

    def let_go(self, who: str, page: dict[str, Any]) -> None:
        """Note that the images are off the screen."""
        with self._lock:
            for item in page["items"]:
                if self._holders.get(item["id"], ("",))[0] == who:
                    del self._holders[item["id"]]


class Caller:
    """Somebody who calls the site: with a key, or with a session after logging in."""

    def __init__(self, site: Site, name: str, key: str, chance: random.Random, is_over: threading.Event) -> None:
        self.site, self.name, self.key, self.chance, self.is_over = site, name, key, chance, is_over
        self.cookies: dict[str, str] = {}
        self.asked: set[int] = set()  # the ports that have answered
        self._port = chance.randrange(len(site.ports))

    def once(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Ask once; return the status, where the answer points and its text. Raises OSError and HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.site.ports[self._port], timeout=30)
        try:
            sent = {"Authorization": f"Token {self.key}"} if path.startswith("/api/") else {}
            if not sent:
                sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
                sent["X-CSRFToken"] = self.cookies.get("csrftoken", "")
            connection.request(method, path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")  # a preview is no text
            self.asked.add(connection.port)
            for line in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = line.split(";")[0].partition("=")
                self.cookies[name] = value
            return answer.status, answer.headers.get("Location", ""), text
        finally:
            connection.close()

    def turn(self, number: int) -> None:
        """Ask this one of the web servers next."""
        self._port = number % len(self.site.ports)

    def insist(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Ask until there is an answer; (0, "", "") after a long time without."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                status, place, text = self.once(method, path, body, headers)
                if status < 500 and status != 429 and not (status == 409 and "still under way" in text):
                    return status, place, text
            except (OSError, http.client.HTTPException):
                self._port = (self._port + 1) % len(self.site.ports)
            time.sleep(self.chance.uniform(0.3, 1.2))
        return 0, "", ""

    def api(self, method: str, path: str, body: object = None, once: bool = True) -> tuple[int, Any]:
        """Call the API with a key of this call's own, until there is an answer."""
        headers = {"Content-Type": "application/json"}
        if method != "GET" and once:
            headers["Idempotency-Key"] = str(uuid.UUID(int=self.chance.getrandbits(128)))
        data = None if body is None else json.dumps(body).encode()
        status, _place, text = self.insist(method, f"/api/v1/{path}", data, headers)
        return status, json.loads(text) if text.startswith(("{", "[")) else None

    def form(self, path: str, fields: dict[str, str]) -> tuple[int, str, str]:
        """Send a form, until there is an answer."""
        return self.insist("POST", path, urllib.parse.urlencode(fields).encode(), {"Content-Type": FORM})

    def log_in(self) -> None:
        """Get a session."""
        self.insist("GET", "/login/")
        self.form("/login/", {"username": self.name, "password": PASSWORD})

    def send_files(self, path: str, files: dict[str, bytes], field: str, key: str = "") -> tuple[int, str, str]:
        """Send files as a form, until there is an answer."""
        border = "border-of-parts"
        body = b""
        for name, content in files.items():
            head = f'--{border}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
            body += head.encode() + content + b"\r\n"
        headers = {"Content-Type": f"multipart/form-data; boundary={border}"}
        if key:
            headers["Idempotency-Key"] = key
        return self.insist("POST", path, body + f"--{border}--\r\n".encode(), headers)


def make_project(boss: Caller, name: str, task_type: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Make a project of a folder's images over the API, and wait until it runs."""
    store = boss.api("POST", "datastores/", {"name": name, "kind": "local", "container": str(folder)})[1]
    dataset = boss.api("POST", "datasets/", {"name": name, "datastore": store["id"], "pattern": "**/*.*"})[1]
    classes = [{"name": each} for each in CLASSES]
    body = {"name": name, "task_type": task_type, "dataset": dataset["id"], "classes": classes, **more}
    project = boss.api("POST", "projects/", body)[1]
    while boss.api("GET", f"projects/{project['id']}/")[1]["state"] != "running":
        time.sleep(0.3)
    ids = [row["id"] for row in project["classes"]]
    return {**project, "class_ids": ids, "folder": folder, "has_resets": False}


class Labeler(Caller):
    """Labels page after page, now in one project, now in another."""

    def __init__(self, *args: Any, journal: Journal, projects: list[dict[str, Any]], think: float) -> None:
        super().__init__(*args)
        self.journal, self.projects, self.think = journal, projects, think

    def answer(self, project: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        """Return what this labeler says of an image."""
        ids = project["class_ids"]
        if self.chance.random() < 0.04:
            return {"id": item["id"], "skip": "unclear"}
        right = ids[number_of(item["image"]["path"]) % 3]
        if project["task_type"] == "detection":
            n = self.chance.choice([0, 1, 1, 2, 5])
            boxes = [
                [self.chance.uniform(0, 20), self.chance.uniform(0, 15), self.chance.uniform(4, 20), 12.5]
                for _box in range(n)
            ]
            return {"id": item["id"], "boxes": [{"label_class": self.chance.choice(ids), "box": b} for b in boxes]}
        if project["task_type"] == "multilabel":
            return {"id": item["id"], "labels": sorted({right, self.chance.choice(ids)})}
        return {"id": item["id"], "labels": [right if self.chance.random() < 0.97 else self.chance.choice(ids)]}

    def work(self) -> None:
        """Label until told to stop."""
        while not self.is_over.is_set():
            project = self.chance.choice(self.projects)
            for _page in range(self.chance.randint(1, 6)):
                if self.is_over.is_set() or not self.one_page(project):
                    break
            self.is_over.wait(self.chance.uniform(0.2, 1))

    def one_page(self, project: dict[str, Any]) -> bool:
        """Label a page; whether there was one."""
        raise NotImplementedError

    def look_at(self, project: dict[str, Any], page: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Think about a page and return the answers; None to let it be."""
        if not project["has_resets"]:
            self.journal.handed_out(self.name, page)
        self.is_over.wait(self.think * self.chance.uniform(0.3, 1.7))
        if self.chance.random() < 0.03:
            return None  # gone home: the lease will lapse
        return [self.answer(project, item) for item in page["items"]]

    def was_answered(self, project: dict[str, Any], page: dict[str, Any], items: list[Any], status: int) -> bool:
        """Note how a submit ended."""
        self.journal.let_go(self.name, page)
        if status != 200:
            self.journal.refused("submit", status)
            return False
        self.journal.note("submit", project=project["id"], page=page["id"], by=self.name, items=items)
        return True


class Program(Labeler):
    """Labels over the API."""

    def one_page(self, project: dict[str, Any]) -> bool:
        """Claim a page, answer it, now and then renew its lease first or give it back."""
        count = self.chance.choice([1, 4, 9, 9])
        status, data = self.api("POST", f"labeling/projects/{project['id']}/claim/", {"count": count}, once=False)
        if status != 200 or not data["page"]:
            if status != 200:
                self.journal.refused("claim", status)
            return False
        page = data["page"]
        items = self.look_at(project, page)
        address = f"labeling/pages/{page['id']}"
        if items is None:
            return False
        if self.chance.random() < 0.1:
            self.api("POST", f"{address}/renew/", once=False)
        if self.chance.random() < 0.03:
            self.journal.let_go(self.name, page)
            self.api("POST", f"{address}/release/", once=False)
            return False
        body = {"items": items, "seconds": self.think}
        status, _data = self.api("POST", f"{address}/submit/", body, once=self.chance.random() < 0.5)
        return self.was_answered(project, page, items, status)


class Browser(Labeler):
    """Labels on the pages."""

    def one_page(self, project: dict[str, Any]) -> bool:
        """Open the labeling page, fetch a preview, submit by the page's own form."""
        status, _place, text = self.insist("GET", f"/label/{project['id']}/")
        if status == 302:
            self.log_in()
            return False
        found = PAGE_DATA.search(text) if status == 200 else None
        data = json.loads(found[1]) if found else {"page": None}
        if not data["page"]:
            return False
        page = data["page"]
        self.insist("GET", html.unescape(self.chance.choice(page["items"])["image"]["preview_url"]), None, None)
        items = self.look_at(project, page)
        if items is None:
            return False
        fields = {"items": json.dumps(items), "seconds": str(self.think)}
        status, _place, _text = self.form(data["urls"]["submit"], fields)
        return self.was_answered(project, page, items, status)


class Manager(Caller):
    """Refreshes, uploads, imports, exports, reviews, starts over, restores, trains."""

    def __init__(self, *args: Any, journal: Journal, projects: list[dict[str, Any]]) -> None:
        super().__init__(*args)
        self.journal, self.projects = journal, projects
        self.assisted, self.boxes, self.imported = projects
        self.uploads = 0
        self.numbers = 100_000
        self.created = 0
        self.aside: int = 0
        self.to_import = sorted(path.name for path in self.imported["folder"].glob("*.png"))

    def work(self) -> None:
        """Do one thing after the other until told to stop."""
        self.log_in()
        acts: list[Callable[[], None]] = [
            self.refresh, self.refresh, self.export, self.export, self.export, self.upload, self.upload,
            self.create, self.take_in, self.take_in, self.review, self.review, self.start_over, self.train,
            self.cancel,
        ]  # fmt: skip
        while not self.is_over.is_set():
            self.chance.choice(acts)()
            self.is_over.wait(self.chance.uniform(0.5, 2.5))

    def refresh(self) -> None:
        """Let files come, change and go, and have the project look."""
        project = self.chance.choice([self.assisted, self.imported])
        folder: Path = project["folder"]
        files = sorted(folder.glob("*.png"))
        for _new in range(self.chance.randint(5, 25)):
            self.numbers += 1
            self._write(folder / f"{self.numbers}.png")
        for path in self.chance.sample(files, 2):
            self._write(path)
        gone = self.chance.sample(files, 2)
        self.journal.exempt([path.name for path in gone])
        for path in gone:
            path.unlink(missing_ok=True)
        status, data = self.api("POST", f"projects/{project['id']}/refresh/")
        self._noted("refresh", status, data, 202)

    def _write(self, path: Path) -> None:
        written = path.with_name(f".{path.name}")
        written.write_bytes(picture(number_of(path.name), self.chance))
        written.replace(path)

    def _noted(self, what: str, status: int, data: Any, expected: int) -> None:
        if status == expected:
            self.journal.note(what, id=data["id"])
        else:
            self.journal.refused(what, status)

    def export(self) -> None:
        """Ask for an export."""
        project = self.chance.choice(self.projects)
        formats = ["coco", "csv", "dataset"] + (["yolo", "voc"] if project["task_type"] == "detection" else [])
        body = {"format": self.chance.choice(formats), "options": {}}
        status, data = self.api("POST", f"projects/{project['id']}/exports/", body)
        self._noted("export", status, data, 202)

    def upload(self) -> None:
        """Send images."""
        files = {}
        for _file in range(self.chance.randint(1, 5)):
            self.uploads += 1
            files[f"{self.uploads:05}.png"] = picture(self.uploads, self.chance)
        path = f"/api/v1/datasets/{self.assisted['uploads']}/files/"
        key = str(uuid.UUID(int=self.chance.getrandbits(128)))
        status, _place, text = self.send_files(path, files, "files", key)
        if status != 201:
            self.journal.refused("upload", status)
            return
        report = json.loads(text)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        # A call that was cut off may have stored some of them; those are "kept" then.
        self.journal.note("upload", files={name: digests[name] for name in report["stored"] + report["kept"]})

    def create(self) -> None:
        """Make a project of what was uploaded."""
        if not self.uploads or self.created >= 8:
            return
        self.created += 1
        body = {
            "name": f"Uploaded {self.created}",
            "task_type": "multiclass",
            "dataset": self.assisted["uploads"],
            "classes": [{"name": name} for name in CLASSES],
        }
        status, data = self.api("POST", "projects/", body)
        self._noted("project", status, data, 201)

    def take_in(self) -> None:
        """Import labels for some images."""
        paths = self.to_import[:IMPORT]
        if not paths:
            return
        lines = ["path,label", *(f"{path},{CLASSES[number_of(path) % 3]}" for path in paths)]
        name = f"labels-{uuid.UUID(int=self.chance.getrandbits(128))}.csv"
        address = f"/admin/projects/project/{self.imported['id']}/labels/"
        status, _place, _text = self.send_files(address, {name: "\n".join(lines).encode()}, "file")
        if status != 302:
            self.journal.refused("import", status)
            self.log_in()
            return
        _status, _place, text = self.insist("GET", f"/admin/projects/project/{self.imported['id']}/exports/")
        if "It is being done" in text and name in text:
            self.journal.note("import", file=name, paths=paths)
            self.to_import = self.to_import[IMPORT:]
        else:
            self.journal.refused("import", 409)

    def review(self) -> None:
        """Approve or reject some images."""
        query = "status=labeled&page_size=20"
        status, data = self.api("GET", f"projects/{self.boxes['id']}/images/?{query}")
        if status != 200 or len(data["results"]) < 4:
            return
        images = [row["id"] for row in self.chance.sample(data["results"], 4)]
        act = self.chance.choice(["approve", "reject"])
        status, _data = self.api("POST", f"projects/{self.boxes['id']}/{act}/", {"images": images})
        if status == 200:
            self.journal.note("review", act=act, images=images, project=self.boxes["id"])
        else:
            self.journal.refused("review", status)

    def start_over(self) -> None:
        """Set all labels of a project aside; or bring them back."""
        pk = self.boxes["id"]
        status, _data = self.api("POST", f"projects/{pk}/pause/")
        if status == 200:
            if self.aside:
                address = f"/admin/projects/project/{pk}/classes/undo/{self.aside}/"
                status, _place, _text = self.form(address, {})
                if status == 302:
                    self.journal.note("restore", of=self.aside)
                self.aside = 0
            else:
                names = [f"class {uuid.UUID(int=self.chance.getrandbits(128))}"]
                existing = self.chance.choice(["restart_keep", "restart_remove"])
                status, _data = self.api("POST", f"projects/{pk}/classes/", {"names": names, "existing": existing})
                if status == 201:
                    self.journal.note("reset", project=pk, existing=existing, names=names)
                    _status, _place, text = self.insist("GET", f"/admin/projects/project/{pk}/details/")
                    events = re.findall(r"classes/undo/(\d+)/", text)
                    self.aside = int(events[0]) if events else 0
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            status, _data = self.api("POST", f"projects/{pk}/resume/")
            if status in (200, 409):
                break

    def train(self) -> None:
        """Start a round of the models."""
        kind = self.chance.choice(["training", "training", "inference", "featurization"])
        status, data = self.api("POST", f"projects/{self.assisted['id']}/assist-runs/", {"kind": kind})
        self._noted("run", status, data, 201)

    def cancel(self) -> None:
        """Cancel an export or a run that is under way, now and then."""
        if self.chance.random() < 0.5:
            return
        what, where = self.chance.choice([("exports", "exports"), ("assist-runs", "assist-runs")])
        status, data = self.api("GET", f"projects/{self.assisted['id']}/{what}/")
        active = [row["id"] for row in (data or {}).get("results", []) if row["state"] in ("queued", "running")]
        if status == 200 and active:
            status, _data = self.api("POST", f"{where}/{active[0]}/cancel/")
            if status == 200:
                self.journal.note("cancel", of=what, id=active[0])
