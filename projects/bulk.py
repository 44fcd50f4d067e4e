"""Many rows by one statement, written without an instance for each.

``table`` takes very many as one parameter: for an UPDATE or INSERT of half a million rows in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from django.db import connection, models

from projects.prepared import execute

BATCH = 10_000
MAX_PARAMETERS = 30_000  # SQLite takes 32,766
FEW = 100  # rows, of which PostgreSQL may keep the statement
PLAIN = (int, float, str, type(None))
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


def insert(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[int]:
    """Insert rows of values by the names of their columns; return their new ids, in the order of the rows.

    Numbers and texts are written as they are, anything else as the model's field says.
    """
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    row_marks = f"({', '.join(['%s'] * len(fields))})"
    ids: list[int] = []
    source = iter(rows)
    while batch := list(islice(source, MAX_PARAMETERS // len(fields))):
        sql = (
            f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({columns})"  # noqa: S608
            f" VALUES {', '.join([row_marks] * len(batch))} RETURNING id"
        )
        values = [
            value if type(value) in PLAIN else field.get_db_prep_save(value, connection)
            for row in batch
            for field, value in zip(fields, row, strict=True)
        ]
        with execute(sql, values, is_kept=len(batch) <= FEW) as cursor:
            ids += [row[0] for row in cursor.fetchall()]
    return ids


def add(row: models.Model) -> None:
    """Insert a new row by a statement that is kept, and give it its id; no signal is sent."""
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    values = [field.pre_save(row, True) for field in fields]
    (row.pk,) = insert(type(row), [field.name for field in fields], [values])
    row._state.adding, row._state.db = False, connection.alias
