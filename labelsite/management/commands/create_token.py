"""`manage.py create_token USER`: a key to the API."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import ApiToken
from projects.tokens import create_token


class Command(BaseCommand):
    """Make an API token."""

    help = "Make an API token and print its key, which can't be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose it is, and what it may do."""
        parser.add_argument("user")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.ALL)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the key, and nothing else."""
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user “{options['user']}”.")
        _token, key = create_token(user, scope=options["scope"])
        self.stdout.write(key)
