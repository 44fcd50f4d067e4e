"""Django's SQLite, except that threads of one process write in the order in which they came.

SQLite waits for its one writer by sleeping, longer each time, and whoever happens to be awake gets it next: of eight
threads at work, some starve for a second. Other processes still wait in its way.
"""

from __future__ import annotations

import os
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

from labelsite.sqlite3.turns import Turns

_writers: dict[str, Turns] = {}  # by the name of the database
os.register_at_fork(after_in_child=_writers.clear)


def writer_of(connection: BaseDatabaseWrapper) -> Turns:
    """Return the line in which this process's threads wait to write to the connection's database."""
    return _writers.setdefault(str(connection.settings_dict["NAME"]), Turns())


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose transactions wait for their turn before they ask SQLite."""

    _writer: Turns | None = None

    def _start_transaction_under_autocommit(self) -> None:
        writer = writer_of(self)
        if not writer.take(self.settings_dict["OPTIONS"].get("timeout", 5.0)):
            raise OperationalError("database is locked")
        self._writer = writer
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise

    def _set_autocommit(self, autocommit: bool) -> None:
        try:
            super()._set_autocommit(autocommit)  # type: ignore[misc]
        finally:
            if autocommit:  # the transaction has ended, and what waits for its commit has not begun
                self._end_turn()

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.give()
