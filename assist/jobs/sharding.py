"""What looks at many images, in parts that several workers take: rows that are claimed like runs, results as files.

All of them see one DATA_DIR. Who asked for the run works, too, and waits for the last part; a part whose worker was
lost is taken by another.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from django.db.models import QuerySet
from django.utils import timezone

from assist.models import AssistRun, Shard

LOST_AFTER = timedelta(seconds=90)
WAIT_SECONDS = 1.0
BEAT_SECONDS = 2.0
State = Shard.State
Compute = Callable[[np.ndarray, Callable[[], None]], np.ndarray]  # images and a heartbeat to what was found


@dataclass(frozen=True)
class Size:
    """From how many images it is worth it, and how many make a part."""

    least: int
    part: int


FEATURES = Size(20_000, 5_000)
BOXES = Size(1_000, 250)  # a detector takes ten times as long for an image


class Lost(Exception):
    """The part was given to another worker, or the run has ended."""


def cut(run: AssistRun, network: str, images: np.ndarray, size: int) -> int:
    """Cut the work of a network into parts; return how many there are."""
    run.folder.mkdir(parents=True, exist_ok=True)
    np.save(run.folder / "images.npy", images)
    Shard.objects.filter(run=run).delete()
    starts = range(0, len(images), size)
    Shard.objects.bulk_create(
        Shard(run=run, network=network, number=number, first=start, last=min(start + size, len(images)))
        for number, start in enumerate(starts)
    )
    return len(starts)


def wanted(run: AssistRun) -> str:
    """Return the network that has work waiting, or nothing."""
    waiting = Shard.objects.filter(run=run, run__state=AssistRun.State.RUNNING).exclude(state=State.DONE)
    return waiting.values_list("network", flat=True).first() or ""


def take(run: AssistRun, network: str) -> Shard | None:
    """Return a part for a network that nobody works on, claimed; None when there is none."""
    shards = Shard.objects.filter(run=run, network=network, run__state=AssistRun.State.RUNNING)
    now = timezone.now()
    shards.filter(state=State.RUNNING, heartbeat_at__lt=now - LOST_AFTER).update(state=State.WAITING, token="")
    for shard in shards.filter(state=State.WAITING).order_by("number"):
        token = str(uuid.uuid4())
        waiting = Shard.objects.filter(pk=shard.pk, state=State.WAITING)
        if waiting.update(state=State.RUNNING, token=token, heartbeat_at=now):
            shard.token = token
            return shard
    return None


def do(shard: Shard, compute: Compute) -> None:
    """Compute one part and keep its result; one that was lost meanwhile leaves nothing."""
    mine: QuerySet[Shard] = Shard.objects.filter(
        pk=shard.pk, token=shard.token, run__state=AssistRun.State.RUNNING, state=State.RUNNING
    )

    told = time.monotonic()

    def beat() -> None:
        nonlocal told
        if time.monotonic() - told < BEAT_SECONDS:
            return
        told = time.monotonic()
        if not mine.update(heartbeat_at=timezone.now()):
            raise Lost

    images = np.load(shard.run.folder / "images.npy", allow_pickle=False)[shard.first : shard.last]
    found = compute(images, beat)
    if not mine.update(heartbeat_at=timezone.now()):
        raise Lost
    part = shard.run.folder / f"{shard.token}.npy"
    np.save(part, found)
    part.replace(result(shard))
    if not mine.update(state=State.DONE):
        raise Lost


def result(shard: Shard) -> Path:
    """Return where the result of a part lies."""
    return Path(shard.run.folder) / f"part-{shard.number}.npy"


def help_with(run: AssistRun, network: str, compute: Compute) -> int:
    """Take parts until there is none left; return how many were done."""
    n_done = 0
    while (shard := take(run, network)) is not None:
        try:
            do(shard, compute)
        except Lost:
            continue
        n_done += 1
    return n_done


def finish(
    run: AssistRun,
    network: str,
    compute: Compute,
    keep: Callable[[np.ndarray, np.ndarray], None],
    report: Callable[[float], None],
) -> None:
    """Work until every part is done, by whomever; hand each to ``keep`` in order, with its images."""
    shards = Shard.objects.filter(run=run).select_related("run").order_by("number")
    images = np.load(run.folder / "images.npy", allow_pickle=False)
    total = shards.count()
    while (n_done := shards.filter(state=State.DONE).count()) < total:
        report(n_done / total)
        shard = take(run, network)
        if shard is None:
            time.sleep(WAIT_SECONDS)
            continue
        try:
            do(shard, compute)
        except Lost:
            continue
    for shard in shards:
        keep(images[shard.first : shard.last], np.load(result(shard), allow_pickle=False))
        result(shard).unlink()
    (run.folder / "images.npy").unlink()
