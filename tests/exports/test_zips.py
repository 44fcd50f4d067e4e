"""Zips of very many files: flat memory, the bytes of ``zipfile``, and read by others (SPEC E4, E5)."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from exports import zips
from exports.zips import ZipOutput

MANY = 70_000  # more than a directory without 64 bits can count


def by_zipfile(files: dict[str, str]) -> bytes:
    """Write the same files as Python does."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return out.getvalue()


def by_us(files: dict[str, str], path: Path) -> bytes:
    with path.open("wb") as out, ZipOutput(out) as archive:
        for name, content in files.items():
            assert not archive.holds(name)
            archive.add(name, content)
            assert archive.holds(name.upper())
    return path.read_bytes()


@pytest.mark.parametrize("limit", [zips.MAX_SIZE, 900])
@pytest.mark.parametrize("count", [0, 3, MANY])
def test_a_zip_is_what_python_would_write_and_others_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, limit: int
) -> None:
    """Few files and many, in the first 2 GiB (moved to the first 900 bytes) and behind."""
    monkeypatch.setattr(zips, "MAX_SIZE", limit)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    files = {
        f"labels/{'ü' * (number % 2)}{number}.txt": f"{number} 0.5 0.5\n" * (number % 5) for number in range(count)
    }
    path = tmp_path / "made.zip"
    assert by_us(files, path) == by_zipfile(files)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(files)
        assert all(archive.read(name).decode() == files[name] for name in list(files)[::997])
    if count and shutil.which("unzip"):  # it calls an empty one an error
        subprocess.run(["unzip", "-tqq", str(path)], check=True)


def test_a_long_zip_takes_no_more_memory_than_its_names_digests(tmp_path: Path) -> None:
    tracemalloc.start()
    with (tmp_path / "long.zip").open("wb") as out, ZipOutput(out) as archive:
        for number in range(20_000):
            archive.add(f"labels/{'a long folder name/' * 20}{number}.txt", "0 0.5 0.5 0.1 0.1\n")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / 20_000 < 250  # zipfile: 1,900


def test_a_zip_that_is_broken_off_has_no_directory(tmp_path: Path) -> None:
    """So that nobody takes a half for the whole."""
    path = tmp_path / "half.zip"
    with pytest.raises(RuntimeError), path.open("wb") as out, ZipOutput(out) as archive:
        archive.add("a.txt", "a")
        raise RuntimeError
    assert not zipfile.is_zipfile(path)
