"""What became of the labels of a file: counts, and for what was left out the reasons with some examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

N_EXAMPLES = 20


@dataclass(slots=True)
class Left:
    """Images that were left out for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """An import's report; kept as JSON on its row."""

    format: str = ""
    coordinates: str = ""  # of boxes; empty when there are none
    images: int = 0
    labels: int = 0
    imported: int = 0  # images
    imported_labels: int = 0
    by_end: int = 0
    crowds: int = 0
    unknown_classes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, Left] = field(default_factory=dict)
    last_image: int = 0  # images come in the order of their ids: where an attempt that was cut off was

    def leave_out(self, reason: str, example: str) -> None:
        """Count an image that was not taken."""
        left = self.left_out.setdefault(reason, Left())
        left.count += 1
        if len(left.examples) < N_EXAMPLES:
            left.examples.append(example[:300])

    def as_json(self) -> dict[str, Any]:
        """Return it as kept on the import's row."""
        return asdict(self)

    @classmethod
    def load(cls, kept: dict[str, Any]) -> Report:
        """Read a report as ``as_json`` wrote it."""
        left = {reason: Left(**values) for reason, values in kept.get("left_out", {}).items()}
        return cls(**{**kept, "left_out": left})

    def summary(self) -> list[str]:
        """Return what was done, in sentences."""
        lines = [
            _("%(n)s of %(all)s images, with %(labels)s labels.")
            % {"n": intcomma(self.imported), "all": intcomma(self.images), "labels": intcomma(self.imported_labels)}
        ]
        if self.coordinates == "normalized":
            lines.append(_("The boxes of the file are shares of the image's width and height."))
        elif self.coordinates:
            lines.append(_("The boxes of the file are in pixels."))
        if self.by_end:
            lines.append(
                ngettext(
                    "%(n)d image was found by the end of its path.",
                    "%(n)d images were found by the end of their paths.",
                    self.by_end,
                )
                % {"n": self.by_end}
            )
        if self.unknown_classes:
            names = ", ".join(
                f"“{name}” ({intcomma(count)})" for name, count in list(self.unknown_classes.items())[:20]
            )
            lines.append(_("Classes that the project does not have: %(names)s.") % {"names": names})
        if self.crowds:
            lines.append(_("%(n)d labels of crowds were passed over.") % {"n": self.crowds})
        return lines

    def reasons(self) -> list[tuple[str, Left]]:
        """Return why images were left out, in words, most first."""
        words = reason_words()
        return sorted(
            ((words.get(reason, reason), left) for reason, left in self.left_out.items()),
            key=lambda pair: -pair[1].count,
        )


def reason_words() -> dict[str, str]:
    """Return the reasons in the reader's language."""
    return {
        "absent": _("The project has no image of that path"),
        "ambiguous": _("Several images of the project end in that path"),
        "twice": _("The file names this image twice"),
        "answered": _("It has labels already, or was skipped; they stay as they are"),
        "claimed": _("It is on a labeler's page now; import the file again later"),
        "out": _("The image is missing, unreadable or was taken out"),
        "class": _("A label is of a class that the project does not have"),
        "one_class": _("Several classes, where an image of this project has exactly one"),
        "size": _("The image has another shape than the file says, so its boxes would lie wrong"),
        "turned": _("The file's boxes belong to the image before it was turned by its EXIF orientation"),
        "box": _("A box lies outside the image, or has no area"),
        "unopened": _("The image can't be opened"),
        "empty": _("The file has no label for it, which may mean “not labeled yet”"),
        "unlabeled": _("The file says that it is not labeled"),
    }
