from django.apps import AppConfig


class LabelsiteConfig(AppConfig):
    """The site itself: its admin, its API's router and its commands."""

    name = "labelsite"
