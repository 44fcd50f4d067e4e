"""The sixteen class colours of the design system, and the choice of the next one."""

from collections import Counter
from collections.abc import Iterable

# Told apart under normal sight, protan-, deutan- and tritanopia; static/css/tokens.css has the same list.
COLORS = {
    "c1": "#4a5cf5",
    "c2": "#de8b16",
    "c3": "#ad3488",
    "c4": "#b2cb45",
    "c5": "#7200b3",
    "c6": "#6fcbfa",
    "c7": "#c8101a",
    "c8": "#ffdd38",
    "c9": "#1a6d38",
    "c10": "#fba2b8",
    "c11": "#2b2a72",
    "c12": "#632a06",
    "c13": "#a5f5e0",
    "c14": "#a38cfe",
    "c15": "#8e8350",
    "c16": "#0a97a8",
}


def next_color(taken: Iterable[str]) -> str:
    """Return the palette's least used colour, the earliest of equals."""
    uses = Counter(taken)
    return min(COLORS, key=lambda color: uses[color])


def as_hex(color: str) -> str:
    """Return the colour as #rrggbb, for readers outside the site."""
    return COLORS.get(color, color)
