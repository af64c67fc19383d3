"""Ceremonies on machines without network; only `submit` and `fetch` talk to a registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from signing.bodies import Body, body_of, is_reviews, role_of
from signing.ceremony import Ceremony
from signing.ceremony_plans import Chain, KeySet, edit_key_set, plan_first, plan_next
from signing.ceremony_rules import check_ceremony
from signing.ceremony_signing import add_signature, finish, merge_ceremonies
from signing.ceremony_words import Described, describe, follows_from
from signing.digests import fingerprint, parse_fingerprint
from signing.roles import Delegation, delegations_of, parse_root, role_version
from signing.status import ROLE as STATUS
from signing.tlog.note import COSIGNATURE
from signing.tlog.policy import LogPolicy, parse_keys, policy_of, with_witnesses

from ..context import Context
from ..errors import ForgeError, UsageError
from .ceremony_files import (
    ONLINE_ROLES,
    chain_files,
    create_ceremony,
    read_ceremony,
    read_chain,
    read_online_keys,
    read_public_keys,
    replace_ceremony,
    write_metadata,
)
from .keys import open_key
from .roles import send_roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """How one or several roles change hands. ``remove`` are beginnings of key ids. With
    ``no_status`` no status host is named any more."""

    add: tuple[Path, ...] = ()
    remove: tuple[str, ...] = ()
    threshold: int | None = None
    online_keys: Path | None = None
    no_status: bool = False


def found(
    context: Context,
    out: Path,
    *,
    keys: dict[str, tuple[tuple[Path, ...], int | None]],
    online_keys: Path,
    dev: bool,
) -> Ceremony:
    """Plan the first root. ``keys`` is ``{role: (public key files, threshold)}`` for root, for
    targets and registrar where they are not the root's own keyholders, and for the status host
    where there shall be one."""
    sets: dict[str, KeySet] = {}
    for role, (paths, threshold) in keys.items():
        if not paths:
            if threshold is not None:
                raise UsageError(f"--{role}-threshold without --{role}-key")
            if role != STATUS:
                sets[role] = sets["root"]
            continue
        if threshold is None:
            raise UsageError(f"--{role}-threshold: how many of the {len(paths)} keys must sign?")
        sets[role] = KeySet(keys=read_public_keys(paths), threshold=threshold)
    online = read_online_keys(online_keys)
    plan = plan_first(
        context.now,
        root=sets["root"],
        targets=sets["targets"],
        registrar=sets["registrar"],
        status=sets.get(STATUS),
        snapshot=online.snapshot,
        timestamp=online.timestamp,
        log=online.log,
        dev=dev,
    )
    create_ceremony(out, plan)
    return plan


def rotate(
    context: Context, folder: Path, out: Path, roles: Sequence[str], edit: Edit, *, dev: bool
) -> Ceremony:
    """Plan other keys for ``roles``, from the authority's metadata in ``folder``."""
    chain = read_chain(folder)
    if edit.no_status:
        if tuple(roles) != (STATUS,) or edit != Edit(no_status=True):
            raise UsageError("--no-status goes with the role status alone, and nothing else")
        plan = plan_next(chain, context.now, keys={}, drop_status=True, dev=dev)
        create_ceremony(out, plan)
        return plan
    keys = _new_keys(chain, roles, edit)
    plan = plan_next(chain, context.now, keys=keys, log=_new_log(chain, edit), dev=dev)
    create_ceremony(out, plan)
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyEdit:
    """How a reviewer body changes. ``title`` and ``belongs_to`` are None where they stay."""

    add: tuple[Path, ...] = ()
    remove: tuple[str, ...] = ()
    threshold: int | None = None
    title: str | None = None
    belongs_to: tuple[str, ...] | None = None


def name_body(
    context: Context, folder: Path, out: Path, body: str, edit: BodyEdit, *, dev: bool
) -> Ceremony:
    """Plan who reviews for ``body``, from the authority's metadata in ``folder``."""
    chain, role = read_chain(folder), role_of(body)
    there = chain.body(role)
    current = chain.key_set(role)
    if not current.keys and not edit.add:
        raise UsageError(f"{body} is no reviewer body yet", hint="give it a key: --key FILE")
    threshold = edit.threshold or (None if current.keys else 1)
    keys = edit_key_set(
        role, current, add=read_public_keys(edit.add), remove=edit.remove, threshold=threshold
    )
    if not keys.keys:
        raise UsageError(
            f"{body} would have no reviewer left: a body that was named stays named",
            hint="take another key in its place: --key FILE --remove ID",
        )
    said = Body(
        display_name=edit.title or (there.display_name if there else body),
        organisations=(
            frozenset(edit.belongs_to)
            if edit.belongs_to is not None
            else there.organisations
            if there
            else frozenset()
        ),
    )
    plan = plan_next(chain, context.now, keys={role: keys}, bodies={role: said}, dev=dev)
    create_ceremony(out, plan)
    return plan


def bodies_named(folder: Path) -> dict[str, Delegation]:
    """``{body: delegation}`` in the authority's metadata in ``folder``."""
    named = delegations_of(read_chain(folder).targets, "targets")
    return {body_of(role): each for role, each in named.items() if is_reviews(role)}


def _new_keys(chain: Chain, roles: Sequence[str], edit: Edit) -> dict[str, KeySet]:
    offline = [role for role in roles if role not in ONLINE_ROLES]
    online = [role for role in roles if role in ONLINE_ROLES]
    if bool(online) != (edit.online_keys is not None):
        raise UsageError(
            "snapshot and timestamp get their keys from --online-keys, the other roles from "
            "--add and --remove"
        )
    if bool(offline) != bool(edit.add or edit.remove or edit.threshold):
        raise UsageError("--add, --remove or --threshold: what shall change?")
    if STATUS in roles and not chain.key_set(STATUS).keys and edit.threshold is None:
        raise UsageError("--threshold: how many of the status host's keys must sign?")
    public = read_public_keys(edit.add)
    wanted = {
        role: edit_key_set(
            role, chain.key_set(role), add=public, remove=edit.remove, threshold=edit.threshold
        )
        for role in offline
    }
    if edit.online_keys is not None:
        fresh = read_online_keys(edit.online_keys)
        wanted |= {role: KeySet(keys=(getattr(fresh, role),), threshold=1) for role in online}
    return wanted


def _new_log(chain: Chain, edit: Edit) -> LogPolicy | None:
    """The log with the fresh key that came along with the server's other keys."""
    policy = policy_of(chain.targets)
    fresh = None if edit.online_keys is None else read_online_keys(edit.online_keys).log
    return None if policy is None or fresh is None else replace(policy, keys=fresh.keys)


def name_log(
    context: Context,
    folder: Path,
    out: Path,
    *,
    online_keys: Path | None,
    witnesses: Sequence[str] | None,
    quorum: int | None,
    dev: bool,
) -> Ceremony:
    """Plan which public log the targets role names, and which witnesses; None keeps them."""
    chain = read_chain(folder)
    policy = policy_of(chain.targets)
    if online_keys is not None:
        fresh = read_online_keys(online_keys).log
        if fresh is None:
            raise UsageError(f"{online_keys}: no log key in it")
        policy = replace(policy, keys=fresh.keys) if policy is not None else fresh
    if policy is None:
        raise UsageError("the targets role names no log yet: --online-keys names the server's")
    if witnesses is not None:
        keys = parse_keys(witnesses, COSIGNATURE, "--witness")
        policy = with_witnesses(policy, keys, quorum, "--quorum")
    elif quorum is not None:
        policy = with_witnesses(policy, policy.witnesses, quorum, "--quorum")
    plan = plan_next(chain, context.now, keys={}, log=policy, dev=dev)
    create_ceremony(out, plan)
    return plan


def renew(
    context: Context, folder: Path, out: Path, roles: Sequence[str], *, dev: bool
) -> Ceremony:
    """Plan a fresh expiry for ``roles``."""
    plan = plan_next(read_chain(folder), context.now, keys={}, renew=roles, dev=dev)
    create_ceremony(out, plan)
    return plan


def inspect(context: Context, path: Path) -> Ceremony:
    """Read and check a carried file, without vouching for its first root."""
    ceremony = read_ceremony(path)
    check_ceremony(ceremony, context.now, fingerprint=None, dev=True)
    return ceremony


def require_stated(ceremony: Ceremony, mark: str | None, digest: str | None, *, asked: bool) -> str:
    """Establishes that the keyholder says what is to be signed, not only the file.

    Returns the fingerprint, or "" for a first root, which has none yet.

    Raises:
        UsageError: the fingerprint, or for a first root the digest, was not stated.
    """
    if ceremony.roots and mark is None:
        raise UsageError(
            "--fingerprint is missing: of which authority's first root do you hold a key?",
            hint="take it from paper or from your own notes, not from whoever brought the file",
            code="fingerprint-needed",
        )
    if not ceremony.roots and mark is None and digest is None and not asked:
        raise UsageError(
            "--digest is missing: a first root follows from nothing, so state the digest that "
            "everybody in the room reads",
            hint="forge authority inspect FILE",
            code="fingerprint-needed",
        )
    return "" if mark is None else parse_fingerprint(mark, "--fingerprint")


def sign(
    context: Context,
    path: Path,
    references: Sequence[str],
    *,
    mark: str | None,
    digest: str | None,
    dev: bool,
    out: Path | None,
) -> Ceremony:
    """Sign a carried file with each key of ``references``; written to ``out`` or in place."""
    ceremony = read_ceremony(path)
    stated = None if digest is None else parse_fingerprint(digest, "--digest")
    for reference in references:
        ceremony = add_signature(
            ceremony,
            open_key(context, reference),
            context.now,
            fingerprint=mark or None,
            digest=stated,
            dev=dev,
        )
    if out is not None and out != path:
        create_ceremony(out, ceremony)
    else:
        replace_ceremony(path, ceremony)
    return ceremony


def merge(context: Context, paths: Sequence[Path], out: Path | None) -> Ceremony:
    """One carried file with the signatures of all."""
    merged = merge_ceremonies(read_ceremony(path) for path in paths)
    check_ceremony(merged, context.now, fingerprint=None, dev=True)
    if out is not None and out in paths:
        replace_ceremony(out, merged)
    elif out is not None:
        create_ceremony(out, merged)
    return merged


def finish_into(
    context: Context, paths: Sequence[Path], folder: Path, mark: str | None
) -> tuple[str, tuple[str, ...]]:
    """Write the finished metadata into ``folder``; returns the first root's fingerprint and the
    names of the new files."""
    merged = merge(context, paths, None)
    wanted = None if mark is None else parse_fingerprint(mark, "--fingerprint")
    finished = finish(merged, context.now, fingerprint=wanted, dev=True)
    files = {f"{change.version}.{change.role}.json": finished[change.role]
             for change in merged.changes}  # fmt: skip
    files |= {f"{number}.root.json": root for number, root in enumerate(merged.roots, start=1)}
    found_mark = fingerprint(files["1.root.json"])
    files["root.fingerprint"] = f"{found_mark}\n".encode()
    return found_mark, write_metadata(folder, files)


def submit(
    context: Context,
    paths: Sequence[Path],
    status_keys: Sequence[str] = (),
    *,
    forget_withheld: bool = False,
) -> dict[str, int]:
    """Send what several ceremonies finished, oldest first; returns ``{role: version}``.

    With ``status_keys`` the status host's next statement is signed and goes along with a targets
    role, so that no client is without one for a moment; with ``forget_withheld`` it withholds
    nothing that the one before withheld.
    """
    context.requires_status = False
    by_digest: dict[str, list[Ceremony]] = {}
    for path in paths:
        ceremony = read_ceremony(path)
        by_digest.setdefault(ceremony.digest, []).append(ceremony)
    merged = [merge_ceremonies(same) for same in by_digest.values()]
    merged.sort(key=lambda ceremony: (len(ceremony.roots), [c.version for c in ceremony.changes]))
    if any(not ceremony.roots for ceremony in merged):
        raise UsageError(
            "a first root cannot be sent: no registry has it yet",
            hint="forge authority finish FILE --into FOLDER, and on the server: "
            "forge-server adopt DIR FOLDER",
        )
    # All are finished before the first is sent, so that a missing signature stops everything.
    finished = [
        finish(ceremony, context.now, fingerprint=context.pin.fingerprint, dev=True)
        for ceremony in merged
    ]
    sent: dict[str, int] = {}
    if status_keys and not any("targets" in roles for roles in finished):
        raise UsageError("--status-key: there is no new targets role that a statement must follow")
    if forget_withheld and not status_keys:
        raise UsageError("--forget-withheld goes with --status-key only")
    for roles in finished:
        if status_keys and "targets" in roles:
            from .status import first_words

            roles[STATUS] = first_words(
                context, roles["targets"], status_keys, forget=forget_withheld
            )
        send_roles(context, roles)
        sent |= {
            role: parse_root(data).signed.version if role == "root" else role_version(data, role)
            for role, data in roles.items()
        }
    _confirm(context, sent)
    return sent


def _confirm(context: Context, sent: dict[str, int]) -> None:
    """What the public, signed plane shows now, verified as any client does it."""
    view = context.fresh_view()
    shown = {"targets": role_version(view.targets), "registrar": role_version(view.registrar)}
    shown["root"] = len(view.roots)
    if STATUS in sent:
        shown[STATUS] = role_version(view.status_role() or b"", STATUS)
    behind = [role for role, version in sent.items() if shown[role] < version]
    if behind:
        raise ForgeError(
            "registry-malformed",
            f"the registry accepted {', '.join(behind)} but does not show it",
            hint="try `forge authority fetch` in a moment; tell the operator if it stays so",
        )


def fetch(context: Context, folder: Path) -> tuple[Chain, tuple[str, ...]]:
    """Bring the authority's current metadata, verified from the pinned root, into ``folder``."""
    context.requires_status = False  # who mends it must come this far
    view = context.view
    chain = Chain(targets=view.targets, registrar=view.registrar, roots=view.roots)
    chain.verify(context.pin.fingerprint)
    return chain, write_metadata(folder, chain_files(chain))


def as_json(ceremony: Ceremony) -> dict[str, object]:
    return {
        "digest": ceremony.digest,
        "follows": follows_from(ceremony),
        "complete": not missing(describe(ceremony)),
        "changes": [
            {
                "role": item.role,
                "version": item.version,
                "digest": item.digest,
                "says": list(item.lines),
                "signatures": [
                    {
                        "by": one.by,
                        "threshold": one.threshold,
                        "missing": one.missing,
                        "signed": list(one.signed),
                        "unsigned": list(one.unsigned),
                    }
                    for one in item.signatures
                ],
            }
            for item in describe(ceremony)
        ],
    }


def missing(items: Sequence[Described]) -> list[str]:
    """One line for each quorum that is not complete."""
    return [
        f"{item.title}: {one.missing} more by {one.by}"
        for item in items
        for one in item.signatures
        if one.missing
    ]
