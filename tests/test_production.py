"""The sample of a production site fits the site (SPEC N2; attacks 26 and 27)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import psycopg
import pytest
import yaml
from django.apps import apps as apps_of_django
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from exports import jobs
from projects.models import Datastore, Project
from tests import make, postgresql

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SITE = ("prepare", "web", "worker", "gpu-worker")


def test_every_setting_of_the_sample_is_one_of_the_sites() -> None:
    known = set(re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "labelsite/settings.py").read_text()))
    known |= set(re.findall(r'env\.db_url\("(\w+)"', (ROOT / "labelsite/settings.py").read_text())) | {"Q_CLUSTER_NAME"}
    for name in SITE:
        assert set(COMPOSE["services"][name]["environment"]) <= known


def test_the_image_holds_all_that_the_site_reads_and_nothing_else() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE)
    apps = {app.path for app in apps_of_django.get_app_configs() if Path(app.path).is_relative_to(ROOT)}
    folders = {settings.STATICFILES_DIRS[0], settings.LOCALE_PATHS[0], settings.TEMPLATES[0]["DIRS"][0], *apps}
    needed = {Path(folder).relative_to(ROOT).parts[0] for folder in folders if ".venv" not in Path(folder).parts}
    assert set(" ".join(copied).split()) == needed | {"manage.py", "pyproject.toml", "requirements.lock"}


def test_what_is_copied_is_the_commands_and_not_what_lies_about() -> None:
    """Compiled files, secrets and the development's data stay outside of the image."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "var", "deploy/.env", "**/__pycache__"} <= set(ignored)


def test_what_browsers_load_is_the_images_and_nobody_writes_it_while_it_is_served() -> None:
    """A web process that starts while the files are written anew can't: it was seen to end with FileNotFoundError."""
    assert "collectstatic" in (ROOT / "deploy/Containerfile").read_text()
    assert not [name for name, service in COMPOSE["services"].items() if "collectstatic" in service.get("command", "")]


def test_the_image_is_built_once_and_only_the_gpus_holds_cuda() -> None:
    built = {service["image"]: service["build"] for service in COMPOSE["services"].values() if "build" in service}
    assert len(built) == sum("build" in service for service in COMPOSE["services"].values())
    assert {COMPOSE["services"][name]["image"] for name in SITE} == set(built)
    assert "download.pytorch.org/whl/cpu" in built["labelsite"]["args"]["TORCH_INDEX"]
    assert COMPOSE["services"]["gpu-worker"]["build"] == built["labelsite-gpu"]


def test_the_site_may_reach_the_samples_own_store_and_no_other_service_of_its_network() -> None:
    for name in SITE:
        endpoints = COMPOSE["services"][name]["environment"]["PRIVATE_ENDPOINTS"]
        named = re.fullmatch(r"\$\{PRIVATE_ENDPOINTS:-(\w+):8333}", endpoints)
        assert named is not None and named[1] == "store" and COMPOSE["services"]["store"]["profiles"] == ["store"]
    assert "${STORE_PASSWORD:?}" in COMPOSE["services"]["store"]["environment"]["AWS_SECRET_ACCESS_KEY"]


def test_the_database_is_ready_only_when_others_can_reach_it() -> None:
    """While it is being made, PostgreSQL answers on its socket, and stops once more."""
    assert {"-h", "127.0.0.1"} <= set(COMPOSE["services"]["database"]["healthcheck"]["test"])


@pytest.mark.skipif(not postgresql.is_installed(), reason="asks a PostgreSQL of its own")
def test_postgresql_takes_the_samples_settings() -> None:
    wanted = postgresql.production_settings()
    assert {"shared_buffers", "max_wal_size"} <= set(wanted)
    with postgresql.cluster(**wanted) as url, psycopg.connect(url) as database:
        assert {name: database.execute(f"SHOW {name}").fetchone() for name in wanted} == {
            name: (value,) for name, value in wanted.items()
        }


def test_the_proxy_serves_no_folder_and_only_it_can_be_reached() -> None:
    proxy = (ROOT / "deploy/Caddyfile").read_text()
    assert not re.search(r"^\s*(root|file_server|alias)\b", proxy, re.MULTILINE)
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["proxy"]


def test_the_samples_settings_pass_djangos_own_check(tmp_path: Path) -> None:
    settings = {name: str(value) for name, value in COMPOSE["services"]["web"]["environment"].items()}
    settings |= {
        "SECRET_KEY": "a long random text, as openssl makes it: 0123456789 abcdefghijk",
        "ALLOWED_HOSTS": "labels.example.com",
        "CSRF_TRUSTED_ORIGINS": "https://labels.example.com",
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
    }
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DEVELOPMENT", "DEBUG", "HTTPS", "DJANGO_ALLOW_ASYNC_UNSAFE")
    }
    env["DJANGO_SETTINGS_MODULE"] = "labelsite.settings"
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, env={**env, **settings}, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_default_datastore_can_be_another(manager: User, project: Project, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Datastore.objects.create(name="other", container=str(tmp_path / "other"))
    said = StringIO()
    call_command("default_datastore", "other", stdout=said)
    other.refresh_from_db()
    assert other.is_default
    assert Datastore.objects.filter(is_default=True).count() == 1
    make.page(project, manager)
    export = jobs.enqueue(project, manager)
    export.refresh_from_db()
    assert list((tmp_path / "other").rglob("*.json"))
    call_command("default_datastore", "default", stdout=said)
    client = Client()
    client.force_login(manager)
    assert client.get(f"/api/v1/exports/{export.pk}/download/").status_code == 200  # it stays where it was written
    with pytest.raises(CommandError, match="no datastore"):
        call_command("default_datastore", "nowhere", stdout=said)
