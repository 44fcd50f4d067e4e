"""Settings of the tests: a folder of their own, quick passwords, jobs done on the spot."""

import os
import tempfile

os.environ["DEVELOPMENT"] = "1"
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="labelsite-tests-")
from labelsite.settings import *  # noqa: E402,F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
Q_CLUSTER["sync"] = True  # noqa: F405
AXES_ENABLED = False
