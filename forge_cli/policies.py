"""Which policies must permit what is used here: pinned by digest, for a project or the machine.

::

    <project>/forge-policy.toml       beside forge.lock: travels with the project
    <config>/policies.toml            what this person pinned for this machine
    /etc/forge/policies.toml          what the machine's administrator pinned for everybody on it

All of them must hold. A file that cannot be read, or that names no policy, is not the same as no
file: it refuses everything, until it is mended or taken away.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from signing.digests import parse_digest, parse_fingerprint
from signing.encoding import Fields
from signing.errors import MalformedError
from signing.names import ComponentName, parse_version

from .errors import ForgeError
from .files import write_private

PROJECT_FILE: Final = "forge-policy.toml"
PROJECT: Final = "project"
MACHINE: Final = "machine"
_MAX_BYTES: Final = 1 << 20
_HEADER: Final = "# Written by `forge policy use`. What counts is the digest: it pins every rule.\n"
_FIELDS: Final = ("name", "version", "manifest_sha256", "registry", "fingerprint")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPin:
    """One pinned policy. ``fingerprint`` is that of the root of its registry."""

    component: ComponentName
    version: str
    manifest_sha256: str
    registry: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.component}=={self.version}"

    def to_json(self) -> dict[str, str]:
        values = (
            str(self.component),
            self.version,
            self.manifest_sha256,
            self.registry,
            self.fingerprint,
        )
        return dict(zip(_FIELDS, values, strict=True))


def unusable(what: object, why: str, hint: str | None = None) -> ForgeError:
    """The refusal of everything: a policy is pinned, and nobody can say what it permits."""
    return ForgeError(
        "policy-unusable",
        f"{what}: {why}\nnothing is permitted while a pinned policy cannot be held to",
        hint or "put it right, or take the pin away: forge policy drop",
    )


class PinFile:
    """The pins in one file."""

    def __init__(self, path: Path, scope: str) -> None:
        self.path = path
        self.scope = scope

    def pins(self) -> tuple[PolicyPin, ...]:
        """The pins in the file's order; none without a file.

        Raises:
            ForgeError: ``policy-unusable``, the file is there and is not what `write` writes.
        """
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise unusable(self.path, f"cannot be read: {error.strerror}") from None
        try:
            return parse_pins(data, str(self.path))
        except MalformedError as error:
            raise unusable(
                self.path,
                error.message.removeprefix(f"{self.path}: "),
                "pin the policy anew (forge policy use), or delete the file to use none",
            ) from None

    def write(self, pins: Iterable[PolicyPin]) -> None:
        """Keeps exactly these; without any the file goes away."""
        import tomli_w

        tables = [pin.to_json() for pin in sorted(pins, key=lambda pin: pin.component)]
        if not tables:
            self.path.unlink(missing_ok=True)
            return
        data = _HEADER + tomli_w.dumps({"policy": tables})
        write_private(self.path, data.encode(), mode=0o644)


def parse_pins(data: bytes, where: str) -> tuple[PolicyPin, ...]:
    """Reads what `PinFile.write` writes. Only MalformedError comes out."""
    if len(data) > _MAX_BYTES:
        raise MalformedError(where, f"at most {_MAX_BYTES} bytes", len(data))
    try:
        value: Any = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(where, "TOML", error) from None
    if "policy" not in value:
        raise MalformedError(where, "a pinned policy", "none")
    pins = tuple(
        _pin(table) for table in Fields.of(value, where).only(["policy"]).objects("policy")
    )
    names = [pin.component for pin in pins]
    if not pins or len(set(names)) != len(names):
        raise MalformedError(where, "each policy once, at least one", f"{len(pins)} pins")
    return pins


def _pin(table: Fields) -> PolicyPin:
    table.only(_FIELDS)
    return PolicyPin(
        component=ComponentName.parse(table.text("name"), table.path("name")),
        version=str(parse_version(table.text("version"), table.path("version"))),
        manifest_sha256=parse_digest(table.text("manifest_sha256"), table.path("manifest_sha256")),
        registry=table.text("registry"),
        fingerprint=parse_fingerprint(table.text("fingerprint"), table.path("fingerprint")),
    )
