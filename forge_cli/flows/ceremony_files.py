"""The files of a ceremony on this machine: carried files, public keys, metadata folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from signing.ceremony import Ceremony, encode_ceremony, parse_ceremony
from signing.ceremony_plans import Chain
from signing.digests import fingerprint
from signing.encoding import Fields, parse_json
from signing.errors import VerificationError
from signing.keys import PublicKey
from signing.tlog.note import NoteKey
from signing.tlog.policy import LogPolicy

from ..errors import ForgeError, UsageError
from ..files import create_private, write_private

ONLINE_ROLES = ("snapshot", "timestamp")
_FILE = re.compile(r"([1-9][0-9]{0,8})\.(root|targets|registrar)\.json")


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineKeys:
    """The public keys of the server: its two roles', and its public log."""

    snapshot: PublicKey
    timestamp: PublicKey
    log: LogPolicy | None


def read_online_keys(path: Path) -> OnlineKeys:
    """The server's ``online-keys.json``."""
    where = str(path)
    fields = Fields.of(parse_json(read_file(path), where), where)
    fields.only(ONLINE_ROLES, optional=("log",))
    snapshot, timestamp = (
        PublicKey.from_pem(fields.text(role).encode(), fields.path(role)) for role in ONLINE_ROLES
    )
    log = None
    if "log" in fields.value:
        log = LogPolicy(keys=(NoteKey.parse(fields.text("log"), fields.path("log")),))
    return OnlineKeys(snapshot=snapshot, timestamp=timestamp, log=log)


def read_public_keys(paths: Sequence[Path]) -> tuple[PublicKey, ...]:
    return tuple(PublicKey.from_pem(read_file(path), str(path)) for path in paths)


def read_ceremony(path: Path) -> Ceremony:
    """A carried file; its form is checked, not yet what it is worth."""
    return parse_ceremony(read_file(path), str(path))


def create_ceremony(path: Path, ceremony: Ceremony) -> None:
    """Writes a new carried file. Anybody may read it: it holds nothing secret.

    Raises:
        ForgeError: ``already-exists``.
    """
    try:
        create_private(path, encode_ceremony(ceremony), mode=0o644)
    except FileExistsError:
        raise ForgeError(
            "already-exists", f"{path} exists; nothing was overwritten", "choose another name: -o"
        ) from None


def replace_ceremony(path: Path, ceremony: Ceremony) -> None:
    write_private(path, encode_ceremony(ceremony), mode=0o644)


def read_chain(folder: Path) -> Chain:
    """The authority's metadata in ``folder``: every root, the newest targets and registrar.

    Raises:
        ForgeError: one is missing (``not-found``).
        VerificationError: they do not form a chain.
    """
    found: dict[str, dict[int, bytes]] = {"root": {}, "targets": {}, "registrar": {}}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _FILE.fullmatch(path.name)
        if match:
            found[match[2]][int(match[1])] = read_file(path)
    for role, versions in found.items():
        if not versions:
            raise ForgeError(
                "not-found",
                f"{folder}: no {role} role",
                hint="give the authority's metadata folder; with a network: "
                f"forge authority fetch {folder}",
            )
    roots = found["root"]
    if sorted(roots) != list(range(1, len(roots) + 1)):
        raise VerificationError(
            "chain-broken", f"{folder}: roots", "every version from 1 on", sorted(roots)
        )
    chain = Chain(
        roots=tuple(roots[version] for version in sorted(roots)),
        targets=found["targets"][max(found["targets"])],
        registrar=found["registrar"][max(found["registrar"])],
    )
    chain.verify(None)
    return chain


def write_metadata(folder: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Writes ``{file name: bytes}`` into ``folder`` and returns the names that were new.

    Raises:
        ForgeError: a file of that name holds something else (``already-exists``).
    """
    different = [
        name for name, data in files.items()
        if (folder / name).exists() and (folder / name).read_bytes() != data
    ]  # fmt: skip
    if different:
        raise ForgeError(
            "already-exists",
            f"{folder}: {', '.join(different)} is there with other content",
            hint="this folder belongs to another authority, or two ceremonies made the same "
            "version; nothing was overwritten",
        )
    new = [name for name in files if not (folder / name).exists()]
    for name in new:
        create_private(folder / name, files[name], mode=0o644)
    return tuple(new)


def chain_files(chain: Chain) -> dict[str, bytes]:
    """``{file name: bytes}`` as they lie in a metadata folder."""
    from signing.roles import role_version

    files = {f"{number}.root.json": root for number, root in enumerate(chain.roots, start=1)}
    for role, data in (("targets", chain.targets), ("registrar", chain.registrar)):
        files[f"{role_version(data, role)}.{role}.json"] = data
    return files


def fingerprint_of(chain: Chain) -> str:
    return fingerprint(chain.roots[0])
