"""On SQLite, threads of one process write in the order in which they came (labelsite/sqlite3)."""

from __future__ import annotations

import threading
import time

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from labelsite.sqlite3 import base

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has many writers"),
]


def write(name: str) -> None:
    try:
        with transaction.atomic():
            Group.objects.create(name=name)
    finally:
        connection.close()


def test_who_came_first_writes_first() -> None:
    names = [f"writer {number}" for number in range(8)]
    threads = [threading.Thread(target=write, args=[name]) for name in names]
    with transaction.atomic():
        line = base.writer_of(connection)
        for number, thread in enumerate(threads):
            thread.start()
            while len(line) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert list(Group.objects.filter(name__in=names).order_by("pk").values_list("name", flat=True)) == names


def test_a_turn_ends_however_the_transaction_ends() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Group.objects.create(name=str(1 / 0))
    with transaction.atomic():
        # What waits for a commit runs after the turn, and may write.
        transaction.on_commit(lambda: write("after the commit"))
    with transaction.atomic():
        connection.close()
    other = threading.Thread(target=write, args=["from elsewhere"])
    other.start()
    other.join()
    assert Group.objects.filter(name__in=["after the commit", "from elsewhere"]).count() == 2


def test_who_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = []

    def try_it() -> None:
        try:
            write("late")
        except OperationalError as error:
            errors.append(error)

    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.01)
    with transaction.atomic():
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert [str(error) for error in errors] == ["database is locked"]
    write("in time")
    assert set(Group.objects.filter(name__in=["late", "in time"]).values_list("name", flat=True)) == {"in time"}
