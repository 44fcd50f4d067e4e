"""Very many rows as one parameter of a statement: for an UPDATE or INSERT of half a million rows in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from django.db import connection

BATCH = 10_000
CASTS = {
    "int": "(v ->> {n})::bigint",
    "float": "(v ->> {n})::float8",
    "bool": "(v ->> {n})::boolean",
    "json": "v -> {n}",
}


def table(columns: Mapping[str, str]) -> str:
    """Return SQL for a table out of one parameter, ``pack``'s; columns are "int", "float", "bool" or "json"."""
    if connection.vendor == "postgresql":
        cells = (f"{CASTS[kind].format(n=n)} AS {name}" for n, (name, kind) in enumerate(columns.items()))
        return f"(SELECT {', '.join(cells)} FROM jsonb_array_elements(%s::jsonb) AS v)"
    cells = (f"json_extract(value, '$[{n}]') AS {name}" for n, name in enumerate(columns))
    return f"(SELECT {', '.join(cells)} FROM json_each(%s))"


def pack(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as the parameter of ``table``."""
    return orjson.dumps(list(rows), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def packs(rows: Iterable[Sequence[Any]], size: int = BATCH) -> Iterator[tuple[int, str]]:
    """Yield how many rows there are in each batch, and the batch as a parameter."""
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield len(batch), pack(batch)
