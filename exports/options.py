"""What one may choose for an export (API.md): read, checked and kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

SWITCHES = ("approved_only", "include_unlabeled", "labelers")
NAMES = ("coordinates", *SWITCHES, "since", "until")


@dataclass(frozen=True, slots=True)
class Options:
    """An export's options. ``since`` and ``until`` are about the moment of labeling; ``until`` itself is left out."""

    coordinates: str = "pixel"
    approved_only: bool = False
    include_unlabeled: bool = False
    labelers: bool = False
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_normalized(self) -> bool:
        """Whether boxes are shares of the image's width and height."""
        return self.coordinates == "normalized"

    @classmethod
    def parse(cls, given: object) -> Options:
        """Read options as they come from a form or the API. Raises ValidationError for those that are not right."""
        if not isinstance(given, Mapping):
            raise _wrong(_("Options are an object of names and values."))
        unknown = sorted(str(name) for name in given if name not in NAMES)
        if unknown:
            raise _wrong(_("“%(name)s” is not an option.") % {"name": unknown[0][:100]})
        coordinates = given.get("coordinates", "pixel")
        if coordinates not in ("pixel", "normalized"):
            raise _wrong(_("“coordinates” is “pixel” or “normalized”."))
        for name in SWITCHES:
            if not isinstance(given.get(name, False), bool):
                raise _wrong(_("“%(name)s” is true or false.") % {"name": name})
        since = _moment("since", given.get("since"), timedelta())
        until = _moment("until", given.get("until"), timedelta(days=1))
        if since and until and since >= until:
            raise _wrong(_("“since” comes after “until”, so no label could be between them."))
        return cls(coordinates, since=since, until=until, **{name: given.get(name, False) for name in SWITCHES})

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Options:
        """Read options as ``as_json`` wrote them."""
        values: dict[str, Any] = {name: kept[name] for name in ("coordinates", *SWITCHES) if name in kept}
        for name in ("since", "until"):
            values[name] = datetime.fromisoformat(kept[name]) if kept.get(name) else None
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Return every option with its value."""
        moments = {"since": self.since, "until": self.until}
        return {
            "coordinates": self.coordinates,
            **{name: getattr(self, name) for name in SWITCHES},
            **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
        }

    def takes(self, labeled_at: datetime) -> bool:
        """Whether a label of that moment is asked for."""
        return (self.since is None or labeled_at >= self.since) and (self.until is None or labeled_at < self.until)


def _wrong(words: str) -> ValidationError:
    return ValidationError({"options": words})


def _moment(name: str, value: object, whole_day: timedelta) -> datetime | None:
    """Read a date or a date and time; a date as ``until`` means that whole day."""
    if value is None or value == "":
        return None
    try:
        day: date | None = parse_date(value) if isinstance(value, str) else None
        moment = datetime.combine(day, time.min) + whole_day if day else parse_datetime(value)  # type: ignore[arg-type]
        aware = moment if moment is None or timezone.is_aware(moment) else timezone.make_aware(moment)
        if aware is not None:
            aware.astimezone(timezone.get_default_timezone())  # out of range at the ends of the calendar
    except (ValueError, TypeError, OverflowError):
        aware = None
    if aware is None:
        raise _wrong(
            _("“%(name)s” is a date as 2026-11-23, or a date and time as 2026-11-23T18:30:00Z.") % {"name": name}
        )
    return aware
