"""Settings of the tests: a folder of their own, quick passwords, jobs done on the spot."""

import os
import tempfile

os.environ["DEVELOPMENT"] = "1"
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="labelsite-tests-")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch: threads that wait sleep, which is faster on shared cores
os.environ["ASSIST_IN_PROCESS"] = "1"
os.environ["ASSIST_DOWNLOAD"] = "0"
from labelsite.settings import *  # noqa: E402,F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
Q_CLUSTER["sync"] = True  # noqa: F405
AXES_ENABLED = False
# A file, not memory: the browser's requests come in threads of their own.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}  # noqa: F405
STATIC_ROOT.mkdir(exist_ok=True)  # noqa: F405
