"""Charts of a run as plain numbers for SVG, drawn on the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 520.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 34.0


@dataclass(frozen=True)
class Axes:
    """Where values lie on the picture."""

    low: float
    high: float = 1.0

    def x(self, share: float) -> float:
        """The place of a share of images."""
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """The place of an accuracy; what lies below the picture is put on its edge."""
        inside = (max(value, self.low) - self.low) / (self.high - self.low)
        return TOP + (1 - inside) * (HEIGHT - TOP - BOTTOM)

    def line(self, points: list[tuple[float, float]]) -> str:
        """Return the points of a polyline."""
        return " ".join(f"{self.x(share):.1f},{self.y(value):.1f}" for share, value in points)


def precision_and_coverage(metrics: dict[str, Any], target: float) -> dict[str, Any] | None:
    """Return the curve of measured and guaranteed accuracy over the share of images that would be prelabeled."""
    curve = metrics.get("curve") or []
    if len(curve) < 2:
        return None
    measured = [(point["share"], point["accuracy"]) for point in curve]
    guaranteed = [(point["share"], point["guaranteed"]) for point in curve if point.get("guaranteed") is not None]
    middle = sorted(value for _share, value in guaranteed) or [value for _share, value in measured]
    low = min(target - 0.1, middle[len(middle) // 4] - 0.05)
    axes = Axes(max(0.0, min(0.9, int(low * 20) / 20)))
    steps = [axes.low + number * (1 - axes.low) / 4 for number in range(5)]
    chosen: dict[str, Any] | None = None
    if metrics.get("used"):
        share = metrics["decision"]["coverage"]
        chosen = {"x": axes.x(share), "width": axes.x(share) - LEFT, "y": axes.y(1 - metrics["decision"]["bound"])}
        chosen["text_anchor"] = "end" if share > 0.5 else "start"
        chosen["text_x"] = chosen["x"] + (-6 if share > 0.5 else 6)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "bottom": HEIGHT - BOTTOM,
        "top": TOP,
        "plot_height": HEIGHT - TOP - BOTTOM,
        "measured": axes.line(measured),
        "guaranteed": axes.line(guaranteed),
        "rows": [{"y": axes.y(value), "words": f"{100 * value:.0f}%"} for value in steps],
        "columns": [{"x": axes.x(share), "words": f"{100 * share:.0f}%"} for share in (0, 0.25, 0.5, 0.75, 1)],
        "target_y": axes.y(target),
        "chosen": chosen,
    }


def confusion(metrics: dict[str, Any], classes: dict[int, Any]) -> dict[str, Any] | None:
    """Return the confusion matrix as rows of cells with a look for each; rows are people, columns the model."""
    matrix, ids = metrics.get("confusion"), metrics.get("classes") or []
    if not matrix or len(ids) > 16:
        return None
    most = max((n for row in matrix for n in row), default=0) or 1
    rows = []
    for at, counts in enumerate(matrix):
        total = sum(counts)
        cells = []
        for column, n in enumerate(counts):
            if not n:
                look = ""
            elif at == column:
                look = "g3" if n > most / 2 else "g2" if n > most / 5 else "g1"
            else:
                look = "b2" if n > total / 8 else "b1"
            cells.append({"n": n, "look": look, "label": ids[at], "said": ids[column]})
        percent = round(100 * counts[at] / total) if total else None
        rows.append({"label_class": classes.get(ids[at]), "cells": cells, "percent": percent})
    return {"columns": [classes.get(pk) for pk in ids], "rows": rows}


def over_rounds(values: list[tuple[str, float]]) -> dict[str, Any] | None:
    """Return accuracy over the trainings so far, the oldest first."""
    if len(values) < 2:
        return None
    axes = Axes(max(0.0, int(min(value for _words, value in values) * 10) / 10 - 0.1))
    places = [number / (len(values) - 1) for number in range(len(values))]
    points = [(place, value) for place, (_words, value) in zip(places, values, strict=True)]
    steps = [axes.low + number * (1 - axes.low) / 4 for number in range(5)]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "bottom": HEIGHT - BOTTOM,
        "line": axes.line(points),
        "dots": [
            {"x": axes.x(place), "y": axes.y(value), "words": words, "percent": 100 * value}
            for place, (words, value) in zip(places, values, strict=True)
        ],
        "rows": [{"y": axes.y(value), "words": f"{100 * value:.0f}%"} for value in steps],
    }


def precision_recall(metrics: dict[str, Any], classes: dict[int, Any]) -> dict[str, Any] | None:
    """Return a detector's precision over recall, a line for each class (IoU 0.5)."""
    lines = (metrics.get("detection") or {}).get("precision_at_recall") or []
    axes = Axes(0.0)
    shown = [
        {"label_class": classes[pk], "points": axes.line([(at / 100, value) for at, value in enumerate(line)])}
        for pk, line in zip(metrics.get("classes") or [], lines, strict=False)
        if line and pk in classes
    ]
    return {**_frame(axes), "lines": shown} if shown else None


def losses(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Return the loss over a training: of a detector, or of the two networks of a fine-tuning."""
    curves = _curves(metrics, 1) or [[(share, value) for share, value in metrics.get("losses") or []]]
    curves = [curve for curve in curves if len(curve) > 1]
    if not curves:
        return None
    axes = Axes(0.0, max(value for curve in curves for _share, value in curve) or 1.0)
    rows = [{"y": axes.y(axes.high * n / 4), "words": f"{axes.high * n / 4:.2g}"} for n in range(5)]
    return {**_frame(axes), "rows": rows, "lines": [axes.line(curve) for curve in curves]}


def right_while_training(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Return how much of what a fine-tuning saw it got right, over the training."""
    curves = [curve for curve in _curves(metrics, 2) if len(curve) > 1]
    axes = Axes(0.0)
    return {**_frame(axes), "lines": [axes.line(curve) for curve in curves]} if curves else None


def _curves(metrics: dict[str, Any], column: int) -> list[list[tuple[float, float]]]:
    """Return one figure of the networks of a fine-tuning over their trainings."""
    curves = (metrics.get("tuning") or {}).get("curves") or []
    return [[(point[0], point[column]) for point in curve] for curve in curves]


def _frame(axes: Axes) -> dict[str, Any]:
    quarters = [number / 4 for number in range(5)]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "bottom": HEIGHT - BOTTOM,
        "rows": [{"y": axes.y(value), "words": f"{100 * value:.0f}%"} for value in quarters],
        "columns": [{"x": axes.x(value), "words": f"{100 * value:.0f}%"} for value in quarters],
    }
