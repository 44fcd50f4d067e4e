"""The formats of exports: every module of this folder holds one, as ``FORMAT``. Another format is another file."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from django.utils.functional import Promise

if TYPE_CHECKING:
    from exports.writing import Format


@cache
def formats() -> dict[str, Format]:
    """Return the formats by their names, in the order in which they are offered."""
    names = [module.name for module in iter_modules(__path__)]
    found: list[Format] = [import_module(f"{__name__}.{name}").FORMAT for name in names]
    return {format.name: format for format in sorted(found, key=lambda format: format.position)}


def choices() -> list[tuple[str, str | Promise]]:
    """Return the names and titles, for a model's field."""
    return [(format.name, format.title) for format in formats().values()]
