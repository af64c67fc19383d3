"""One registry with releases of every kind for the tests of the façades: made once for a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from server_fixtures import ORG, Client, World, drop_database, forge_toml, new_database
from status_hosts import Host
from werkzeug.test import TestResponse
from wheels import library, sdist, wheel

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from signing.deprecation import Deprecation
from signing.names import ComponentName, parse_version
from signing.role_edits import set_deprecated, set_yanked

OTHER = "other-lab"


@dataclass
class Facades:
    """``sara`` owns both organisations; ``host`` withholds what it is told to."""

    world: World
    sara: Client
    host: Host
    withheld: list[str] = field(default_factory=list)

    def get(self, path: str, method: str = "GET", **headers: str) -> TestResponse:
        """An answer to a stranger; ``_`` in the name of a header stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.sara.flask.open(path, method=method, headers=named, buffered=True)

    def yank(self, name: str, version: str, reason: str | None, org: str = ORG) -> None:
        component = ComponentName.parse(f"{org}/{name}")
        role = set_yanked(
            self.world.registry.roles.current(component.role), component, version, reason,
            [self.world.key(org)], self.world.clock(),
        )  # fmt: skip
        self.sara.post(
            "/api/v1/roles", {"roles": {component.role: role.decode()}}, expect=200
        )  # fmt: skip

    def deprecate(self, name: str, version: str, said: Deprecation | None) -> None:
        component = ComponentName.parse(f"{ORG}/{name}")
        role = set_deprecated(
            self.world.registry.roles.current(component.role), component,
            [parse_version(version)], said, [self.world.key(ORG)], self.world.clock(),
        )  # fmt: skip
        self.sara.post("/api/v1/roles", {"roles": {component.role: role.decode()}}, expect=200)

    def pin_policy(self, org: str, rules: str, name: str = "rules") -> None:
        """Publishes a policy of ``org``, which holds to it from now on."""
        text = f'schema = 1\ntitle = "Baseline"\n[rules]\n{rules}\n'
        toml = forge_toml(name, "1.0.0", org, kind="policy")
        files = {"policy.toml": text.encode()}
        self.sara.publish(self.world.release(name, "1.0.0", org, files=files, toml=toml))
        pinned = {"policy": f"{org}/{name}", "version": "1.0.0"}
        self.sara.call("PUT", f"/api/v1/organisations/{org}/policies", pinned, expect=200)

    def drop_policy(self, org: str, name: str = "rules") -> None:
        path = f"/api/v1/organisations/{org}/policies/{org}/{name}"
        self.sara.call("DELETE", path, expect=200)

    def withhold(self, name: str, version: str, reason: str = "it phones home") -> None:
        """Adds to what the status host withholds."""
        self.withheld.append(f"{name} {version} {reason}")
        self.host.say(
            *(
                self.host.withheld("quarantined", why, each, number)
                for each, number, why in (one.split(" ", 2) for one in self.withheld)
            )
        )


def new_facades(folder: Path, database: str | None, settings: str = "") -> Facades:
    """An empty registry with two organisations and a status host in ``folder``; ``settings`` are
    lines of its server.toml."""
    root, file = folder / "reg", folder / "settings.toml"
    file.write_text(settings)
    initialise(root, dev=True, with_status=True, database=database, settings=file)
    world = World(root)
    token = world.user("sara")
    for org in (ORG, OTHER):
        world.organisation(token, org)
    flask = create_app(world.registry).test_client()
    return Facades(world, Client(flask, token), Host(world, Client(flask)))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def facades(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Facades]:
    """An empty registry with two organisations, on each database."""
    made = new_facades(
        tmp_path_factory.mktemp("facades"), new_database(request, request.param)
    )  # fmt: skip
    yield made
    made.world.close()
    drop_database(made.world.root)


def publish_library(facades: Facades) -> None:
    """gov-demo 1.0.0 to 1.2.0: one wheel each, 1.1.0 with an sdist as well."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        files = wheel("gov-demo", version)
        if version == "1.1.0":
            files |= sdist("gov-demo", version)
        facades.sara.publish(library(facades.world, files, "gov-demo", version))


MODEL_FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.bin": bytes(range(256)) * 4000,
    "tokenizer/vocab.txt": b"a\nb\n",
    "empty.txt": b"",
    "README.md": b"# A model\n",
}


def publish_model(
    facades: Facades, name: str = "demo", version: str = "1.0.0", kind: str = "model"
) -> str:
    """Publishes a model (or dataset); returns the digest of its manifest."""
    toml = forge_toml(name, version, kind=kind, summary=f"A {kind} named {name}")
    files = MODEL_FILES | {"version.txt": version.encode()}
    built = facades.world.release(name, version, files=files, toml=toml)
    facades.sara.publish(built)
    return built.manifest.digest
