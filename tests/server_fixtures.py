"""A registry to test against: builders of valid things, a client, a real server process.

Everything is valid by default; a test spoils the one thing it is about.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import compiled  # noqa: F401 - statements are written once
import promised  # noqa: F401 - every answer that a test sees is held against its description
import pytest
import urllib3
from flask.testing import FlaskClient
from postgres import PostgresServer
from sqlalchemy import Engine, select

from forge_server.app import create_app
from forge_server.db import postgresql, sqlite
from forge_server.db.models import Base
from forge_server.db.url import DatabaseUrl
from forge_server.domain.scopes import ACTIONS, Scope
from forge_server.errors import RegistryError
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.settings import DataFolder, database_of, read_settings
from forge_server.wiring import Registry, open_registry
from signing.applications import sign_application
from signing.component import parse_forge_toml
from signing.keys import PrivateKey, generate_key, load_private_key
from signing.manifest import FileEntry, Manifest, build_manifest
from signing.names import ComponentName
from signing.oms import sign_bundle
from signing.profile import OrgProfile
from signing.role_edits import add_organisation, add_project, add_release, new_role

ORG = "minds-lab"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Clock:
    """Real time, moved by `ahead`; while it is stopped, by nothing else: for tests of what happens
    within seconds, which a busy machine needs for itself."""

    ahead: timedelta = timedelta()
    stopped_at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.stopped_at or now()) + self.ahead

    def stop(self) -> None:
        self.stopped_at = now()

    def go_on(self) -> None:
        """As if it had never been touched."""
        self.ahead, self.stopped_at = timedelta(), None


def forge_toml(
    name: str = "my-model",
    version: str = "1.0.0",
    org: str = ORG,
    kind: str = "model",
    summary: str = "A model",
    requires: str = "",
) -> bytes:
    text = (
        f'[component]\norg = "{org}"\nname = "{name}"\nversion = "{version}"\nkind = "{kind}"\n'
        f'summary = {json.dumps(summary, ensure_ascii=False)}\nlicense = "Apache-2.0"\n'
    )
    return (text + requires).encode()


def entry(path: str, data: bytes) -> FileEntry:
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


@dataclass
class Built:
    """A release ready to be offered."""

    files: dict[str, bytes]
    manifest: Manifest
    bundle: bytes
    roles: dict[str, bytes]

    def body(self) -> dict[str, Any]:
        return {
            "manifest": self.manifest.raw.decode(),
            "bundle": self.bundle.decode(),
            "roles": {name: data.decode() for name, data in self.roles.items()},
        }

    def blobs(self) -> dict[str, bytes]:
        return {hashlib.sha256(data).hexdigest(): data for data in self.files.values()}


@dataclass
class World:
    """A registry in a folder, its development authority, and people with keys."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    owner_token: str | None = None
    """Of sara, where she and her organisation were there from the start."""
    _registry: Registry | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @property
    def registry(self) -> Registry:
        with self._opening:
            if self._registry is None:
                self._registry = open_registry(DataFolder(self.root), clock=self.clock)
            return self._registry

    def close(self) -> None:
        if self._registry is not None:
            self._registry.database.dispose()
            self._registry = None

    def reopen(self) -> Registry:
        """As after a restart."""
        self.close()
        return self.registry

    def key(self, name: str) -> PrivateKey:
        return self.keys.setdefault(name, generate_key("p256"))

    def authority_key(self, role: str) -> PrivateKey:
        folder = self.root.with_name(f"{self.root.name}-authority")
        return load_private_key((folder / f"{role}.pem").read_bytes())

    def user(self, name: str = "sara") -> str:
        """Adds a user; returns the token."""
        return self.registry.accounts.add_user(
            OPERATOR, name, token_name="test", expires_in_days=30
        )

    def token(
        self,
        user: str,
        actions: tuple[str, ...] = ACTIONS,
        organisation: str | None = None,
        component: str | None = None,
        days: int = 30,
    ) -> str:
        return self.registry.accounts.new_token_for(
            OPERATOR,
            user,
            name="scoped",
            expires_in_days=days,
            scope=Scope(actions=frozenset(actions), organisation=organisation, component=component),
        )

    def application(self, org: str = ORG, display_name: str = "Minds Lab") -> dict[str, str]:
        key = self.key(org)
        application = sign_application(org, "startup", display_name, [key], 1, self.clock())
        role = new_role([key], self.clock(), "organisation")
        return {"application": application.decode(), "role": role.decode()}

    def approval(self, org: str = ORG, display_name: str = "Minds Lab") -> dict[str, str]:
        """The registrar's next role with the organisation in it."""
        return {
            "registrar": add_organisation(
                self.registry.roles.current("registrar"),
                org,
                OrgProfile(kind="startup", display_name=display_name),
                [self.key(org).public],
                1,
                [self.authority_key("registrar")],
                self.clock(),
            ).decode()
        }

    def organisation(self, token: str, org: str = ORG) -> None:
        """Applies and approves."""
        client = Client(create_app(self.registry).test_client(), token)
        client.post("/api/v1/applications", self.application(org), expect=201)
        client.post("/api/v1/roles", {"roles": self.approval(org)}, expect=200)

    def current(self, role: str) -> bytes | None:
        try:
            return self.registry.roles.current(role)
        except RegistryError as error:
            if error.code != "role-not-found":  # a database that is away is no role that is not
                raise
            return None

    def release(
        self,
        name: str = "my-model",
        version: str = "1.0.0",
        org: str = ORG,
        files: dict[str, bytes] | None = None,
        key: PrivateKey | None = None,
        toml: bytes | None = None,
        summary: str = "A model",
    ) -> Built:
        """A release signed on top of the roles as they are now."""
        key = key or self.key(org)
        toml = toml or forge_toml(name, version, org, summary=summary)
        content = {"forge.toml": toml, **({"weights.bin": b"w" * 1000} if files is None else files)}
        manifest = build_manifest(
            parse_forge_toml(toml), [entry(path, data) for path, data in content.items()]
        )
        return self.signed(manifest, content, key)

    def signed(self, manifest: Manifest, content: dict[str, bytes], key: PrivateKey) -> Built:
        component = manifest.component
        bundle = sign_bundle(manifest.files, str(manifest), key)
        current = self.current(component.role)
        roles = {component.role: add_release(current, manifest, bundle, [key], self.clock())}
        org_role = self.current(component.org)
        if current is None and org_role is not None and not _delegates(org_role, component):
            roles[component.org] = add_project(
                org_role, component, [key.public], 1, [self.key(component.org)], self.clock()
            )
        return Built(content, manifest, bundle, roles)


def _delegates(org_role: bytes, component: ComponentName) -> bool:
    return f'"{component.role}"'.encode() in org_role


@dataclass
class Client:
    """Flask's test client with a token and JSON."""

    flask: FlaskClient
    token: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        expect: int | None = None,
        code: str | None = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        length: int | None = None,
        query: dict[str, str] | None = None,
    ) -> Any:
        """The JSON answer (or the bytes where it is not JSON). ``length`` is what the request
        says of its body, where that is not true."""
        all_headers = dict(headers or {})
        if self.token is not None:
            all_headers.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            data = json.dumps(body).encode()
            all_headers.setdefault("Content-Type", "application/json")
        environ = {} if length is None else {"CONTENT_LENGTH": str(length)}
        response = self.flask.open(
            path,
            method=method,
            data=data,
            headers=all_headers,
            environ_overrides=environ,
            query_string=query,
        )
        value = response.get_json(silent=True) if "json" in response.content_type else response.data
        response.close()
        if code is not None:
            assert isinstance(value, dict), (response.status_code, value)
            assert value["code"] == code, (response.status_code, value)
        if expect is not None:
            assert response.status_code == expect, (response.status_code, value)
        return value

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def text(self, path: str) -> bytes:
        """The bytes of an answer, whatever they are."""
        with self.flask.get(path) as response:
            assert response.status_code == 200
            return response.data

    def post(self, path: str, body: object, **options: Any) -> Any:
        return self.call("POST", path, body, **options)

    def put_blobs(self, built: Built) -> None:
        component = built.manifest.component
        for digest, data in built.blobs().items():
            path = f"/api/v1/blobs/{digest}?component={component}"
            self.call("PUT", path, data=data, length=len(data))  # said for empty ones too

    def publish(self, built: Built, expect: int | None = 201) -> Any:
        self.put_blobs(built)
        return self.post("/api/v1/releases", built.body(), expect=expect)


SERVERS: list[PostgresServer] = []
"""The last is the one that runs."""

ON_SQLITE = pytest.mark.parametrize("_fresh_registry", ["sqlite"], indirect=True)
"""For a test about SQLite itself."""


def new_database(request: pytest.FixtureRequest, kind: str) -> str | None:
    """The URL of an empty database of that ``kind``; None stands for a SQLite file."""
    if kind == "sqlite":
        return None
    SERVERS.append(request.getfixturevalue("postgres_server"))
    return SERVERS[-1].create()


_FRESH: dict[str, Path] = {}
_OWNED: dict[Path, World] = {}
"""What this process copies for its tests: a registry without users on each kind of database, and
the same with sara's organisation."""


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def _fresh_registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A registry without users on each database, copied for each test."""
    if request.param not in _FRESH:
        root = tmp_path_factory.mktemp("registry") / "reg"
        initialise(root, dev=True, database=new_database(request, request.param))
        # What tests publish is not worth the scanners' time while others are measured.
        settings = DataFolder(root).settings
        settings.write_text(f"{settings.read_text()}scan = false\n")
        _FRESH[request.param] = root
    return _FRESH[request.param]


def owned_world(source: Path, folder: Path) -> World:
    """A copy of the fresh registry ``source`` in which sara owns the approved minds-lab."""
    if source not in _OWNED:
        first = World(copy_registry(source, source.with_name("owned")))
        first.owner_token = first.user("sara")
        first.organisation(first.owner_token)
        first.close()
        _OWNED[source] = first
    return copy_world(_OWNED[source], folder)


def copy_world(first: World, folder: Path) -> World:
    """A copy of ``first``, which nobody has open, and of its people's keys."""
    root = copy_registry(first.root, folder)
    return World(root, keys=dict(first.keys), owner_token=first.owner_token)


@pytest.fixture
def world(request: pytest.FixtureRequest, _fresh_registry: Path, tmp_path: Path) -> Iterator[World]:
    """A fresh registry with its development authority; with `sara`, where the test wants her."""
    if getattr(request.module, "sara", None) is sara and "sara" in request.fixturenames:
        yield from while_needed(owned_world(_fresh_registry, tmp_path))
    else:
        yield from copied_world(_fresh_registry, tmp_path)


def copied_world(source: Path, folder: Path) -> Iterator[World]:
    """A copy of a registry that nobody has open, while the test lasts."""
    yield from while_needed(World(copy_registry(source, folder)))


def while_needed(world: World) -> Iterator[World]:
    """``world`` while a test lasts."""
    yield world
    world.close()
    drop_database(world.root)


def copy_registry(source: Path, folder: Path) -> Path:
    """A copy of a registry and its authority that nobody has open, with a database of its own."""
    for name in (source.name, f"{source.name}-authority"):
        if source.with_name(name).exists():
            shutil.copytree(source.with_name(name), folder / name)
    root = folder / source.name
    url = database_url(root)
    if url is not None:
        _write_settings(root, _settings_text(root), SERVERS[-1].create(url))
    return root


def replica(world: World, place: Path) -> World:
    """Another data folder on the same PostgreSQL database, published files and blobs."""
    root = place / "reg"
    root.mkdir(parents=True)
    for name in ("root.fingerprint", "server.toml", "online-keys.json"):
        shutil.copy2(world.root / name, root / name)
    for name in ("keys", "locks"):
        shutil.copytree(world.root / name, root / name)
    places = f'public = "{world.root}/public"\nblobs = "{world.root}/blobs"\n'
    _write_settings(root, places, database_url(world.root))
    return World(root, clock=world.clock, keys=world.keys)


def database_url(root: Path) -> str | None:
    """The PostgreSQL URL that the settings of a registry name."""
    return read_settings(DataFolder(root).settings).database or None


def url_of(root: Path) -> DatabaseUrl:
    """Where the database of a registry is."""
    return database_of(DataFolder(root), read_settings(DataFolder(root).settings))


def set_settings(root: Path, text: str) -> None:
    """Replaces all settings of a registry but where its database is."""
    _write_settings(root, text, database_url(root))


def _settings_text(root: Path) -> str:
    return DataFolder(root).settings.read_text()


def _write_settings(root: Path, text: str, url: str | None) -> None:
    text = re.sub(r'^database = ".*"\n', "", text, flags=re.MULTILINE)
    line = "" if url is None else f'database = "{url}"\n'
    DataFolder(root).settings.write_text(f"{text}{line}")


def drop_database(root: Path) -> None:
    """Makes room: the database of a registry that is no longer needed, where it has one."""
    url = database_url(root)
    if url is not None:
        SERVERS[-1].drop(url)


def schema_engine(root: Path) -> contextlib.AbstractContextManager[Engine]:
    """An engine to spoil the database of a registry with, past everything that looks after it."""
    return engine_of(url_of(root))


@contextlib.contextmanager
def engine_of(url: DatabaseUrl) -> Iterator[Engine]:
    engine = (
        postgresql.engine_for_migration(url)
        if url.file is None
        else sqlite.engine_for_migration(url.file)
    )
    yield engine
    engine.dispose()


def rows(world: World) -> dict[str, list[Any]]:
    """Everything in the database that a backup keeps."""
    found = {}
    with world.registry.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name not in ("blob_leases", "blob_damage", "upkeep"):
                query = select(table).order_by(*table.primary_key.columns)
                found[table.name] = [tuple(row) for row in session.execute(query)]
    return found


@pytest.fixture
def client(world: World) -> Client:
    """A stranger's client."""
    return Client(create_app(world.registry).test_client())


@pytest.fixture
def sara(world: World, client: Client) -> Client:
    """The owner of the approved organisation minds-lab."""
    token = world.owner_token
    if token is None:
        token = world.user("sara")
        world.organisation(token)
    return Client(client.flask, token)


@dataclass
class LiveServer:
    """A `forge-server run` of its own process."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]
    reader: threading.Thread

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait()
        self.reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """kill -9 to the master and its workers at once. Also where a server is not needed any
        more: one that is told to stop waits two seconds for clients that keep their connections."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.stop()


def start_server(root: Path, *options: str, program: list[str] | None = None) -> LiveServer:
    """Starts a server on a free port and waits until it says that it can answer."""
    command = program or [sys.executable, "-m", "forge_server.manage"]
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    process = subprocess.Popen(
        [*command, "run", str(root), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # so that the whole of it can be killed
    )
    assert process.stdout is not None
    lines: list[str] = []
    url = ""
    for line in process.stdout:
        lines.append(line)
        if " on http" in line:
            url = line.split(" on ")[-1].strip().rstrip("/")
        if url and line.startswith("Ctrl-C"):  # the last of what it says
            reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
            reader.start()
            return LiveServer(process, url, lines, reader)
    raise AssertionError(f"the server did not start: {''.join(lines)}")


@dataclass
class Live:
    """A running server, its world, and a client for real HTTP."""

    world: World
    server: LiveServer
    token: str
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=64, retries=False, timeout=60)
    )

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.http.request(method, self.server.url + path, headers=headers, **options)

    def publish(self, built: Built) -> urllib3.BaseHTTPResponse:
        for digest, data in built.blobs().items():
            path = f"/api/v1/blobs/{digest}?component={built.manifest.component}"
            assert self.request("PUT", path, body=data).status in (200, 201)
        return self.request("POST", "/api/v1/releases", json=built.body())


@pytest.fixture(scope="module")
def live(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for a module; tests use different components."""
    world = owned_world(_fresh_registry, tmp_path_factory.mktemp("live"))
    assert world.owner_token is not None
    server = start_server(world.root)
    yield Live(world, server, world.owner_token)
    server.kill()
    world.close()
    drop_database(world.root)
