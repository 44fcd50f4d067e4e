"""Say where uploads and exports go (SPEC D1, E1)."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.translation import gettext as _

from projects.models import Datastore
from projects.stores import StoreError


class Command(BaseCommand):
    """Make a datastore the default one."""

    help = "Make a datastore the one that uploads and exports go to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name it."""
        parser.add_argument("name", help="the datastore's name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Try it, then change over."""
        datastore = Datastore.objects.filter(name=options["name"]).first()
        if datastore is None:
            raise CommandError(_("There is no datastore “%(name)s”.") % {"name": options["name"]})
        try:
            datastore.open().check()
        except StoreError as error:
            raise CommandError(str(error)) from error
        with transaction.atomic():
            Datastore.objects.filter(is_default=True).exclude(pk=datastore.pk).update(is_default=False)
            Datastore.objects.filter(pk=datastore.pk).update(is_default=True)
        self.stdout.write(_("Uploads and exports go to “%(name)s”.") % {"name": datastore.name})
