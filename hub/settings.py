"""Django's settings, made from hub.env. Three addresses choose the deployment; nothing here asks which one it is."""

import tempfile
from datetime import timedelta
from os import getpid
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF

from hub import env, logs

BASE_DIR = env.CHECKOUT
ENV = env.current()

# What other rooms need to know of the deployment. They read settings, never the environment.
MQTT = ENV.mqtt_url  # host, port, username, password, tls; None: the demo brings its own broker
MQTT_PUBLIC_HOST = ENV.mqtt_public_host
MQTT_PUBLIC_PORT = ENV.mqtt_public_port
MQTT_PUBLIC_TLS = ENV.mqtt_public_tls
MQTT_CA = ENV.mqtt_ca  # whom to trust for either; None: whom the system trusts
BROKER_ACCOUNTS = ENV.broker_accounts
BRIDGE_SHARE = ENV.bridge_share
REDIS_URL = ENV.redis_url
HUB_DATA = ENV.hub_data
HUB_RATE, HUB_BURST = ENV.hub_rate, ENV.hub_burst
HUB_ORIGINS = ENV.hub_origins
HUB_PLAIN = ENV.hub_plain
HUB_OUTGOING = ENV.hub_outgoing
SECOND_FACTOR = ENV.hub_second_factor
HUB_PROXIES = ENV.hub_proxies
HUB_API_RATE, HUB_API_BURST = ENV.hub_api_rate, ENV.hub_api_burst
HUB_CONNECTIONS = ENV.hub_connections
HUB_FIRMWARE_MB = ENV.hub_firmware_mb
# Where devices find the hub itself; the demo, which has no origins, says where it listens.
HUB_ADDRESS = next(iter(ENV.hub_origins), "")

SECRET_KEY = ENV.secret_key
DEBUG = ENV.hub_debug
ALLOWED_HOSTS = list(ENV.allowed_hosts)

INSTALLED_APPS = [
    "daphne",
    "hub",  # before Django's own: brings `manage.py test`
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "rest_framework",
    "knox",
    "axes",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "devices",
    "bridge",
    "dashboard",
]

MIDDLEWARE = [
    "hub.headers.Headers",  # first: no answer, an error's neither, goes out past it
    "django.middleware.security.SecurityMiddleware",
    "hub.static.Files",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "devices.witness.witnessed",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it turns a locked-out sign-in into its answer
]

ROOT_URLCONF = "hub.urls"
ASGI_APPLICATION = "hub.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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


def database(url: str) -> dict[str, Any]:
    """Django's description of the database that this address names."""
    described: dict[str, Any] = dict(dj_database_url.parse(url))
    if described["ENGINE"] == "django.db.backends.sqlite3":
        # It holds sessions by their names: no other account of this machine has to look into it.
        Path(described["NAME"]).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        described["OPTIONS"] = {
            # Writers queue from BEGIN on instead of failing at their first write; a commit is on the disk.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        # Tests use threads, and SQLite's shared memory knows no waiting: a file, one for each run.
        described["TEST"] = {"NAME": str(Path(tempfile.gettempdir()) / f"hub-test-{getpid()}.sqlite3")}
        return described
    # Under ASGI a thread, and with it a persistent connection, lives as long as one request: hence a pool.
    described["CONN_MAX_AGE"] = 0
    described["CONN_HEALTH_CHECKS"] = True
    given = described.get("OPTIONS", {})
    described["OPTIONS"] = {
        **given,
        # Statements here take milliseconds; to compile one takes tens of them, again for each batch.
        "options": f"{given.get('options', '')} -c jit=off".strip(),
        # Whoever waits for a database that was restarted asks again sooner: a bridge stores on within seconds.
        # The pool by itself would try ever more rarely: measured, 22 s lost after an outage of 40 s, and with this 2 s.
        "pool": {"min_size": 1, "max_size": 20, "timeout": 3, "reconnect_timeout": 5},
        "connect_timeout": 5,
        "application_name": "telemetry-hub",
    }
    return described


DATABASES = {"default": database(ENV.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def channel_layer(url: str | None) -> dict[str, Any]:
    """The layer of several processes (Redis), or that of one.

    Pub/sub costs a quarter of the core layer for each message, keeps nothing for dead members, and loses messages when
    Redis restarts, which the live protocol heals.
    """
    if url is None:
        return {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": url}], "prefix": "hub"},
    }


CHANNEL_LAYERS = {"default": channel_layer(ENV.redis_url)}

# --- who comes in

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"

# Locked out is one name from one address: nobody can lock another out, and an office behind one address works on. One
# that guesses at many names is locked out as a whole.
HUB_GUESSES = 100
AXES_HANDLER = "devices.guesses.Guesses"
AXES_CLIENT_IP_CALLABLE = "devices.address.of"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # it ends when it was said to end, however often somebody tries
AXES_LOCKOUT_CALLABLE = "dashboard.views.locked"
AXES_VERBOSE = False

if SECOND_FACTOR != "off":
    # Its tables and its codes are used (docs/adr/0026); of its pages none has an address. Before `devices`, which takes
    # its tables out of the admin.
    at = INSTALLED_APPS.index("devices")
    INSTALLED_APPS[at:at] = ["allauth", "allauth.account", "allauth.mfa"]
    MIDDLEWARE.append("allauth.account.middleware.AccountMiddleware")  # it insists
    AUTHENTICATION_BACKENDS[1] = "devices.passwords.Passwords"
    MFA_ADAPTER = "devices.second_factor.Sealed"
    MFA_TOTP_TOLERANCE = 1  # a phone's clock may be half a minute off

# --- HTTP

CSRF_TRUSTED_ORIGINS = list(ENV.hub_origins)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENV.https
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if ENV.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = ENV.https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.https else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # asked inside the machine, past the proxy
X_FRAME_OPTIONS = "DENY"
# The browser's own check of forms needs to hear where they come from, so "no-referrer" would be too little.
SECURE_REFERRER_POLICY = SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
# docs/adr/0022: pages have no inline script, style or handler, and evaluate no text.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the marks of Tabler's form fields are pictures inside its style sheet
        "font-src": [SELF],
        "connect-src": [SELF],  # sockets of the page's own origin, too
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
# Preloading HSTS cannot be taken back: it is the domain owner's own step.
SILENCED_SYSTEM_CHECKS = ["security.W021"]

# --- static files

NODE = BASE_DIR / "node_modules"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [
    *((f"vendor/tabler/{part}", NODE / "@tabler" / "core" / "dist" / part) for part in ("css", "js", "img")),  # no libs
    ("vendor/uplot", NODE / "uplot" / "dist"),
    ("live", BASE_DIR / "clients" / "javascript" / "live"),
]
STORAGES = {
    # What people upload. It has no address of its own, and no other account of the machine looks into it.
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": HUB_DATA / "files",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "hub.static.Storage"},
}
WHITENOISE_USE_FINDERS = not (STATIC_ROOT / "staticfiles.json").is_file()

# --- REST

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "devices.api.signing.ByToken",  # first: its challenge makes a refusal 401, not 403
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["devices.api.signing.SignedIn"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "PAGE_SIZE": 100,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "devices.api.refusals.as_json",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
MIGRATION_MODULES = {"knox": None}  # its only table is replaced by the next line's
KNOX_TOKEN_MODEL = "devices.Token"  # noqa: S105 -- a model's name
REST_KNOX = {"TOKEN_TTL": timedelta(days=90), "AUTH_HEADER_PREFIX": "Token"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Telemetry Hub",
    "DESCRIPTION": "Devices, their readings, and commands to them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "DEFAULT_GENERATOR_CLASS": "devices.api.schema.Once",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "devices.api.schema.refusals",
    ],
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "CommandState": "devices.lifecycle.MOVES",
        "RoleEnum": "devices.models.Role",
        "DeviceRoleEnum": "devices.api.roles.ROLES",
    },
}

# --- the rest

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = logs.configure(ENV.hub_log_level)
