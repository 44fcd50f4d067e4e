"""Make the groups of the three roles (SPEC R3) and the default datastore (SPEC D1)."""

from pathlib import Path

from django.conf import settings
from django.db import migrations

ROLES = ("Manager", "Labeler", "Reviewer")


def make(apps, schema_editor):
    Group = apps.get_model("auth", "Group")
    for name in ROLES:
        Group.objects.get_or_create(name=name)
    Datastore = apps.get_model("projects", "Datastore")
    if not Datastore.objects.filter(is_default=True).exists():
        folder = Path(settings.DATA_DIR) / "datastore"
        folder.mkdir(parents=True, exist_ok=True)
        Datastore.objects.create(name="default", kind="local", container=str(folder), is_default=True)


class Migration(migrations.Migration):
    dependencies = [("projects", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
