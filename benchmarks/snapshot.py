"""Promise: a snapshot of 3,000 projects (300 organisations of ten) has at most 110 kB.

The registry that serves it is a real one; its roles are put into its database as publishing would
leave them. A cold client knows the root alone and looks at one component; a warm one asks again an
instant later. Requests and bytes are what goes over the wire, bodies only.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from tuf.api.metadata import Targets
from urllib3.response import BaseHTTPResponse

from forge_cli.cache import Cache
from forge_cli.remote.http import Http
from forge_cli.remote.trust import View
from forge_server.services.rolebook import add_role
from forge_server.settings import DataFolder
from forge_server.wiring import open_registry
from signing.component import parse_forge_toml
from signing.digests import sha256_hex
from signing.keys import PrivateKey, generate_key, load_private_key
from signing.manifest import FileEntry, build_manifest
from signing.names import ComponentName
from signing.oms import sign_bundle
from signing.profile import OrgProfile
from signing.role_edits import add_release, delegate, sign_role, sign_snapshot
from signing.roles import EXPIRY, parse_targets

from .registry import Registry
from .report import promise
from .transfer import timed

LIMIT_KB = 110.0
ORGANISATIONS, PROJECTS, RELEASES = 300, 10, 33
SHORT = ("lab{:03}", "m{}")
LONG = ("institute-{:03}", "language-model-{}")
LOOKED_AT = ComponentName.parse("lab042/m7")


def versions(names: tuple[str, str]) -> dict[str, int]:
    """``{role: version}`` of a snapshot over every organisation and project."""
    org, project = names
    found = {"targets": 3, "registrar": ORGANISATIONS}
    for number in range(ORGANISATIONS):
        found[org.format(number)] = PROJECTS + 1
        for each in range(PROJECTS):
            found[f"{org.format(number)}.{project.format(each)}"] = RELEASES
    return found


def snapshot_kb(names: tuple[str, str]) -> tuple[float, float]:
    """The size of such a snapshot, plain and gzipped."""
    data = sign_snapshot(versions(names), 9999, generate_key("ed25519"), datetime.now(UTC))
    return len(data) / 1000, len(gzip.compress(data, mtime=0)) / 1000


def new_targets(now: datetime) -> Targets:
    return Targets(version=1, expires=(now + EXPIRY["project"]).replace(microsecond=0))


def released(component: ComponentName, key: PrivateKey, now: datetime) -> bytes:
    """The role of a project with all its releases, in its first version."""
    role = None
    for number in range(RELEASES):
        toml = (
            f'[component]\norg = "{component.org}"\nname = "{component.name}"\n'
            f'version = "1.{number}.0"\nkind = "model"\nsummary = "x"\nlicense = "MIT"\n'
        ).encode()
        files = [FileEntry("forge.toml", len(toml), sha256_hex(toml))]
        manifest = build_manifest(parse_forge_toml(toml), files)
        bundle = sign_bundle(manifest.files, str(manifest), key)
        role = add_release(role, manifest, bundle, [key], now)
    assert role is not None
    signed = parse_targets(role, component.role).signed
    signed.version = 1
    return sign_role(signed, [key])


class Filled:
    """A registry with every organisation and project; `signing_ms` is what its snapshot takes."""

    def __init__(self, *, organisations: int = ORGANISATIONS, everywhere: bool = False) -> None:
        """``everywhere``: all projects have their releases, and not only the one looked at; all of
        them are one role with another name in it, so that their signatures are not their own."""
        self.organisations = organisations
        self.everywhere = everywhere
        self.signing_ms = 0.0
        self._copy: tuple[bytes, bytes] | None = None

    def _copied(self, component: ComponentName, key: PrivateKey, now: datetime) -> bytes:
        if self._copy is None:
            self._copy = str(component).encode(), released(component, key, now)
        name, role = self._copy
        return role.replace(name, str(component).encode())

    def __call__(self, data: Path) -> None:
        services = open_registry(DataFolder(data))
        authority = data.with_name(f"{data.name}-authority")
        registrar_key = load_private_key((authority / "registrar.pem").read_bytes())
        now = services.clock()
        roles: dict[str, bytes] = {}
        registrar = parse_targets(services.roles.current("registrar"), "registrar").signed
        registrar.version += 1
        for number in range(self.organisations):
            name, key = SHORT[0].format(number), generate_key("p256")
            delegate(registrar, name, [key.public], 1)
            profile = OrgProfile(kind="academic", display_name=f"Laboratory {number}")
            extra = registrar.delegations.roles[name].unrecognized_fields
            extra["forge"] = profile.to_json()
            own = new_targets(now)
            for each in range(PROJECTS):
                component = ComponentName.parse(f"{name}/{SHORT[1].format(each)}")
                delegate(own, component.role, [key.public], 1)
                if component == LOOKED_AT:
                    roles[component.role] = released(component, key, now)
                elif self.everywhere:
                    roles[component.role] = self._copied(component, key, now)
                else:
                    roles[component.role] = sign_role(new_targets(now), [key])
            roles[name] = sign_role(own, [key])
        roles["registrar"] = sign_role(registrar, [registrar_key])
        with services.database.write() as session:
            have = {"registrar": registrar.version}
            for name, role in roles.items():
                add_role(session, name, have.get(name, 1), role, now)
            self.signing_ms = timed(lambda: services.publication.announce(session)) * 1000
        services.publication.materialise()
        services.database.dispose()


@dataclass(slots=True)
class Counted(Http):
    """Our client, counting the bytes of the bodies as they are sent."""

    bytes_sent: list[int] = field(default_factory=list)

    def _send(self, *request: Any) -> BaseHTTPResponse:
        response = Http._send(self, *request)
        self.bytes_sent.append(int(response.headers.get("Content-Length", 0)))
        return response


def look(
    url: str, data: Path, place: Path, component: ComponentName = LOOKED_AT
) -> tuple[int, float, float]:
    """Requests, kB and milliseconds of a client that asks what is signed about one component of the
    registry at ``url``, whose folder is ``data``."""
    http = Counted()
    view = View(
        http=http,
        url=url,
        fingerprint="",  # pinned by the root itself
        root=(data / "public" / "1.root.json").read_bytes(),
        state_dir=place / "state",
        cache=Cache(place / "cache"),
        now=datetime.now(UTC),
    )
    seconds = timed(lambda: view.require(component))
    return len(http.sent), sum(http.bytes_sent) / 1000, seconds * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    what = f"snapshot of {ORGANISATIONS * PROJECTS} projects"
    for names, length, limit in ((SHORT, "9", LIMIT_KB), (LONG, "30", None)):
        plain, packed = snapshot_kb(names)
        promise(f"{what} with names of {length} letters", plain, limit, "kB", packed, "its gzip")
    filled = Filled()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with Registry(place, filled, publisher=False) as registry:
            one_request = urllib3.PoolManager()
            base, cold, warm = [], [], []
            for number in range(options.rounds):
                address = f"{registry.url}/tuf/timestamp.json"
                base.append(timed(lambda: one_request.request("GET", address)) * 1000)  # noqa: B023
                home = place / f"client{number}"
                cold.append(look(registry.url, registry.data, home))
                warm.append(look(registry.url, registry.data, home))
    yardstick = "a request for the timestamp"
    promise(
        f"{what}: making, signing and recording it", filled.signing_ms, None, "ms",
        statistics.median(base), yardstick,
    )  # fmt: skip
    for name, found in (("cold", cold), ("warm", warm)):
        requests, kb, _ = found[0]
        middle = statistics.median(each[2] for each in found)
        print(f"a {name} client: {requests} requests, {kb:.0f} kB")
        promise(f"a {name} client", middle, None, "ms", statistics.median(base), yardstick)


if __name__ == "__main__":
    main()
