"""Take pictures of the site's pages with the demo's data, partly labeled.

python docs/make_screenshots.py              # the best ones, into docs/screens/
python docs/make_screenshots.py --all DIR    # every page, at 1280 and 390 pixels, light and dark
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_to_the_end import Site  # noqa: E402

WIDTHS = {"desk": (1280, 800), "phone": (390, 844)}
BEST = {
    "grid": ("desk", "light"),
    "boxes": ("desk", "dark"),
    "dashboard": ("desk", "light"),
    "data": ("desk", "light"),
    "projects": ("desk", "dark"),
    "grid-phone": ("phone", "light"),
}
Act = Callable[[Page], object]


def label_some(site: Site, people: dict[str, str], ids: dict[str, int]) -> None:
    """Label a part of the digits and scenes by their truth, and skip a few."""
    os.environ.update({"DJANGO_SETTINGS_MODULE": "labelsite.settings", **site.env})
    django.setup()
    from labelsite.demo import load_digits, scene

    _images, targets = load_digits()
    for turn, (project, pages) in enumerate([("digits", 24), ("scenes of digits", 14)] * 2):
        key = people[f"labeler{1 + turn % 2}"]
        mine = site.ask(key, "labeling/projects/")["results"]
        classes = {c["name"]: c["id"] for p in mine if p["id"] == ids[project] for c in p["classes"]}
        for number in range(pages):
            page = site.call(key, f"labeling/projects/{ids[project]}/claim/", {"count": 9 if turn % 2 == 0 else 1})[
                "page"
            ]
            items = []
            for item in page["items"]:
                picture = int(Path(item["image"]["path"]).stem)
                if project == "digits":
                    answer: dict[str, Any] = {"labels": [classes[str(targets[picture])]]}
                else:
                    boxes = scene(picture)[1]
                    answer = {"boxes": [{"label_class": classes[str(digit)], "box": list(box)} for digit, box in boxes]}
                items.append({"id": item["id"], **(answer if number % 11 else {"skip": "unclear"})})
            site.call(key, f"labeling/pages/{page['id']}/submit/", {"items": items, "seconds": 7 + number % 5})


def open_as(browser: Browser, site: Site, name: str, password: str, width: str, scheme: str) -> Page:
    """Log in and return a page of that size and colour scheme."""
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    page = browser.new_page(viewport=size, color_scheme=scheme, has_touch=width == "phone")  # type: ignore[arg-type]
    page.set_default_timeout(20_000)
    page.goto(f"{site.url}/login/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    return page


def select_some(page: Page) -> None:
    """Choose classes for a part of the page, as in the middle of work."""
    page.wait_for_selector("#page:not([aria-busy])")
    for index, key in enumerate("37152"):
        page.locator(".tile").nth(index).click()
        page.keyboard.press(key)
        page.keyboard.press("Escape")
    page.locator(".tile").nth(5).click()


def draw_some(page: Page) -> None:
    """Draw the boxes of the scene but the last, as in the middle of work."""
    from labelsite.demo import scene

    page.wait_for_selector("#page:not([aria-busy])")
    page.wait_for_selector(".picture image")
    data = json.loads(page.locator("#page-data").text_content() or "{}")
    number = int(Path(data["page"]["items"][0]["image"]["path"]).stem)
    for digit, (x, y, width, height) in scene(number)[1][:-1]:
        page.keyboard.press("Escape")
        page.locator(f'.cls .clip[title="{digit}"]').click()
        corners = page.evaluate(
            """(points) => { const m = document.querySelector('.picture').getScreenCTM();
            return points.map(([x, y]) => { const p = new DOMPoint(x, y).matrixTransform(m); return [p.x, p.y] }) }""",
            [[x - 2, y - 2], [x + width + 2, y + height + 2]],
        )
        page.mouse.move(*corners[0])
        page.mouse.down()
        page.mouse.move(*corners[1], steps=3)
        page.mouse.up()


def open_dialog(key: str) -> Act:
    """Return what opens a dialog of the labeling page."""

    def press(page: Page) -> None:
        page.wait_for_selector("#page:not([aria-busy])")
        page.keyboard.press("a")
        page.keyboard.press(key)
        page.wait_for_selector("dialog[open]")

    return press


def open_image(page: Page) -> None:
    """Open the side panel of the first image."""
    page.locator(".thumb .shot").first.click()
    page.wait_for_selector("#image-panel *")


def screens(ids: dict[str, int]) -> list[tuple[str, str, str, Act | None]]:
    """Return (name, who, address, what to do there) of every page."""
    console = "/admin/projects/project/"
    labeling = [
        ("home", "/label/", None),
        ("grid", f"/label/{ids['digits']}/", select_some),
        ("several", f"/label/{ids['pairs of digits']}/", None),
        ("boxes", f"/label/{ids['scenes of digits']}/", draw_some),
        ("keys", f"/label/{ids['digits']}/", open_dialog("?")),
        ("skip", f"/label/{ids['digits']}/", open_dialog("s")),
        ("instructions", f"/label/{ids['digits']}/instructions/", None),
        ("not-found", "/label/999999/", None),
    ]
    managing: list[tuple[str, str, Act | None]] = [
        ("projects", console, None),
        *((tab, f"{console}{ids['digits']}/{tab}/", None) for tab in ("dashboard", "data", "details", "exports")),
        ("dashboard-boxes", f"{console}{ids['scenes of digits']}/dashboard/", None),
        ("data-boxes", f"{console}{ids['scenes of digits']}/data/", None),
        ("image", f"{console}{ids['scenes of digits']}/data/?status=labeled", open_image),
        *((f"wizard-{step}", f"{console}add/{step}/", None) for step in ("details", "data", "classes", "instructions")),
        ("wizard-assist", f"{console}add/assist/", None),
        ("delete", f"{console}{ids['digits']}/delete/", None),
        ("datasets", "/admin/projects/dataset/", None),
        ("dataset-add", "/admin/projects/dataset/add/", None),
        ("datastores", "/admin/projects/datastore/", None),
        ("datastore-add", "/admin/projects/datastore/add/", None),
    ]
    return [(n, "labeler1", url, act) for n, url, act in labeling] + [
        (n, "manager", url, act) for n, url, act in managing
    ]


def read_instructions(page: Page) -> None:
    """Close the instructions that open before the first page."""
    if page.locator("dialog#instructions[open]").count():
        page.keyboard.press("Escape")


def shoot(page: Page, url: str, act: Act | None, file: Path, *, is_whole: bool) -> None:
    """Open an address, do what is to be done there, and take the picture."""
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if page.locator("#page").count():
        page.wait_for_selector("#page:not([aria-busy])")
        page.wait_for_timeout(300)
        read_instructions(page)
    if act:
        act(page)
    page.wait_for_timeout(400)
    page.screenshot(path=file, full_page=is_whole)
    print(file)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
        print(f"  {url} scrolls sideways at {page.viewport_size}")


def main() -> None:
    """Start the site with its demo, label a part, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, help="a folder for pictures of every page")
    parser.add_argument("--only", default="", help="pages whose names match this pattern")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labelsite-") as folder:
        site = Site(Path(folder))
        try:
            site.manage("demo")
            accounts = json.loads((Path(folder) / "demo-accounts.json").read_text())
            time.sleep(10)  # the worker registers the images and prepares the first of them
            people = {name: site.manage("create_token", name) for name in accounts}
            ids = {
                p["name"].removeprefix("Demo: "): p["id"] for p in site.ask(people["manager"], "projects/")["results"]
            }
            label_some(site, people, ids)
            with sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
                pages = [screen for screen in screens(ids) if re.search(options.only, screen[0])]
                for width in WIDTHS:
                    for scheme in ("light", "dark"):
                        by_person = {
                            name: open_as(browser, site, name, accounts[name], width, scheme)
                            for name in ("labeler1", "manager")
                        }
                        for name, who, url, act in pages:
                            if options.all:
                                file = options.all / f"{name}-{width}-{scheme}.png"
                            elif (width, scheme) == BEST.get(name if width == "desk" else f"{name}-phone"):
                                file = ROOT / "docs" / "screens" / f"{name if width == 'desk' else f'{name}-phone'}.png"
                            else:
                                continue
                            file.parent.mkdir(parents=True, exist_ok=True)
                            shoot(by_person[who], site.url + url, act, file, is_whole=bool(options.all))
                        for page in by_person.values():
                            page.close()
                browser.close()
        finally:
            site.end()


if __name__ == "__main__":
    main()
