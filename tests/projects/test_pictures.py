"""Unusual pictures are shown as they are meant, or named unreadable with the reason (SPEC D4; attacks 9 and 11)."""

from __future__ import annotations

import json
import platform
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image as Picture

from labeling import feeder
from labeling.models import LabelTask
from projects.models import Image, Project
from tests import make

Colors = tuple[int, int, int]


def labeled_folder(manager: User, folder: Path, write: Callable[[Path], object]) -> Project:
    folder.mkdir()
    write(folder)
    project = make.project(manager, folder)
    feeder.feed(project.pk)
    return project


def preview(project: Project, manager: User, size: int = 512) -> Picture.Image:
    """The preview that a manager sees, through the API."""
    client = Client()
    client.force_login(manager)
    image = Image.objects.get(project=project)
    answer = client.get(f"/api/v1/projects/{project.pk}/images/{image.pk}/preview/?size={size}", follow=True)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "image/jpeg"
    return Picture.open(BytesIO(b"".join(answer.streaming_content)))  # type: ignore[attr-defined]


def near(found: object, wanted: Colors, within: int = 12) -> bool:
    return all(abs(a - b) <= within for a, b in zip(found, wanted, strict=True))  # type: ignore[call-overload]


def test_a_very_thin_image_is_handed_out(manager: User, tmp_path: Path) -> None:
    project = labeled_folder(
        manager, tmp_path / "thin", lambda folder: Picture.new("RGB", (1, 65_000), "red").save(folder / "thin.png")
    )
    image = Image.objects.get()
    assert (image.problem, image.width, image.height) == ("", 1, 65_000)
    assert LabelTask.objects.get().status == "queued"
    assert preview(project, manager).size == (1, 512)


def test_print_colors_are_shown_as_screen_colors(manager: User, tmp_path: Path) -> None:
    project = labeled_folder(
        manager,
        tmp_path / "cmyk",
        lambda folder: Picture.new("CMYK", (40, 30), (0, 255, 255, 0)).save(folder / "red.jpg", quality=95),
    )
    assert near(preview(project, manager).getpixel((20, 15)), (255, 0, 0))


def test_sixteen_bits_are_scaled_not_cut_off(manager: User, tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        grey = np.tile(np.linspace(0, 65535, 64).astype("uint16"), (32, 1))
        Picture.fromarray(grey).save(folder / "ramp.png")

    project = labeled_folder(manager, tmp_path / "deep", write)
    shown = preview(project, manager)
    assert near(shown.getpixel((0, 16)), (0, 0, 0))
    assert near(shown.getpixel((32, 16)), (130, 130, 130))
    assert near(shown.getpixel((63, 16)), (255, 255, 255))


def test_of_a_moving_picture_the_first_frame_counts(manager: User, tmp_path: Path) -> None:
    frames = [Picture.new("RGB", (20, 20), color) for color in ("lime", "red")]
    project = labeled_folder(
        manager,
        tmp_path / "gif",
        lambda folder: frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:]),
    )
    assert near(preview(project, manager).getpixel((10, 10)), (0, 255, 0))


def test_what_is_see_through_lies_on_white(manager: User, tmp_path: Path) -> None:
    project = labeled_folder(
        manager, tmp_path / "alpha", lambda folder: Picture.new("RGBA", (20, 20), (0, 0, 0, 0)).save(folder / "a.png")
    )
    assert near(preview(project, manager).getpixel((10, 10)), (255, 255, 255))


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says that it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg(size: tuple[int, int] = (400, 300)) -> bytes:
    buffer = BytesIO()
    Picture.effect_noise(size, 50).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bomb.png", huge_png(60_000, 60_000), "million pixels"),
        ("cut.jpg", jpeg()[:2000], "damaged"),
        ("page.png", b"<!DOCTYPE html><script>alert(1)</script>", "not a JPEG"),
        ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not a JPEG"),
        ("empty.jpg", b"", "not a JPEG"),
        ("entities.jpg", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', "not a JPEG"),
    ],
)
def test_what_cannot_be_shown_is_unreadable_with_the_reason(
    manager: User, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    project = labeled_folder(manager, tmp_path / "odd", lambda folder: (folder / name).write_bytes(content))
    image = Image.objects.get(project=project)
    assert image.problem == "unreadable"
    assert words in image.problem_detail
    assert LabelTask.objects.get(project=project).status == "unreadable"


def test_a_page_in_a_picture_is_never_served_as_a_page(manager: User, tmp_path: Path) -> None:
    """Attack 9: the original is only ever a file to save, and what is shown is drawn anew."""
    script = b"<script>alert(document.domain)</script>"
    project = labeled_folder(
        manager, tmp_path / "both", lambda folder: (folder / "both.jpg").write_bytes(jpeg() + script)
    )
    client = Client()
    client.force_login(manager)
    image = Image.objects.get(project=project)
    original = client.get(f"/api/v1/projects/{project.pk}/images/{image.pk}/file/")
    assert original["Content-Type"] == "application/octet-stream"
    assert original["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in original["Content-Security-Policy"]
    drawn = client.get(f"/api/v1/projects/{project.pk}/images/{image.pk}/preview/?size=512", follow=True)
    assert script not in b"".join(drawn.streaming_content)  # type: ignore[attr-defined]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_photos_are_drawn_in_the_memory_of_the_one_before(tmp_path: Path) -> None:
    """To have the system clear fresh pages for each takes a fifth of the time that the preview does."""
    photo = tmp_path / "photo.jpg"
    Picture.effect_noise((1600, 1200), 50).convert("RGB").save(photo)
    job = json.dumps({"source": str(photo), "targets": [[512, str(tmp_path / "preview")]]})
    with subprocess.Popen(
        [sys.executable, "-m", "projects.render"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        faults = []
        for _photo in range(8):
            child.stdin.write(f"{job}\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["width"] == 1600
            facts = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            faults.append(int(facts[7]))
        child.stdin.close()
    assert faults[-1] - faults[2] < 5 * 200  # pages of 4 kB; the decoded photo alone has 350


def test_texts_are_sent_compressed_and_pictures_as_they_are(project: Project, labeler: User) -> None:
    """To compress JPEGs once more takes a fifth of the time of a preview and saves no byte."""
    client = Client(headers={"Accept-Encoding": "gzip"})
    client.force_login(labeler)
    assert client.get(f"/label/{project.pk}/")["Content-Encoding"] == "gzip"
    image = Image.objects.filter(project=project)[0]
    preview = client.get(f"/images/{image.pk}/512/")
    assert "Content-Encoding" not in preview
    assert preview["Content-Length"] == str(len(b"".join(preview.streaming_content)))  # type: ignore[attr-defined]
