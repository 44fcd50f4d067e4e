"""Measure the frames of the box editor with many boxes on a large photo, in a real browser (SPEC L4).

    python benchmarks/box_editor.py [--boxes 2000] [--width 6000] [--height 4000]

The boxes are given by the API, then brought back on the labeler's page to be corrected. Prints, for each hand movement,
the time between frames and the longest task that kept the page from answering, as a table and JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_to_the_end import PASSWORD, Site  # noqa: E402

STEPS = 90
RECORD = """() => {
  window.frames_ = []; window.isRecording = true; window.long_ = 0
  const longest = (list) => { for (const e of list.getEntries()) window.long_ = Math.max(window.long_, e.duration) }
  new PerformanceObserver(longest).observe({ type: 'longtask' })
  let last = performance.now()
  const tick = (now) => {
    window.frames_.push(now - last)
    last = now
    if (window.isRecording) requestAnimationFrame(tick)
  }
  requestAnimationFrame(tick)
}"""
# The hand moves inside the browser, once a frame: nothing but the editor's work is between two frames.
MOVE = """async ({ kind, steps, from, to, button }) => {
  const stage = document.querySelector('.stage')
  const send = (type, x, y, more = {}) => stage.dispatchEvent(type === 'wheel'
    ? new WheelEvent('wheel', { clientX: x, clientY: y, bubbles: true, cancelable: true, ...more })
    : new PointerEvent(type, { clientX: x, clientY: y, bubbles: true, cancelable: true, pointerId: 1, isPrimary: true,
        pointerType: 'mouse', button, buttons: 1, ...more }))
  stage.setPointerCapture = () => {}
  const frame = () => new Promise(requestAnimationFrame)
  if (kind !== 'wheel') send('pointerdown', from[0], from[1])
  for (let step = 1; step <= steps; step++) {
    const part = step / steps
    const x = from[0] + (to[0] - from[0]) * part, y = from[1] + (to[1] - from[1]) * part
    if (kind === 'wheel') send('wheel', from[0], from[1], { deltaY: step <= steps / 2 ? -60 : 60 })
    else send('pointermove', x, y)
    await frame()
  }
  if (kind !== 'wheel') send('pointerup', to[0], to[1], { buttons: 0 })
}"""


def make_photos(folder: Path, width: int, height: int) -> None:
    """Two noisy photos: the first is labeled beforehand, the second is the page from which one goes back to it."""
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 255, (height // 8, width // 8, 3), dtype="uint8")
    photo = Picture.fromarray(noise).resize((width, height), Picture.Resampling.BICUBIC)
    for name in ("a", "b"):
        photo.save(folder / f"{name}.jpg", quality=85)


def boxes_for(count: int, width: int, height: int, classes: list[int]) -> list[dict[str, Any]]:
    """Return boxes spread over the photo."""
    rng = np.random.default_rng(2)
    sizes = rng.uniform(30, 200, (count, 2))
    places = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sizes)
    return [
        {"label_class": classes[n % len(classes)], "box": [*places[n].round(1).tolist(), *sizes[n].round(1).tolist()]}
        for n in range(count)
    ]


def record(page: Page, work: Callable[[], None]) -> dict[str, float]:
    """Return the time between frames while the work is done, in ms."""
    page.evaluate(RECORD)
    work()
    frames = sorted(page.evaluate("() => { window.isRecording = false; return window.frames_.slice(2) }"))
    return {
        "frames": len(frames),
        "p50 ms": round(statistics.median(frames), 1),
        "p95 ms": round(frames[int(len(frames) * 0.95)], 1),
        "longest ms": round(frames[-1], 1),
        "longest task ms": round(page.evaluate("window.long_"), 1),
    }


def measure(page: Page) -> dict[str, dict[str, float]]:
    """Return the figures of each movement."""
    area = page.locator(".stage").bounding_box()
    assert area is not None
    middle = (area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    aside = (middle[0] + 250, middle[1] + 150)

    def move(kind: str, button: int = 0, start: tuple[float, float] = middle) -> None:
        page.evaluate(MOVE, {"kind": kind, "steps": STEPS, "from": start, "to": aside, "button": button})

    figures = {"at rest": record(page, lambda: page.wait_for_timeout(1500))}
    figures["zoom in and out"] = record(page, lambda: move("wheel"))
    figures["pan, all boxes in sight"] = record(page, lambda: move("pan", 1))
    page.keyboard.press("0")
    page.keyboard.press("r")
    figures["draw a box"] = record(page, lambda: move("draw"))
    page.keyboard.press("m")
    inside = page.evaluate(
        """() => { const r = document.querySelector('.boxes .bx.is-on .edge').getBoundingClientRect();
        return [r.x + r.width / 2, r.y + r.height / 2] }"""
    )
    figures["move a box"] = record(page, lambda: move("move", 0, tuple(inside)))
    for _turn in range(8):
        page.evaluate(MOVE, {"kind": "wheel", "steps": 2, "from": middle, "to": middle, "button": 0})
    figures["pan, zoomed in"] = record(page, lambda: move("pan", 1))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=2000)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labelsite-") as name:
        folder = Path(name)
        make_photos(folder / "photos", options.width, options.height)
        site = Site(folder / "data")
        try:
            site.person("boss", "manager")
            key = site.person("ann", "labeler")
            project = site.manage(
                "create_project", "Photos", "--type", "detection", "--images", str(folder / "photos"),
                "--classes", "ant,bee,cat,dog", "--wait",
            )  # fmt: skip
            task = site.call(key, f"labeling/projects/{project}/claim/", {})["page"]
            with sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto(f"{site.url}/login/?next=/label/{project}/")
                page.fill("[name=username]", "ann")
                page.fill("[name=password]", PASSWORD)
                page.keyboard.press("Enter")
                page.wait_for_selector("#page:not([aria-busy])")
                data = json.loads(page.locator("#page-data").text_content() or "{}")
                classes = [label["id"] for label in data["classes"]]
                boxes = boxes_for(options.boxes, options.width, options.height, classes)
                site.call(
                    key,
                    f"labeling/pages/{task['id']}/submit/",
                    {"items": [{"id": task["items"][0]["id"], "boxes": boxes}]},
                )
                page.goto(f"{site.url}/label/{project}/")
                page.wait_for_selector("#page:not([aria-busy])")
                page.keyboard.press("p")
                page.wait_for_selector(".boxes .bx")
                page.wait_for_timeout(1500)
                assert page.locator(".boxes .bx").count() == options.boxes
                figures = measure(page)
                browser.close()
        finally:
            site.end()
    print(f"{options.boxes} boxes on {options.width} × {options.height} pixels")
    for movement, row in figures.items():
        print(f"{movement:<26}" + "".join(f"{name}: {value:<10}" for name, value in row.items()))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
