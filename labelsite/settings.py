"""Settings of labelsite; every deployment choice is an environment variable (README lists them).

A fresh clone runs with none of them set: SQLite and local files below DATA_DIR.
"""

import logging
import secrets
import sys
from pathlib import Path

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# --- What an operator chooses -----------------------------------------------------------------

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)
# DEVELOPMENT is what `make run` sets: a key is made and kept, this machine's names are allowed.
DEVELOPMENT = env.bool("DEVELOPMENT", default=False)
DEBUG = env.bool("DEBUG", default=False)
MAX_IMAGES_PER_PROJECT = env.int("MAX_IMAGES_PER_PROJECT", default=500_000)
LEASE_SECONDS = env.int("LEASE_SECONDS", default=1800)
ASSIST_WEIGHTS_DIR = env.str("ASSIST_WEIGHTS_DIR", default="")
ASSIST_DEVICES = env.list("ASSIST_DEVICES", default=[])
# Whether torchvision may fetch its pretrained weights; a site without internet gets them by import_weights.
ASSIST_DOWNLOAD = env.bool("ASSIST_DOWNLOAD", default=True)
ASSIST_TRAINING_MINUTES = env.float("ASSIST_TRAINING_MINUTES", default=30)  # a detector's training takes at most
ASSIST_STEPS = env.int("ASSIST_STEPS", default=0)  # of training a network; 0: what suits it
# Runs in the worker's own process instead of a child: for a debugger, and for tests.
ASSIST_IN_PROCESS = env.bool("ASSIST_IN_PROCESS", default=False)
# Folders in which managers may place local datastores; empty: anywhere the server can read.
LOCAL_ROOTS = env.list("LOCAL_ROOTS", default=[])
# Hosts, hosts with a port, and networks inside which datastores may lie, as "minio:9000,10.1.0.0/16"; "*" is anywhere.
PRIVATE_ENDPOINTS = env.list("PRIVATE_ENDPOINTS", default=[])


def _kept_secret_key() -> str:
    """Return the development key, made on the first run and kept in DATA_DIR."""
    path = DATA_DIR / "secret_key"
    if not path.exists():
        path.write_text(secrets.token_urlsafe(50))
        path.chmod(0o600)
    return path.read_text().strip()


SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not (DEBUG or DEVELOPMENT):
        raise ImproperlyConfigured(
            "Set SECRET_KEY to a long random text (or DEVELOPMENT=1 to have one made and kept in DATA_DIR)."
        )
    SECRET_KEY = _kept_secret_key()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])

_LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=_LOCAL_HOSTS if (DEBUG or DEVELOPMENT) else [])
if not ALLOWED_HOSTS:
    raise ImproperlyConfigured("Set ALLOWED_HOSTS to the names under which the site is reached, with commas.")
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)

# --- Applications -------------------------------------------------------------------------------

INSTALLED_APPS = [
    "labelsite.apps.LabelsiteConfig",
    "exports.apps.ExportsConfig",
    "assist.apps.AssistConfig",
    "labeling.apps.LabelingConfig",
    "projects.apps.ProjectsConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.guardian",
    "labelsite.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "django_q",
    "axes",
    "csp",
]

MIDDLEWARE = [
    "labelsite.health.Probes",  # before anything that needs a host name, HTTPS or the database
    "labelsite.logs.Requests",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "labelsite.compression.CompressionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "labelsite.policy.ContentSecurityPolicyMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "labelsite.urls"
WSGI_APPLICATION = "labelsite.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database: SQLite with the options that keep many writers apart, or PostgreSQL ------------------

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'labelsite.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "labelsite.sqlite3"  # Django's, with threads in line to write
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;"
        # Much for commands and workers, which build indexes with it; less for the web (labelsite/wsgi.py).
        f"PRAGMA temp_store=MEMORY;PRAGMA cache_size=-{1024 * env.int('SQLITE_CACHE_MB', default=64)};",
    }
else:
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    # What is asked at every click (projects/prepared.py) is planned once for each connection; not behind a pooler that
    # gives each transaction another.
    if env.bool("PREPARED_STATEMENTS", default=True):
        DATABASES["default"]["OPTIONS"].setdefault("prepare_threshold", 3)
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # a database that was started again is not an error
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    # Shared by the web's processes and workers without another server; throttles count in it, so a third of it
    # must not be dropped whenever there are 300 entries, as is Django's custom.
    else {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": DATA_DIR / "cache",
        "OPTIONS": {"MAX_ENTRIES": 5_000},
    }
}

# --- Queue: the row owns the truth, the queue only wakes somebody up (docs/architecture.md) -----------

Q_CLUSTER = {
    "name": "labelsite",
    "workers": env.int("WORKERS", default=2),
    "queue_limit": 4,
    "timeout": 900,
    "retry": 3600,
    "max_attempts": 1,
    "ack_failures": True,
    "poll": 1,
    "guard_cycle": 1,
    "recycle": 200,
    "catch_up": False,
    "save_limit": 1000,
    "label": "Jobs",
    "ALT_CLUSTERS": {
        "gpu": {"workers": 1, "queue_limit": 2, "timeout": 21600, "retry": 90000, "recycle": 0},
    },
}
BROKER = env.str("BROKER", default="redis" if REDIS_URL else "database")
if BROKER not in ("database", "redis") or (BROKER == "redis" and not REDIS_URL):
    raise ImproperlyConfigured("BROKER is “database”, or “redis” with REDIS_URL set.")
if BROKER == "redis":
    Q_CLUSTER["redis"] = REDIS_URL
else:
    Q_CLUSTER["orm"] = "default"

# --- People and access ---------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "labelsite.logins.Backend",
    "guardian.backends.ObjectPermissionBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ANONYMOUS_USER_NAME = None
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "labeling:home"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "labelsite.callers.caller_address"
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
AXES_COOLOFF_MESSAGE = _("There were too many attempts to log in. Try again in a quarter of an hour.")

# --- API --------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "projects.tokens.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["projects.parsers.StrictJSONParser"],
    "DEFAULT_METADATA_CLASS": None,  # the schema says it
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "labelsite.schema.Schema",
    "DEFAULT_THROTTLE_CLASSES": ["projects.throttles.CallThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "anon": "60/min",
        "user": env.str("API_RATE", default="6000/min"),
        "jobs": env.str("API_JOB_RATE", default="60/min"),
    },
    "NUM_PROXIES": 1 if BEHIND_PROXY else 0,  # whose word on the caller's address is taken
    "EXCEPTION_HANDLER": "labelsite.problems.problem_details",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "labelsite",
    "DESCRIPTION": "Label images, run labeling projects and take the labels away. Send your key as "
    "`Authorization: Token <key>`. Lists come in pages: follow `next`. Times are ISO 8601 in UTC; boxes are "
    "`[x, y, width, height]` in pixels of the image as displayed, from the top left.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "TaskType": "projects.models.Project.TaskType",
        "ProjectState": "projects.models.Project.State",
        "DatastoreKind": "projects.models.Datastore.Kind",
        "JobState": "projects.models.Refresh.State",
        "RunState": "assist.models.AssistRun.State",
        "RunKind": "assist.models.AssistRun.Kind",
        "TaskKind": "labeling.models.Kind",
        "TaskStatus": "labeling.models.Status",
        "SkipReason": "labeling.models.SkipReason",
        "EventAction": "labeling.models.LabelEvent.Action",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "labelsite.schema.add_what_always_holds",
    ],
}

# --- The managers' console: unfold's theme in the colours of static/css/tokens.css ----------------------


def _weights(lightness: str, chroma: str, hue: int) -> dict[str, str]:
    names = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950)
    pairs = zip(names, lightness.split(), chroma.split(), strict=True)
    return {str(name): f"oklch({light}% {amount} {hue})" for name, light, amount in pairs}


UNFOLD = {
    "SITE_TITLE": "labelsite",
    "SITE_HEADER": "labelsite",
    "SITE_URL": "/label/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("img/icon.svg")}],
    "STYLES": [
        lambda request: static("css/tokens.css"),
        lambda request: static("css/console.css"),
    ],
    "SCRIPTS": [lambda request: static("js/console/shell.js")],
    "BORDER_RADIUS": "7px",
    "COLORS": {
        "primary": _weights(
            "97 94 88 80 71 61 49 42 36 30 22", ".02 .035 .06 .09 .115 .105 .085 .075 .06 .05 .04", 184
        ),
        "base": _weights(
            "98 96.5 92 87 70 53 43 34 25 20 16", ".002 .003 .004 .006 .008 .008 .008 .008 .008 .008 .008", 255
        ),
    },
    "SIDEBAR": {"navigation": "labelsite.navigation.sections"},
}

# --- Languages, times, static files -------------------------------------------------------------------

LANGUAGES = [("en", "English"), ("nl", "Dutch")]
# Of people whose browser asks for none of them, and of what workers and commands write.
LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
if LANGUAGE_CODE not in dict(LANGUAGES):
    raise ImproperlyConfigured(f"LANGUAGE_CODE is one of {', '.join(dict(LANGUAGES))}, not “{LANGUAGE_CODE}”.")
LANGUAGE_COOKIE_AGE = 31_536_000  # seconds: who chose a language has chosen it for a year
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True
USE_I18N = True

STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(DATA_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "files"},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024  # a page of 2,000 boxes, or 10,000 ids, is one field
DATA_UPLOAD_MAX_NUMBER_FILES = 1000
FILE_UPLOAD_TEMP_DIR = None

# --- Security -----------------------------------------------------------------------------------------

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_ENGINE = "labelsite.logins"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# HTTPS is the rule in production; HTTPS=0 is for a site inside a trusted network without it.
HTTPS = env.bool("HTTPS", default=not (DEBUG or DEVELOPMENT))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],  # the nonce is for the import map, which must be inline
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# --- What an operator watches (docs/operations.md) ---------------------------------------------------

MIN_FREE_MB = env.int("MIN_FREE_MB", default=200)
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_ADDRESSES = env.list("METRICS_ADDRESSES", default=[])
LOG_FORMAT = env.str("LOG_FORMAT", default="plain")
_LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
logging.captureWarnings(LOG_FORMAT == "json")
if LOG_FORMAT not in ("plain", "json"):
    raise ImproperlyConfigured("LOG_FORMAT is “plain” or “json”.")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "labelsite.logs.RequestIdFilter"}},
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "labelsite.logs.JsonFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "stream": sys.stderr,
            "formatter": LOG_FORMAT,
            "filters": ["request_id"],
        }
    },
    "loggers": {
        # The clouds' libraries tell of each request, with addresses that are nobody's business.
        **{name: {"level": "WARNING"} for name in ("azure", "boto3", "botocore", "google", "urllib3")},
        # One line a request is for machines; who reads along in a terminal sees what goes wrong.
        "labelsite.access": {"level": "INFO" if LOG_FORMAT == "json" else "WARNING"},
    },
    "root": {"handlers": ["console"], "level": _LOG_LEVEL},
}
