from django.apps import AppConfig
from django.db.models.signals import post_migrate


class LabelsiteConfig(AppConfig):
    """The site itself: its admin, its API's router and its commands."""

    name = "labelsite"

    def ready(self) -> None:
        """Have the schedules made once their table is there."""
        from labelsite.schedules import make_schedules

        post_migrate.connect(make_schedules, dispatch_uid="labelsite.schedules")
