"""The devices that models may use, found without loading torch: the web process must not (docs/architecture.md)."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from projects.models import Project

GPUS = Path("/proc/driver/nvidia/gpus")


@cache
def _local_gpus() -> tuple[str, ...]:
    """Return the names of this machine's NVIDIA GPUs, in the driver's order."""
    names = []
    for facts in sorted(GPUS.glob("*/information")):
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines() if ":" in line)
        names.append(lines.get("Model", "GPU").strip())
    return tuple(names)


def choices() -> list[tuple[str, str]]:
    """Return devices with their names, the fastest first: those that the operator names, or what this machine has."""
    gpus = [(f"cuda:{number}", f"{name} (cuda:{number})") for number, name in enumerate(_local_gpus())]
    if settings.ASSIST_DEVICES:
        names = dict(gpus)
        gpus = [(device, names.get(device, device)) for device in settings.ASSIST_DEVICES if device != "cpu"]
    return [*gpus, ("cpu", _("CPU (%(n)d cores)") % {"n": os.cpu_count() or 1})]


def chosen(project: Project) -> str:
    """Return the device that the project's runs use: the manager's choice where it still is there, else the first."""
    there = [device for device, _words in choices()]
    return project.assist_device if project.assist_device in there else there[0]


def queue_for(device: str) -> dict[str, str]:
    """Return where a run on the device is queued: GPU work has a queue of its own (SPEC N2)."""
    return {} if device == "cpu" else {"cluster": "gpu"}
