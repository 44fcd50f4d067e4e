from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class LabelsiteConfig(AppConfig):
    """The site itself: its admin, its API's router and its commands."""

    default = True
    name = "labelsite"

    def ready(self) -> None:
        """Have the schedules made once their table is there."""
        from labelsite.schedules import make_schedules

        post_migrate.connect(make_schedules, dispatch_uid="labelsite.schedules")


class ConsoleConfig(AdminConfig):
    """Django's admin with the managers' console as its site."""

    default = False
    default_site = "labelsite.site.ConsoleSite"
