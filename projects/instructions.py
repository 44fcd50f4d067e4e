"""The questions that good labeling instructions answer, as a text to start from (SPEC I2)."""

from django.utils.translation import gettext_lazy as _

GENERAL = (
    (_("Which labels are there, and how do I choose?"), _("Name each class, what belongs to it, and what does not.")),
    (_("Where can I read more?"), _("A reference text, or pictures of typical and of hard cases.")),
    (_("What if no class fits, or several do?"), _("Skip the image, or take the class that … ")),
    (_("How sure must I be?"), _("When to guess, and when to skip with “Unclear”.")),
    (
        _("What of objects that are partly out of view, overlap, or are cut by the edge?"),
        _("They count if … "),
    ),
    (
        _("What do I do after a wrong label?"),
        _("Go back with P and correct it; tell the manager if it was reviewed already."),
    ),
)
BOXES = (
    (_("How tight is a box?"), _("It touches the object on all four sides, give or take … pixels.")),
    (
        _("How careful and how consistent?"),
        _("One box for each object; the same kind is always boxed alike."),
    ),
    (_("What of objects that are partly shown?"), _("Box what can be seen, if it is more than … ")),
    (_("What of objects that are partly covered?"), _("Box the whole object, or only what can be seen.")),
)


def starting_text(is_detection: bool) -> str:
    """Return the questions as Markdown, each with the beginning of an answer."""
    questions = [*GENERAL, *(BOXES if is_detection else ())]
    return "\n\n".join(f"### {question}\n\n{answer}" for question, answer in questions) + "\n"
