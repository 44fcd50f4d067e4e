from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AssistConfig(AppConfig):
    """The assist app; it follows what happens to projects and labels."""

    name = "assist"
    verbose_name = _("Assist")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the cycle to what it follows; torch stays unloaded."""
        from assist import places, receivers  # noqa: F401 (models must be loaded first)
