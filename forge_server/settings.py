"""The settings of one registry, read from ``server.toml`` in its data folder.

Unknown keys are refused: a misspelt limit that is silently ignored is no limit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from signing.errors import MalformedError
from signing.formats import FORMATS

from .db.url import DatabaseUrl
from .domain.origins import is_origin, origin_of
from .errors import RegistryError

FILE = "server.toml"
LOG_FORMATS = ("text", "json")
_TYPES: Mapping[str, type] = {"str": str, "int": int, "bool": bool}


def _is_index(url: str) -> bool:
    plain = url.endswith("/") and not {"?", "#"} & set(url)
    return not url or (plain and origin_of(url) is not None)


# What is expected of a setting that says something, beyond its type.
_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "allow_code_formats": (f"of {', '.join(FORMATS)}", lambda items: not set(items) - set(FORMATS)),
    "upstream_origins": ("of origins like https://HOST", lambda items: all(map(is_origin, items))),
    "upstream_url": ("= an address like https://HOST/simple/", _is_index),
    "accel_redirect": (
        "= a location of nginx that begins with /", lambda item: not item or item.startswith("/"),
    ),
    "log_format": (f"= {' or '.join(LOG_FORMATS)}", lambda item: item in LOG_FORMATS),
    "osv_snapshot": ("= a full path", lambda item: not item or item.startswith("/")),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may set; each default is what a fresh registry runs with.

    ``max_organisation_bytes`` and ``max_organisation_releases`` are the quota of an organisation
    that was given none of its own, 0 for none. ``trusted_proxies`` is how many proxies stand in
    front and append to ``X-Forwarded-For``. ``idle_seconds`` is how long a client may neither send
    nor take a byte. Each of ``witnesses`` is a verifier key, a space and the witness's URL.
    ``metrics_allow`` are the addresses that may read ``/metrics``. Where ``database``, ``public``
    or ``blobs`` is empty, it is in the data folder; the last two may be ``s3://bucket/prefix``.
    The ``s3_`` settings say how to reach that store, and ``s3_public_endpoint`` how clients do,
    where ``redirect_blobs`` sends them there; with ``direct_uploads`` too they also send the parts
    of large files there. ``embedded_worker`` says whether `forge-server run`
    signs again what grows old, or leaves that to `forge-server worker`. ``accel_redirect`` is an
    internal location of the nginx in front, over the folder of blobs; it must not be set without
    one, nor where blobs are in an object store. ``cert_accounts`` are the users whose reports are
    credible by themselves, and who may begin recalls. ``allow_code_formats`` are formats of
    `signing.formats` that anybody may publish. ``scan`` says whether workers scan releases;
    ``scan_memory_bytes`` and ``scan_seconds`` bound the process of one scanner, ``osv_snapshot``
    is a folder or zip of advisories, and ``osv_max_age_days`` when they are too old.
    ``webhook_networks`` are networks that are not of the public internet, and whose addresses
    webhooks may name all the same.
    ``upstream_url`` is the Python index (PEP 691) that projects may be let through from, with a
    final slash, and ``upstream_origins`` are the other origins that its files may be at.
    """

    name: str = "National Software Forge"
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    threads: int = 64
    trusted_proxies: int = 0
    idle_seconds: int = 120
    max_blob_bytes: int = 500 * 10**9
    max_offer_bytes: int = 64 * 2**20
    max_roles_bytes: int = 8 * 2**20
    max_json_bytes: int = 2**20
    max_failures_per_minute: int = 30
    max_pending_applications: int = 20
    witnesses: tuple[str, ...] = ()
    witness_timeout_seconds: int = 5
    max_requests_per_minute: int = 1200
    max_organisation_bytes: int = 0
    max_organisation_releases: int = 0
    scrub_bytes_per_second: int = 0
    log_format: str = "text"
    metrics_allow: tuple[str, ...] = ("127.0.0.1", "::1")
    tracing: bool = False
    database: str = ""
    public: str = ""
    blobs: str = ""
    s3_endpoint: str = ""
    s3_public_endpoint: str = ""
    s3_region: str = ""
    s3_credentials: str = ""
    redirect_blobs: bool = True
    direct_uploads: bool = True
    embedded_worker: bool = True
    accel_redirect: str = ""
    cert_accounts: tuple[str, ...] = ()
    allow_code_formats: tuple[str, ...] = ()
    scan: bool = True
    scan_memory_bytes: int = 2**30
    scan_seconds: int = 120
    osv_snapshot: str = ""
    osv_max_age_days: int = 30
    webhook_networks: tuple[str, ...] = ()
    upstream_url: str = ""
    upstream_origins: tuple[str, ...] = ()
    upstream_cooldown_days: int = 7
    upstream_refresh_seconds: int = 600
    upstream_timeout_seconds: int = 10
    upstream_max_file_bytes: int = 2 * 2**30
    upstream_max_page_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where things are in a registry's data folder. See the README that `init` writes there."""

    root: Path
    settings: Path = field(init=False)
    fingerprint: Path = field(init=False)
    database: Path = field(init=False)
    blobs: Path = field(init=False)
    public: Path = field(init=False)
    keys: Path = field(init=False)
    locks: Path = field(init=False)
    online_keys: Path = field(init=False)
    counts: Path = field(init=False)

    def __post_init__(self) -> None:
        names = {
            "settings": FILE,
            "fingerprint": "root.fingerprint",
            "database": "registry.db",
            "blobs": "blobs",
            "public": "public",
            "keys": "keys",
            "locks": "locks",
            "online_keys": "online-keys.json",
            "counts": "run/metrics",
        }
        for attribute, name in names.items():
            object.__setattr__(self, attribute, self.root / name)

    def require(self) -> DataFolder:
        """The folder itself, if a registry is in it. Whether there is one in a PostgreSQL database
        is not looked at here.

        Raises:
            RegistryError: there is none, or its settings are not understood.
        """
        here = self.settings.is_file()
        if here:
            file = database_of(self, read_settings(self.settings)).file
            here = file is None or file.is_file()
        if not here:
            raise RegistryError(
                "not-a-registry",
                f"{self.root}: expected a registry's data folder, found none",
                f"make one: forge-server init {self.root}",
            )
        return self


def database_of(folder: DataFolder, settings: Settings) -> DatabaseUrl:
    """Where the registry's database is."""
    if not settings.database:
        return DatabaseUrl.of_file(folder.database)
    return DatabaseUrl(settings.database)


def read_settings(path: Path) -> Settings:
    """The settings in the file at ``path``.

    Raises:
        RegistryError: not TOML, an unknown key, a wrong type.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise _bad(path, "TOML", str(error)) from None
    return parse_settings(value, path)


def parse_settings(value: dict[str, Any], path: Path) -> Settings:
    """Settings from a parsed document; ``path`` is for messages."""
    known = {item.name: item.type for item in fields(Settings)}
    for key, item in value.items():
        if key not in known:
            raise _bad(path, f"one of {', '.join(sorted(known))}", f"the key {key!r}")
        if known[key] == "tuple[str, ...]":
            if not isinstance(item, list) or not all(isinstance(each, str) for each in item):
                raise _bad(path, f"{key} = a list of strings", type(item).__name__)
            _check_items(key, item, path)
            value = {**value, key: tuple(item)}
        else:
            expected = _TYPES[str(known[key])]
            if type(item) is not expected:  # true is an int to Python
                raise _bad(path, f"{key} = {expected.__name__}", type(item).__name__)
            if type(item) is int and item < 0:
                raise _bad(path, f"{key} of at least 0", str(item))
        form = _FORMS.get(key)
        if form is not None and not form[1](item):
            raise _bad(path, f"{key} {form[0]}", repr(item))
    if value.get("database"):
        try:
            DatabaseUrl.parse(value["database"], "database")
        except MalformedError as error:
            raise _bad(path, f"database = {error.expected}", error.found) from None
    return Settings(**value)


def _check_items(key: str, items: list[str], path: Path) -> None:
    if key == "allow_code_formats" and set(items) - set(FORMATS):
        raise _bad(path, f"{key} of {', '.join(FORMATS)}", repr(items))
    if key == "webhook_networks" and not all(map(_is_network, items)):
        raise _bad(path, f"{key} of networks like 10.0.0.0/8", repr(items))


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _bad(path: Path, expected: str, found: str) -> RegistryError:
    return RegistryError(
        "settings-malformed", f"{path}: expected {expected}, found {found}", "correct the file"
    )


TEMPLATE = """\
# Settings of this registry. Everything has a default; remove the # to change one.
# Afterwards restart: forge-server run

# name = "National Software Forge"
# host = "127.0.0.1"             # where `forge-server run` listens unless told otherwise
# port = 8080
# workers = 1
# threads = 64                   # per worker; each transfer takes one while it lasts
# trusted_proxies = 0            # how many proxies of yours append to X-Forwarded-For
# idle_seconds = 120             # a client that moves no byte for so long is let go
# max_blob_bytes = 500_000_000_000
# max_offer_bytes = 67_108_864
# max_roles_bytes = 8_388_608
# max_json_bytes = 1_048_576
# max_failures_per_minute = 30   # refused attempts by one address before it has to wait
# max_pending_applications = 20  # by one user
# witness_timeout_seconds = 5    # how long a publish waits for a witness that does not answer
# max_requests_per_minute = 1200 # of what costs, by one caller, in each process; 0: no limit
# max_organisation_bytes = 0     # of all releases of one; 0: no limit; forge-server quota: its own
# max_organisation_releases = 0
# scrub_bytes_per_second = 0     # how fast a worker reads all blobs again and again; 0: it does not
# log_format = "text"            # or "json": one object a line, for a machine that collects them
# metrics_allow = ["127.0.0.1", "::1"]  # who may read /metrics
# tracing = false                # OpenTelemetry spans; OTEL_EXPORTER_OTLP_ENDPOINT says where to
# database = ""                  # postgresql://USER@HOST/NAME; empty: registry.db, here
# public = ""                    # the published files: a folder, or s3://bucket/prefix
# blobs = ""                     # the files of releases, likewise; empty: here
# s3_endpoint = ""               # https://… of the object store; empty: Amazon's
# s3_public_endpoint = ""        # how clients reach it, where that differs
# s3_region = ""
# s3_credentials = ""            # full path of a file like ~/.aws/credentials, mode 0600
# redirect_blobs = true          # false: blobs of an object store pass through this server
# direct_uploads = true          # false: what clients send to an object store does so
# embedded_worker = true         # false: a `forge-server worker` signs again what grows old
# allow_code_formats = []        # formats that execute code on loading, like "pickle"
# scan = true                    # false: workers scan no releases; forge-server scan still does
# scan_memory_bytes = 1_073_741_824  # of a scanner's process
# scan_seconds = 120             # and how long it may take for a file, for each begun GiB
# osv_snapshot = ""              # full path of a folder or zip of OSV advisories (PyPI's all.zip)
# osv_max_age_days = 30          # what it says of a release is stale afterwards
# webhook_networks = []          # networks of your own that webhooks may reach: "10.0.0.0/8"
# upstream_url = ""              # a Python index, https://…/simple/, to let projects through from
# upstream_origins = []          # other origins that its files are at, like "https://HOST"
# upstream_cooldown_days = 7     # how old a file must be; forge-server upstream allow: its own
# upstream_refresh_seconds = 600 # how long its pages are taken for current
# upstream_timeout_seconds = 10
# upstream_max_file_bytes = 2_147_483_648
# upstream_max_page_bytes = 33_554_432
# accel_redirect = ""            # where nginx has the folder of blobs: it then sends them itself
# witnesses = []                 # whom to ask to cosign the public log: "VKEY URL" each
"""
