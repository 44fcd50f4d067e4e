"""`manage.py create_user NAME --role manager|labeler|reviewer`: an account with a role's group."""

import getpass
import sys
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from projects.access import ROLES, set_role


class Command(BaseCommand):
    """Make an account."""

    help = "Make an account with a role. The password is asked for, or read from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name, role and where the password comes from."""
        parser.add_argument("name")
        parser.add_argument("--role", required=True, choices=sorted(ROLES))
        parser.add_argument("--password-stdin", action="store_true", help="Read the password from standard input.")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        """Make the account, or say why it can't be made."""
        if User.objects.filter(username=options["name"]).exists():
            raise CommandError(f"There is a user “{options['name']}” already.")
        password = sys.stdin.readline().rstrip("\n") if options["password_stdin"] else getpass.getpass()
        user = User(username=options["name"])
        try:
            validate_password(password, user)
            user.full_clean(exclude=["password"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        user.set_password(password)
        user.save()
        set_role(user, options["role"])
        self.stdout.write(f"Made the {options['role']} {user.username}.")
