"""`manage.py demo`: something to label at once."""

from typing import Any

from django.core.management.base import BaseCommand

from labelsite import demo


class Command(BaseCommand):
    """Make the demo."""

    help = "Make the demo's datasets, projects and accounts. Safe to repeat: what is there stays."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing, and print the accounts."""
        accounts = demo.accounts()
        for project in demo.make_projects():
            self.stdout.write(f"{project.name}: {project.get_task_type_display()}")
        self.stdout.write("\nAccounts, with passwords made for this install:")
        for name, password in accounts.items():
            self.stdout.write(f"  {name:<10} {password}")
