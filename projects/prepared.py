"""Statements that are put together once, for what is asked at every click: Django takes longer for that than they run.

    _classes = Prepared(lambda: LabelClass.objects.filter(project=Slot("project")))
    _classes(project=project.pk)

Statement and rows are those of the queryset; only its SQL is not written anew each time. PostgreSQL is to keep its plan
as well (``PREPARED_STATEMENTS``): so what is not a slot stands in the statement itself, and a plan for any values still
knows which partial index it may use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cached_property, lru_cache
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from django.db import connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import Expression, Field, Func, IntegerField, QuerySet
from django.db.models.query import ModelIterable
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler
from django.db.transaction import TransactionManagementError

Row = TypeVar("Row", bound=models.Model)


class Slot(Expression):
    """The place of a value in a prepared queryset; ``field`` says how it is written, where it is no number or text."""

    def __init__(self, name: str, field: Field[Any, Any] | None = None) -> None:
        super().__init__(output_field=field)
        self.name, self.kind = name, field

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        """Be a parameter, to be filled in later."""
        return "%s", (self,)

    def fill(self, values: dict[str, Any]) -> Any:
        """Return its value as the database wants it."""
        value = values[self.name]
        return self.kind.get_db_prep_value(value, connection) if self.kind else value


def slots(count: int) -> list[Any]:
    """Return the places of so many values, for ``numbered`` to fill: a list in a statement has a fixed length."""
    return [Slot(str(number)) for number in range(count)]


def numbered(values: Iterable[Any]) -> dict[str, Any]:
    """Return values by the names of their ``slots``."""
    return {str(number): value for number, value in enumerate(values)}


class _Statement:
    """A compiler's SQL, with its slots."""

    def __init__(self, compiler: SQLCompiler) -> None:
        sql, parameters = compiler.as_sql()
        self.compiler = compiler
        self.slots: list[Any] = []
        parts = sql.split("%s")
        self.sql = parts[0]
        for parameter, part in zip(parameters, parts[1:], strict=True):
            if isinstance(parameter, str) and re.fullmatch(r"\w*", parameter):
                self.sql += f"'{parameter}'{part}"
            else:
                self.slots.append(parameter)
                self.sql += f"%s{part}"

    def execute(self, values: dict[str, Any]) -> CursorWrapper:
        """Execute it with a value for each slot."""
        return execute(self.sql, [slot.fill(values) if isinstance(slot, Slot) else slot for slot in self.slots])


def execute(sql: str, parameters: Sequence[Any], *, is_kept: bool = True) -> CursorWrapper:
    """Execute a statement and return its cursor; PostgreSQL keeps the plan of one that is asked again and again.

    Not where statements are logged: once it has a plan, the driver doesn't say what was asked.
    """
    cursor = connection.cursor()
    if is_kept and connection.vendor == "postgresql" and not connection.queries_logged:
        from psycopg import RawCursor  # Django's own writes the values into the statement

        cursor.cursor = RawCursor(connection.connection)
        sql = _as_postgresql_writes_it(sql)
    cursor.execute(sql, parameters)
    return cursor


@lru_cache(maxsize=1000)
def _as_postgresql_writes_it(sql: str) -> str:
    """Return a statement with $1, $2 for its parameters: done once, where the driver would do it each time."""
    first, *others = sql.split("%s")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))).replace("%%", "%")


class Prepared(Generic[Row]):
    """A queryset of whole rows whose SQL is written when it is first asked; ``build`` puts it together."""

    def __init__(self, build: Callable[[], QuerySet[Row]]) -> None:
        self._build = build

    @cached_property
    def _statement(self) -> _Statement:
        return _Statement(self._build().query.get_compiler(using=connection.alias))

    @cached_property
    def _converters(self) -> dict[int, Any]:
        """What makes fields' values of what the columns have: looked up once, too."""
        compiler = self._statement.compiler
        return compiler.get_converters([column for column, *_rest in compiler.select])

    def __call__(self, **values: Any) -> list[Row]:
        """Return the rows, with a value for each slot.

        Raises TransactionManagementError where they are to be locked, and no transaction would hold the lock.
        """
        statement = self._statement
        if statement.compiler.query.select_for_update and not connection.in_atomic_block:
            raise TransactionManagementError("select_for_update cannot be used outside of a transaction.")
        with statement.execute(values) as cursor:
            rows = cursor.fetchall()
        compiler: Any = copy(statement.compiler)
        compiler.connection = connections[connection.alias]  # this thread's
        compiler.get_converters = lambda expressions: self._converters
        compiler.execute_sql = lambda **how: [rows]
        query = SimpleNamespace(get_compiler=lambda using: compiler)
        return list(ModelIterable(SimpleNamespace(db=connection.alias, query=query, _known_related_objects={})))  # type: ignore[arg-type]


def number_of(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return how many rows a queryset has, as the one value of the one row of another: a Subquery's, for instance."""
    return rows.order_by().annotate(number=Func(template="COUNT(*)", output_field=IntegerField())).values("number")


class PreparedCount(Generic[Row]):
    """How many rows a queryset has; ``build`` puts it together."""

    def __init__(self, build: Callable[[], QuerySet[Row]]) -> None:
        self._build = build

    @cached_property
    def _statement(self) -> _Statement:
        return _Statement(number_of(self._build()).query.get_compiler(using=connection.alias))

    def __call__(self, **values: Any) -> int:
        """Return the number, with a value for each slot."""
        with self._statement.execute(values) as cursor:
            return int(cursor.fetchone()[0])


class PreparedUpdate(Generic[Row]):
    """An UPDATE of a queryset's rows, of which the same holds; the new values may be slots."""

    def __init__(self, build: Callable[[], QuerySet[Row]], **changes: Any) -> None:
        self._build, self._changes = build, changes

    @cached_property
    def _statement(self) -> _Statement:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        return _Statement(query.get_compiler(using=connection.alias))

    def __call__(self, **values: Any) -> int:
        """Return how many rows were changed, with a value for each slot."""
        with self._statement.execute(values) as cursor:
            return cursor.rowcount
