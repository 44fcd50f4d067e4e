"""Projects with labels, to be exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from labeling import review
from labeling.models import LabelTask
from labeling.submit import submit
from projects.models import Project
from tests import make


@pytest.fixture
def drawn(boxes: Project, labeler: User) -> Project:
    """Two of five images labeled: one with two boxes, one with no objects."""
    digit, line = make.class_ids(boxes)
    page = make.page(boxes, labeler, 1)
    two = [{"label_class": line, "box": [1, 2, 10, 20]}, {"label_class": digit, "box": [4.5, 6, 32, 24]}]
    submit(page, make.answers(page, boxes=two))
    page = make.page(boxes, labeler, 1)
    submit(page, make.answers(page, boxes=[]))
    return boxes


@pytest.fixture
def tagged(manager: User, labeler: User, tmp_path: Path) -> Project:
    """A multi-label project: three of six images labeled, the first with two classes; one of them approved."""
    folder = make.pictures(tmp_path / "photos" / "a b", 6).parent
    project = make.project(manager, folder, "multilabel", ("=1+1", "Über, “alles”", "c"))
    danger, quoted, _c = make.class_ids(project)
    page = make.page(project, labeler, 1)
    submit(page, make.answers(page, labels=[quoted, danger]))
    page = make.page(project, labeler, 2)
    submit(page, make.answers(page, labels=[danger]))
    review.approve(project, manager, LabelTask.objects.filter(page=page).values_list("image", flat=True)[:1])
    return project
