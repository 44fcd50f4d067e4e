"""Querysets that are put together once, for what is asked at every click: that takes Django longer than the asking.

    _classes = Prepared(lambda: LabelClass.objects.filter(project=Slot("project")))
    _classes(project=project.pk)

Statement and rows are those of the queryset; only its SQL is not written anew each time.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, QuerySet
from django.db.models.query import ModelIterable
from django.db.models.sql.compiler import SQLCompiler

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


class Prepared(Generic[Row]):
    """A queryset of whole rows whose SQL is written when it is first asked; ``build`` puts it together."""

    def __init__(self, build: Callable[[], QuerySet[Row]]) -> None:
        self._build = build

    @cached_property
    def _written(self) -> tuple[SQLCompiler, str, tuple[Any, ...]]:
        compiler = self._build().query.get_compiler(using=connection.alias)
        sql, parameters = compiler.as_sql()
        return compiler, sql, tuple(parameters)

    def __call__(self, **values: Any) -> list[Row]:
        """Return the rows, with a value for each slot."""
        written, sql, parameters = self._written
        filled = tuple(each.fill(values) if isinstance(each, Slot) else each for each in parameters)
        compiler: Any = copy(written)
        compiler.connection = connection  # this thread's
        compiler.as_sql = lambda: (sql, filled)
        query = SimpleNamespace(get_compiler=lambda using: compiler)
        return list(ModelIterable(SimpleNamespace(db=connection.alias, query=query, _known_related_objects={})))  # type: ignore[arg-type]
