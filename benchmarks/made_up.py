"""A component that was never published, in its real forms, from which others are made.

Its role is signed by its organisation's key, with all its releases in it, and its manifests are as
they were signed; every component has a summary of words of its own. Not real: a bundle has the
right size, and its signature holds for nothing but the pattern; files are of 1000 bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from signing.component import parse_forge_toml
from signing.digests import sha256_hex
from signing.keys import PrivateKey, generate_key
from signing.manifest import FileEntry, build_manifest
from signing.names import ComponentName
from signing.oms import sign_bundle
from signing.role_edits import add_release

from .catalogue import summary

PROJECTS = 100  # of an organisation
FILES = ("forge.toml", "weights.bin")
FILE_BYTES = 1000
# What stands in the pattern for the names and the summary.
_ORG, _NAME, _SUMMARY = b"org-00000", b"model-00", b"A model that nobody made"


def org_of(number: int) -> bytes:
    return b"org-%05d" % number


def name_of(number: int) -> bytes:
    return b"model-%02d" % number


def made_up_bytes(org: bytes, name: bytes, version: int, what: bytes) -> bytes:
    """What a file of that name holds."""
    return (b"%b %b %d %b" % (org, name, version, what)).ljust(FILE_BYTES)


def made_up(org: bytes, name: bytes, version: int, what: bytes) -> bytes:
    """The hexadecimal digest of `made_up_bytes`."""
    return hashlib.sha256(made_up_bytes(org, name, version, what)).hexdigest().encode()


def summary_of(org: bytes, name: bytes) -> str:
    """One line in some of the country's languages, the same whenever it is asked for."""
    return summary(random.Random(org + name))[0]


@dataclass(slots=True)
class _Template:
    """Bytes of which some pieces are others in each component."""

    pieces: list[bytes]

    @classmethod
    def of(cls, data: bytes, varying: list[bytes]) -> _Template:
        return cls(re.split(b"(%b)" % b"|".join(map(re.escape, varying)), data))

    def with_(self, values: Mapping[bytes, bytes]) -> bytes:
        return b"".join([values.get(piece, piece) for piece in self.pieces])


@dataclass(frozen=True, slots=True)
class MadeUp:
    """A component: its role, and of each release the digests of manifest and bundle, and of the
    `FILES`."""

    role: bytes
    releases: list[tuple[str, str, list[str]]]


class Pattern:
    """A project with all its releases, made by the functions that a publisher uses; others are this
    one with names, summary and digests exchanged, and signed."""

    def __init__(self, versions: int) -> None:
        component = ComponentName.parse(f"{_ORG.decode()}/{_NAME.decode()}")
        key, now = generate_key("p256"), datetime.now(UTC)
        self.versions = [f"1.{number}.0" for number in range(versions)]
        self._files = [[made_up(_ORG, _NAME, number, path.encode()) for path in FILES]
                       for number in range(versions)]  # fmt: skip
        hint = hashlib.sha256(key.public.pem).hexdigest().encode()
        self._hint = hint
        self._manifests: list[_Template] = []
        self._bundles: list[_Template] = []
        self._targets: list[bytes] = []  # how the role speaks of each manifest and bundle
        self.details: dict[str, object] = {}
        role = None
        for version, digests in zip(self.versions, self._files, strict=True):
            toml = (
                f'[component]\norg = "{component.org}"\nname = "{component.name}"\n'
                f'version = "{version}"\nkind = "model"\nsummary = "{_SUMMARY.decode()}"\n'
                'license = "Apache-2.0"\nlanguages = ["ary"]\ntasks = ["text-classification"]\n'
            ).encode()
            files = [
                FileEntry(path, FILE_BYTES, digest.decode())
                for path, digest in zip(FILES, digests, strict=True)
            ]
            manifest = build_manifest(parse_forge_toml(toml), files)
            bundle = sign_bundle(manifest.files, str(manifest), key)
            role = add_release(role, manifest, bundle, [key], now)
            names = [_ORG, _NAME, _SUMMARY]
            self._manifests.append(_Template.of(manifest.raw, [*digests, *names]))
            self._bundles.append(_Template.of(bundle, [hint]))
            self._targets += map(_target, (manifest.raw, bundle))
            self.details = dict(manifest.metadata)
        assert role is not None
        start = role.index(b'"signed":') + len(b'"signed":')
        self._role = _Template.of(role[start:-1], [*self._targets, _ORG, _NAME])

    def manifest(self, org: bytes, name: bytes, number: int) -> bytes:
        text = json.dumps(summary_of(org, name), ensure_ascii=False)[1:-1].encode()
        return self._manifest(org, name, number, text, self._digests(org, name, number))

    def bundle(self, org: bytes, name: bytes, number: int) -> bytes:
        made = made_up(org, name, number, b"bundle")
        return self._bundles[number].with_({self._hint: made})

    def project(self, org: bytes, name: bytes, text: str, key: PrivateKey) -> MadeUp:
        """The component of that name; ``text`` is its summary."""
        encoded = json.dumps(text, ensure_ascii=False)[1:-1].encode()
        values, releases = {_ORG: org, _NAME: name}, []
        for number in range(len(self.versions)):
            digests = self._digests(org, name, number)
            manifest = self._manifest(org, name, number, encoded, digests)
            bundle = self.bundle(org, name, number)
            values[self._targets[2 * number]] = _target(manifest)
            values[self._targets[2 * number + 1]] = _target(bundle)
            files = [each.decode() for each in digests]
            releases.append((sha256_hex(manifest), sha256_hex(bundle), files))
        data = self._role.with_(values)
        signature = json.dumps(
            [{"keyid": key.public.keyid, "sig": key.sign(data).hex()}],
            separators=(",", ":"),
        )
        return MadeUp(b'{"signatures":%b,"signed":%b}' % (signature.encode(), data), releases)

    def _digests(self, org: bytes, name: bytes, number: int) -> list[bytes]:
        return [made_up(org, name, number, path.encode()) for path in FILES]

    def _manifest(
        self, org: bytes, name: bytes, number: int, text: bytes, digests: list[bytes]
    ) -> bytes:
        values = {_ORG: org, _NAME: name, _SUMMARY: text}
        values.update(zip(self._files[number], digests, strict=True))
        return self._manifests[number].with_(values)


def _target(data: bytes) -> bytes:
    """How a role speaks of a target file: two members that stand behind each other."""
    return b'%b"},"length":%d' % (sha256_hex(data).encode(), len(data))
