"""A child program that opens untrusted images and draws their previews: ``python -m projects.render``.

It knows nothing of Django. One JSON line in, one out: ``{"source": path, "targets": [[size, path], ..],
"head_only"?: true}`` answers ``{"width", "height", "orientation", "format"}`` (as displayed) or ``{"error": words}``.
Memory is limited here, time by the parent, which ends a child that takes too long. JPEG previews are written beside
their name, then put in place.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP")  # MPO is opened as JPEG
MAX_PIXELS = 300_000_000
MAX_BYTES = 500 * 1024 * 1024
MEMORY_BYTES = 4 * 1024**3
QUALITY = 88
WHITE = (255, 255, 255)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # their numbers in malloc.h


class Refused(Exception):
    """The file is not an image that can be shown, in words."""


def open_image(path: str) -> Image.Image:
    """Open a file as one of the known formats. Raises Refused."""
    if Path(path).stat().st_size > MAX_BYTES:
        raise Refused(f"The file is larger than {MAX_BYTES // 1024**2} MB.")
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refused(f"The image has more than {MAX_PIXELS // 1_000_000} million pixels.") from None
    except Exception:
        raise Refused("The file is not a JPEG, PNG, BMP, TIFF, GIF or WebP image.") from None
    if image.width * image.height > MAX_PIXELS:
        raise Refused(f"The image has more than {MAX_PIXELS // 1_000_000} million pixels.")
    return image


def displayed_size(image: Image.Image) -> tuple[int, int, int]:
    """Return width and height as displayed, and the EXIF orientation (1 to 8)."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block does not make a picture unreadable
        orientation = 1
    if orientation not in range(1, 9):
        orientation = 1
    width, height = image.size
    return (height, width, orientation) if orientation >= 5 else (width, height, orientation)


def flatten(image: Image.Image) -> Image.Image:
    """Return the first frame as 8-bit RGB on white; 16-bit greys are scaled by their range, not cut off."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, WHITE)
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _scale_grey(image: Image.Image) -> Image.Image:
    """Scale greys of more than 8 bits to 0..255: by the whole range of 16 bits, or by what the picture holds."""
    grey = image.convert("F")
    low, high = (float(value) for value in grey.getextrema() if isinstance(value, int | float))
    base, top = (0.0, 65535.0) if low >= 0 and 255 < high <= 65535 else (min(low, 0.0), high)
    scale = 255.0 / (top - base) if top > base else 0.0
    return grey.point(lambda value: value * scale + (-base * scale)).convert("L")


def render(source: str, targets: list[tuple[int, str]], head_only: bool = False) -> dict[str, Any]:
    """Measure an image and draw its previews; a size of 0 keeps the full resolution. Raises Refused.

    With ``head_only`` the image is measured and no more: damage further on goes unseen.
    """
    image = open_image(source)
    format_name = image.format
    width, height, orientation = displayed_size(image)
    facts = {"width": width, "height": height, "orientation": orientation, "format": format_name}
    if head_only:
        return facts
    bounded = [size for size, _path in targets if size]
    if bounded and len(bounded) == len(targets):
        image.draft("RGB", (max(bounded), max(bounded)))  # JPEG decodes at a half, quarter or eighth, much faster
    try:
        image.load()
        picture = flatten(image)
    except MemoryError:
        raise Refused("The image needs too much memory to be opened.") from None
    except Exception as error:
        raise Refused(f"The image is damaged: {error}.") from None
    largest_first = sorted(targets, key=lambda target: target[0] or sys.maxsize, reverse=True)
    for size, path in largest_first:
        if size:
            picture.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
        _write(_upright(picture, orientation), Path(path))
    return facts


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    if orientation == 1:
        return picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = picture.copy()
    turned.info["exif"] = exif.tobytes()
    turned.getexif().load(exif.tobytes())
    return ImageOps.exif_transpose(turned)


def _write(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        picture.save(written, "JPEG", quality=QUALITY, exif=b"")
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def answer(line: str) -> dict[str, Any]:
    """Answer one line of the parent's."""
    job = json.loads(line)
    try:
        targets = [(size, path) for size, path in job["targets"]]
        return render(job["source"], targets, job.get("head_only", False))
    except Refused as refusal:
        return {"error": str(refusal)}
    except OSError as error:
        return {"error": f"The file can't be read: {error.strerror or error}."}


def keep_memory() -> None:
    """Use the memory of one image for the next: to get it anew, page by page, takes a fifth of the time.

    It goes back with the process, which ends soon after the last image.
    """
    with suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * 1024**2)  # the most that it takes
        mallopt(M_TRIM_THRESHOLD, 64 * 1024**2)


def main() -> None:
    """Answer lines until there are no more."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the parent
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    keep_memory()
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)  # noqa: T201 (the parent reads it)


if __name__ == "__main__":
    main()
