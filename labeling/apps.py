from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LabelingConfig(AppConfig):
    """The labeling app; it follows what happens to a project's images."""

    name = "labeling"
    verbose_name = _("Labeling")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect tasks to the images that projects register."""
        from labeling import classes_section, intake  # noqa: F401 (models must be loaded first)
