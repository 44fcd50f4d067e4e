"""Find a project's images by the paths that a file names: the same path, or else one that ends in the same way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from exports.importing.document import Document
from projects.models import Image, Project

CHUNK = 5000


@dataclass(slots=True)
class Matches:
    """Which image (id) each of the file's images (number) is, and which are none, and why."""

    found: dict[int, int] = field(default_factory=dict)
    absent: list[int] = field(default_factory=list)
    ambiguous: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    n_by_end: int = 0  # how many of those found have another folder before their path


def match(project: Project, document: Document) -> Matches:
    """Match the file's images with the project's."""
    names = {number: clean(path) for number, path in enumerate(document.paths)}
    others = {number: clean(path) for number, path in document.other_paths.items()}
    matches = Matches()
    taken: dict[int, int] = {}
    for paths in (names, others):
        left = [number for number in paths if number not in matches.found]
        for number, image in _exact(project, paths, left):
            _take(matches, taken, number, image)
    left = [number for number in names if number not in matches.found and number not in matches.twice]
    n_exact = len(matches.found)
    _by_end(project, names, others, left, matches, taken)
    matches.n_by_end = len(matches.found) - n_exact
    return matches


def clean(path: str) -> str:
    """Return a path as this site writes them: with "/" between its parts, from the root of the datastore on."""
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def _take(matches: Matches, taken: dict[int, int], number: int, image: int) -> None:
    if taken.setdefault(image, number) == number:
        matches.found[number] = image
    else:
        matches.twice.append(number)


def _exact(project: Project, paths: dict[int, str], left: list[int]) -> Iterable[tuple[int, int]]:
    for start in range(0, len(left), CHUNK):
        numbers = left[start : start + CHUNK]
        rows = Image.objects.filter(project=project, path__in={paths[number] for number in numbers})
        images = dict(rows.values_list("path", "pk"))
        yield from ((number, images[paths[number]]) for number in numbers if paths[number] in images)


def _by_end(
    project: Project,
    names: dict[int, str],
    others: dict[int, str],
    left: list[int],
    matches: Matches,
    taken: dict[int, int],
) -> None:
    """Match paths of which one is the end of the other; the longest end wins, two of the same length are told."""
    wanted = {_last(names[number]) for number in left} | {_last(others[n]) for n in left if n in others}
    candidates: dict[str, list[tuple[str, int]]] = defaultdict(list)
    if wanted:
        for path, pk in Image.objects.filter(project=project).values_list("path", "pk").iterator(chunk_size=CHUNK):
            if _last(path) in wanted:
                candidates[_last(path)].append((path, pk))
    for number in left:
        lengths: dict[int, int] = {}
        for path in filter(None, (names[number], others.get(number))):
            for candidate, pk in candidates[_last(path)]:
                if _ends(candidate, path) or _ends(path, candidate):
                    length = min(candidate.count("/"), path.count("/"))
                    lengths[pk] = max(lengths.get(pk, -1), length)
        best = [pk for pk, length in lengths.items() if length == max(lengths.values())]
        if len(best) == 1:
            _take(matches, taken, number, best[0])
        else:
            (matches.ambiguous if best else matches.absent).append(number)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f"/{end}")
