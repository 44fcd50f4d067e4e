"""The big project of the benchmarks is like a real one: its parts add up and its history tells of every label."""

from __future__ import annotations

import pytest

from benchmarks.big_project import build
from labeling.models import Annotation, LabelEvent
from labeling.progress import count_progress
from labeling.review import approve
from projects.models import Project


@pytest.mark.parametrize("task_type", Project.TaskType.values)
def test_a_big_project_is_like_a_real_one(roles: None, task_type: str) -> None:
    project = build(400, 3, task_type=task_type, labeled=0.8, labelers=2, classes=5)
    counts = count_progress(project)
    answered = counts.labeled + counts.needs_review
    assert counts.total == 400 and 280 < answered < 360
    assert counts.n_labels == answered * {"detection": 3, "multilabel": 2, "multiclass": 1}[task_type]
    submitted = LabelEvent.objects.filter(project=project, action="submitted")
    assert submitted.count() == answered == Annotation.objects.current().values("task").distinct().count()
    task = project.tasks.filter(status="labeled").first()
    assert task is not None
    assert approve(project, project.created_by, [task.image_id]) == 1
