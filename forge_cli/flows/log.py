"""Looking at the public log: what it says, whether it holds something, whether it is sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signing.errors import MalformedError
from signing.evidence import Evidence
from signing.names import ComponentName
from signing.report import Report
from signing.tlog.audit import Auditor
from signing.tlog.checkpoint import Checkpoint
from signing.tlog.entries import Entry, parse_entry, role_entry
from signing.tlog.fork import SCHEMA as FORK_SCHEMA
from signing.tlog.fork import check_fork, origin_of, parse_fork
from signing.tlog.policy import LogPolicy, policy_of
from signing.tlog.tiles import WIDTH
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError, UsageError
from ..output import Progress
from ..remote.log import LogView

_MAX_FILE_BYTES = 256 * 1024 * 1024


def require_log(context: Context) -> LogView:
    """The registry's log, continued from what was seen before.

    Raises:
        ForgeError: ``not-found`` when the authority names none.
    """
    log = context.view.log
    if log is None:
        raise ForgeError(
            "not-found",
            f"{context.url} keeps no public log that its authority names",
            hint="ask its operator; releases are verified by their signatures all the same",
        )
    return log


def newest_entries(log: LogView, count: int) -> list[tuple[int, Entry | None]]:
    """``(number, entry)`` of the last ``count`` leaves, the newest last; None where the leaf is
    not understood. They are proved to be the log's."""
    size = log.checkpoint.size
    first = max(0, size - count)
    found: list[tuple[int, Entry | None]] = []
    for bundle in range(first // WIDTH, -(-size // WIDTH)):
        leaves = log.entries(bundle)
        log.require_bundle(bundle, leaves)
        for at, leaf in enumerate(leaves, start=bundle * WIDTH):
            if at >= first:
                found.append((at, _understood(leaf)))
    return found


def _understood(leaf: bytes) -> Entry | None:
    try:
        return parse_entry(leaf)
    except MalformedError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A proof that the index of a component stands in the log, and the leaf that it proves."""

    role: str
    leaf: bytes
    proof: bytes


def prove(context: Context, name: ComponentName) -> Proved:
    """The proof for the newest index of ``name``."""
    require_log(context)
    state = context.view.require(name)
    if state.project is None or state.log_proof is None:
        raise AssertionError("a component with releases and without a proof")
    from signing.roles import role_version

    leaf = role_entry(name.role, role_version(state.project), state.project)
    return Proved(role=name.role, leaf=leaf.to_bytes(), proof=state.log_proof)


def audit(context: Context, progress: Progress) -> tuple[Auditor, Checkpoint]:
    """Every leaf of the log, read and judged, against its checkpoint.

    Raises:
        VerificationError: ``log-inconsistent``: the leaves are not the ones that were signed.
    """
    log = require_log(context)
    auditor = Auditor()
    for _ in walk(log, auditor, progress):
        pass
    return auditor, log.checkpoint


def walk(log: LogView, auditor: Auditor, progress: Progress) -> Iterator[tuple[int, Entry]]:
    """Feeds ``auditor`` the leaves that it has not seen; yields those that are understood, and at
    the end establishes that they are the log's."""
    size = log.checkpoint.size
    for bundle in range(auditor.size // WIDTH, -(-size // WIDTH)):
        leaves = log.entries(bundle)
        fresh = leaves[auditor.size - bundle * WIDTH :]
        yield from auditor.add(fresh)
        progress.advance(len(fresh))
    auditor.require(log.checkpoint)


# --- files that somebody else hands over ---------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A log that was shown to have signed two histories."""

    first: Checkpoint
    second: Checkpoint


def verify_file(context: Context, path: Path) -> Contradiction | Report:
    """Verifies evidence of a fork, or a receipt (evidence with a log proof in it), without the
    network.

    Raises:
        VerificationError: it does not hold, or proves no contradiction.
        UsageError: no such file, or something else.
    """
    data = _read(path)
    if f'"{FORK_SCHEMA}"'.encode() in data:
        fork = parse_fork(data, path.name)
        first, second = check_fork(fork, _known_policy(context, origin_of(fork)).keys)
        return Contradiction(first=first, second=second)
    evidence = _evidence(data, path)
    from signing.manifest import parse_manifest

    manifest = parse_manifest(evidence.manifest)
    return verify_release(
        evidence,
        manifest.component,
        manifest.version,
        fingerprint=context.pin.fingerprint,
        now=context.now,
        observed=None,
        forge_toml=None,
        witnesses=context.trust.witnesses(context.pin.fingerprint),
    )


def _evidence(data: bytes, path: Path) -> Evidence:
    """Evidence as it is, or out of the record beside an installed component."""
    import json

    try:
        inner = json.loads(data).get("evidence")
    except (ValueError, AttributeError):
        raise UsageError(
            f"{path}: expected a receipt, an installed component's record or evidence of a fork"
        ) from None
    return Evidence.from_json(inner.encode() if isinstance(inner, str) else data)


def _known_policy(context: Context, origin: str) -> LogPolicy:
    """The log's keys as the trusted registry's authority last named them, without asking."""
    path = context.pin.state_dir / "metadata" / "targets.json"
    if not path.exists():
        context.view.refresh()
    with sound("the targets role"):
        policy = policy_of(path.read_bytes())
    if policy is None or policy.origin != origin:
        found = "no log" if policy is None else policy.origin
        raise ForgeError(
            "log-unknown",
            f"the evidence is about the log {origin}\nexpected the log of {context.url}: {found}",
            hint="choose the registry it is about with --registry",
        )
    return policy


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    if len(data) > _MAX_FILE_BYTES:
        raise UsageError(f"{path}: more than {_MAX_FILE_BYTES} bytes")
    return data
