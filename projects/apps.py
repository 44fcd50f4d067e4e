from typing import Any

from django.apps import AppConfig
from django.db.models import CharField
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from projects.lookups import HasText

MANAGER_RIGHTS = {
    "project": ("add", "change", "delete", "view"),
    "dataset": ("add", "change", "view"),
    "datastore": ("add", "change", "delete", "view"),
    "labelclass": ("add", "change", "view"),
}
REVIEWER_RIGHTS = {"project": ("view",)}


class ProjectsConfig(AppConfig):
    """The projects app; it has a look-up of its own and keeps the roles' model permissions complete."""

    name = "projects"
    verbose_name = _("Projects")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Add the look-up, and grant the roles their permissions once Django has made these."""
        CharField.register_lookup(HasText)
        post_migrate.connect(grant_role_rights, dispatch_uid="projects.roles")


def grant_role_rights(**kwargs: Any) -> None:
    """Give the Manager and Reviewer groups their model permissions (SPEC R3); what is there stays."""
    from django.contrib.auth.models import Group, Permission

    for name, rights in (("Manager", MANAGER_RIGHTS), ("Reviewer", REVIEWER_RIGHTS)):
        group = Group.objects.filter(name=name).first()
        if group is None:
            continue
        codenames = [f"{verb}_{model}" for model, verbs in rights.items() for verb in verbs]
        group.permissions.add(*Permission.objects.filter(content_type__app_label="projects", codename__in=codenames))
