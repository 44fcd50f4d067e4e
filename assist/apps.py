from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AssistConfig(AppConfig):
    """The assist app."""

    name = "assist"
    verbose_name = _("Assist")
    default_auto_field = "django.db.models.BigAutoField"
