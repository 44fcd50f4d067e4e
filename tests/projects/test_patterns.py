"""Path patterns say which files are meant (SPEC D2, D4)."""

from __future__ import annotations

import pytest

from projects.patterns import PatternError, is_image_name, parse


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("", ["a.jpg"], ["x/a.jpg"]),
        ("/", ["a.jpg"], ["x/a.jpg"]),
        ("photos", ["photos/a.jpg"], ["a.jpg", "photos/x/a.jpg", "photos2/a.jpg"]),
        ("/photos/", ["photos/a.jpg"], ["photos/x/a.jpg"]),
        ("./photos", ["photos/a.jpg"], ["a.jpg"]),
        ("photos/**", ["photos/a.jpg", "photos/x/y/a.jpg"], ["a.jpg", "other/a.jpg", "photos.jpg"]),
        ("**", ["a.jpg", "x/y/a.jpg"], []),
        ("**/*.*", ["a.jpg", "x/y/a.jpg", "x/name-without-dot"], []),
        ("*.png", ["a.png", "a.b.c.png", "A.PNG"], ["a.jpg", "x/a.png", "apng"]),
        ("photos/*.jpg", ["photos/a.jpg", "photos/a.JPG"], ["photos/x/a.jpg", "photos/a.jpeg", "Photos/a.jpg"]),
        ("photos/**/*.jpg", ["photos/a.jpg", "photos/x/y/a.jpg"], ["photos/a.png", "a.jpg"]),
        ("photos/IMG_*.jpg", ["photos/IMG_1.jpg", "photos/IMG_1.x.Jpg"], ["photos/img_1.jpg", "photos/1.jpg"]),
        ("photos/IMG *.jpg", ["photos/IMG 12.jpg"], ["photos/IMG12.jpg"]),
        ("a?.jpg", ["ab.jpg"], ["a.jpg", "abc.jpg", "a/.jpg"]),
        ("*/2026/**", ["x/2026/a.jpg", "x/2026/y/a.jpg"], ["2026/a.jpg", "x/y/2026/a.jpg"]),
        ("**/left/*.png", ["left/a.png", "x/y/left/a.png", "left/left/a.png"], ["right/a.png", "aleft/a.png"]),
        ("**/a*/**/b*/*.png", ["a1/b2/x.png", "q/a1/q/a2/q/b/x.png"], ["b/a/x.png", "a1/x.png"]),
        ("**/left", ["left/a.png", "x/left/a.png"], ["left/x/a.png"]),
        ("photos/one.jpg", ["photos/one.jpg"], ["photos/one.jpg/a.jpg", "photos/two.jpg"]),
        ("a+b (1)/[x].jpg", ["a+b (1)/[x].jpg"], ["aab (1)/x.jpg"]),
    ],
)
def test_it_means_these_files_and_no_others(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    parsed = parse(pattern)
    assert [key for key in meant if not parsed.matches(key)] == []
    assert [key for key in not_meant if parsed.matches(key)] == []


@pytest.mark.parametrize(
    ("pattern", "head"),
    [
        ("", ""),
        ("a/b", "a/b"),
        ("/a/b/**", "a/b"),
        ("a/*/b", "a"),
        ("**/*.*", ""),
        ("a/b.jpg", "a"),
        ("a.v2", "a.v2"),
        ("*.jpg", ""),
    ],
)
def test_it_knows_the_folder_from_which_to_list(pattern: str, head: str) -> None:
    assert parse(pattern).head == head


@pytest.mark.parametrize(
    "pattern",
    [
        "/* *",
        "***",
        "a/**b",
        "a**/b",
        "a//b",
        "//a",
        "a/../b",
        "..",
        "./../a",
        "a/./b",
        " a/ b",
        "a\\b",
        "a\0b",
        "a\nb",
    ],
)
def test_it_refuses_a_malformed_pattern_with_a_hint(pattern: str) -> None:
    with pytest.raises(PatternError, match="photos/2026|folder/"):
        parse(pattern)


def test_it_answers_at_once_when_a_key_was_made_to_take_for_ever() -> None:
    assert not parse("*a*a*a*a*a*a*a*a*a*a*a*b.png").matches("a" * 1000 + ".png")
    assert not parse("/".join(["**", "a*"] * 12) + "/x.png").matches("a/" * 500 + "y.png")


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "x/a.jpe", "a.JfiF", "a.png", "a.bmp", "a.tif", "a.TIFF", "a.gif"])
def test_it_counts_these_as_images(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "a.svg", "a.jpg.txt", "jpg", "a.heic", "a.zip", "a"])
def test_it_does_not_count_these_as_images(name: str) -> None:
    assert not is_image_name(name)
