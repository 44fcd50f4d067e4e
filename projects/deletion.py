"""Delete a project with everything that belongs to it, by sets and not row by row (SPEC P4)."""

from django.db import transaction

from projects import signals
from projects.access import lock
from projects.models import Image, Project


@transaction.atomic
def delete_project(project: Project) -> None:
    """Delete the project; apps above delete what is theirs first. Its exports stay, its name is free again.

    Locked first, so that who is about to write a label finds it gone.
    """
    lock(project)
    signals.project_deleting.send(sender=Project, project=project)
    Image.objects.filter(project=project)._raw_delete("default")
    project.delete()
