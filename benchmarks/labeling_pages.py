"""Measure what a labeler feels: the first page's weight, the next page after Submit, many labelers at once.

    python benchmarks/labeling_pages.py [--images 10000] [--labelers 8] [--seconds 20] [--pace 1.0]

Runs the site as ``make run`` does, in a temporary folder (or on the database that DATABASE_URL names). The labelers
post the pages' own forms, over HTTP: first at the pace of people who are very quick (each fetches a page's previews, as
a browser does, and submits it after ``--pace`` seconds on average, half as many at least), then one alone and all at
once as fast as they can, until the images are used up. Prints a table and JSON; "cpu" is the web server's.
"""

from __future__ import annotations

import argparse
import gzip
import html
import http.client
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_to_the_end import PASSWORD, Site  # noqa: E402

PAGE_DATA = re.compile(r'<script id="page-data" type="application/json">(.*?)</script>', re.DOTALL)
# The worker opens images, too: to come upon those that it is at ends a call before all are done.
OPEN_ALL = """
from labeling import feeder
from labeling.models import LabelTask
while LabelTask.objects.filter(project={project}).waiting().exists():
    feeder.feed({project}, 1000)
"""
# From the press of Enter until another page stands there, decoded and painted.
WATCH = """() => {
  window.waits = []
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return
    const started = performance.now()
    const id = () => JSON.parse(document.querySelector('#page-data').textContent).page?.id
    const before = id()
    const look = () => {
      const images = [...document.querySelectorAll('#page .tile > img')]
      if (id() !== before && images.length && images.every((image) => image.complete)) {
        requestAnimationFrame(() => window.waits.push(performance.now() - started))
      } else requestAnimationFrame(look)
    }
    look()
  }, true)
}"""


def make_files(folder: Path, count: int) -> None:
    """Make images of 640 × 480 pixels: a hundred different ones, and links to them for the rest."""
    originals = folder.parent / "originals"
    originals.mkdir()
    for number in range(100):
        noise = Picture.effect_noise((80, 60), 40 + number).resize((640, 480), Picture.Resampling.BICUBIC)
        Picture.merge("RGB", (noise, noise.rotate(180), noise.transpose(0))).save(originals / f"{number}.jpg")
    for number in range(count):
        part = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        os.link(originals / f"{number % 100}.jpg", part / f"{number:06}.jpg")


class Visitor:
    """Somebody with a session of their own, over one connection."""

    def __init__(self, site: Site, name: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        self.cookies: dict[str, str] = {}
        self.get("/login/")
        self.post("/login/", {"username": name, "password": PASSWORD})

    def reach(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Ask the site with the session's cookies; once more if the server had closed the idle connection."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Accept-Encoding": "gzip", **(headers or {}), "Cookie": cookies}
        try:
            self.connection.request(method, path, body, sent)
            return self.connection.getresponse()
        except (BrokenPipeError, ConnectionResetError):  # the second is what "remote end closed" is, too
            self.connection.close()
            self.connection.request(method, path, body, sent)
            return self.connection.getresponse()

    def ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> str:
        """Ask the site, keeping its cookies."""
        answer = self.reach(method, path, body, headers)
        content = answer.read()
        text = (gzip.decompress(content) if answer.headers["Content-Encoding"] == "gzip" else content).decode()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return text

    def fetch(self, path: str) -> bytes:
        """Fetch an image."""
        answer = self.reach("GET", path)
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status}")
        return content

    def get(self, path: str) -> str:
        """Open a page."""
        return self.ask("GET", path, None, {"HX-Request": "true"})

    def post(self, path: str, fields: dict[str, str]) -> str:
        """Send a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "HX-Request": "true"}
        headers["X-CSRFToken"] = self.cookies.get("csrftoken", "")
        return self.ask("POST", path, urllib.parse.urlencode(fields), headers)


class Labeler(Visitor):
    """Somebody who labels one project."""

    def __init__(self, site: Site, name: str, project: str) -> None:
        super().__init__(site, name)
        self.data = self.read(self.get(f"/label/{project}/"))
        self.waits: list[float] = []
        self.images: list[int] = []
        self.chance = random.Random(name)

    @staticmethod
    def read(text: str) -> dict[str, Any]:
        """Return the page's data."""
        found = PAGE_DATA.search(text)
        if found is None:
            raise RuntimeError(f"This is no labeling page: {html.unescape(text)[:300]}")
        return dict(json.loads(found[1]))

    def look(self, seconds: float) -> None:
        """Fetch the page's images and look at them, about so long in all."""
        ends = time.monotonic() + seconds * self.chance.uniform(0.5, 1.5)
        for item in self.data["page"]["items"]:
            self.fetch(item["image"]["preview_url"])
        time.sleep(max(ends - time.monotonic(), 0))

    def work(self, until: float, pace: float) -> None:
        """Label pages, each for ``pace`` seconds, or as fast as the site hands them out."""
        while time.monotonic() < until and self.data["page"]:
            if pace:
                self.look(pace)
            label = self.data["classes"][0]["id"]
            items = [{"id": item["id"], "labels": [label]} for item in self.data["page"]["items"]]
            started = time.perf_counter()
            text = self.post(self.data["urls"]["submit"], {"items": json.dumps(items), "seconds": "9"})
            self.waits.append(1000 * (time.perf_counter() - started))
            self.images += [item["image"]["id"] for item in self.data["page"]["items"]]
            self.data = self.read(text)


def web_seconds(site: Site) -> float:
    """Return the processor time of the site's web server so far."""
    ticks, words = 0, "\0".join(("--bind", f"127.0.0.1:{site.port}", "")).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if words in (process / "cmdline").read_bytes():
                ticks += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def label_together(site: Site, labelers: list[Labeler], seconds: float, pace: float = 0) -> dict[str, Any]:
    """Have them label at once and return the figures."""
    until = time.monotonic() + seconds
    started, cpu = time.perf_counter(), web_seconds(site)
    threads = [threading.Thread(target=labeler.work, args=(until, pace)) for labeler in labelers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, cpu = time.perf_counter() - started, web_seconds(site) - cpu
    waits = sorted(wait for labeler in labelers for wait in labeler.waits)
    images = Counter(image for labeler in labelers for image in labeler.images)
    return {
        "images a second": round(sum(images.values()) / took),
        "images twice": sum(n > 1 for n in images.values()),
        "submit with the next page, p50 ms": round(statistics.median(waits), 1),
        "submit with the next page, p95 ms": round(waits[int(len(waits) * 0.95)], 1),
        "cpu a page, ms": round(1000 * cpu / len(waits), 1),
    }


def log_in(browser: Browser, site: Site, name: str, project: str) -> Page:
    """Log in by the form, and open the project's first page."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{site.url}/login/?next=/label/{project}/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#page:not([aria-busy])")
    return page


def weigh(browser: Browser, site: Site, name: str, project: str) -> dict[str, Any]:
    """Return what the first labeling page loads, with an empty cache."""
    page = log_in(browser, site, name, project)
    cookies = page.context.cookies()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_cookies(cookies)  # type: ignore[arg-type]
    fresh = context.new_page()
    network = context.new_cdp_session(fresh)
    network.send("Network.enable")
    kinds: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    network.on(
        "Network.responseReceived",
        lambda event: kinds.update(
            {event["requestId"]: "Image" if event["response"]["mimeType"].startswith("image/") else event["type"]}
        ),
    )

    def finished(event: dict[str, Any]) -> None:
        kind = kinds.get(event["requestId"], "Other")
        sizes[kind] += int(event["encodedDataLength"])
        counts[kind] += 1

    network.on("Network.loadingFinished", finished)
    fresh.goto(f"{site.url}/label/{project}/")
    fresh.wait_for_selector("#page:not([aria-busy])")
    fresh.wait_for_load_state("networkidle")
    context.close()
    return {
        "JS and CSS, kB as sent": round((sizes["Script"] + sizes["Stylesheet"]) / 1000, 1),
        "requests without images": sum(n for kind, n in counts.items() if kind != "Image"),
        "all with images, kB": round(sum(sizes.values()) / 1000, 1),
    }


def submit_in_browser(browser: Browser, site: Site, name: str, project: str, pages: int) -> dict[str, Any]:
    """Return how long the labeler waits for the next page after Enter."""
    page = log_in(browser, site, name, project)
    page.evaluate(WATCH)
    for number in range(pages):
        page.keyboard.press("a")
        page.keyboard.press("1")
        page.wait_for_timeout(400)  # a labeler looks at the images; what comes next is fetched meanwhile
        page.keyboard.press("Enter")
        page.wait_for_function("n => window.waits.length > n", arg=number, timeout=20_000)
        page.wait_for_selector("#page:not([aria-busy])")
    waits = sorted(page.evaluate("window.waits"))
    page.close()
    return {
        "next page on the screen, p50 ms": round(statistics.median(waits)),
        "next page on the screen, p95 ms": round(waits[int(len(waits) * 0.95)]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--labelers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pace", type=float, default=1.0, help="seconds a page of labelers who are people")
    parser.add_argument(
        "--ready", action="store_true", help="open all images before: what is left is the site's own time"
    )
    parser.add_argument("--pages", type=int, default=40, help="pages that are submitted in the browser")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labelsite-") as name:
        folder = Path(name)
        make_files(folder / "images", options.images)
        site = Site(folder / "data")
        try:
            site.person("boss", "manager")
            names = [f"labeler{n}" for n in range(options.labelers)]
            for labeler in names:
                site.person(labeler, "labeler")
            project = site.manage(
                "create_project", "Bench", "--type", "multiclass", "--images", str(folder / "images"),
                "--classes", "ant,bee,cat,dog", "--wait",
            )  # fmt: skip
            if options.ready:
                site.manage("shell", "-c", OPEN_ALL.format(project=project))
            time.sleep(10)  # the worker prepares the first images
            figures: dict[str, Any] = {"images": options.images}
            with sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
                figures |= weigh(browser, site, names[0], project)
                figures |= submit_in_browser(browser, site, names[0], project, options.pages)
                browser.close()
            ways = (
                (f"{options.labelers}, {options.pace:g} s a page", options.labelers, options.seconds, options.pace),
                ("alone", 1, options.seconds / 4, 0.0),  # at some 800 images a second
                (f"{options.labelers} at once", options.labelers, options.seconds, 0.0),
            )
            for way, count, seconds, pace in ways:
                labelers = [Labeler(site, one, project) for one in names[:count]]
                found = label_together(site, labelers, seconds, pace)
                figures |= {f"{way}: {key}": value for key, value in found.items()}
        finally:
            site.end()
    for key, value in figures.items():
        print(f"{key:<52} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
