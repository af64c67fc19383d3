"""What a body says beside decisions: waivers, which two reviewers sign, and advisories.

A waiver is begun by its author, in a file; another reviewer reads it, signs it as well and sends
it. Nothing is signed before it was shown, word for word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.version import Version

from signing.advisories import Advisory, sign_advisory, verify_advisory
from signing.bodies import ADVISORY, WAIVER, parse_id, target_path
from signing.encoding import Fields, canonical_json, parse_json
from signing.errors import ConflictError
from signing.names import ComponentName
from signing.roles import IndexEntry, parse_targets
from signing.waivers import (
    Waiver,
    approve_waiver,
    begin_waiver,
    in_force,
    longest,
    read_begun,
    verify_waiver,
)

from ..border import sound
from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..remote.trust import View
from .ceremony_files import read_file
from .choosing import verified_manifest
from .reviewing import Decided, Desk, deliver, desk, release_of, sign_file
from .roles import rebasing
from .signers import ids

_MAX_FILE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedWaiver:
    """What an author wants to waive; fields as of `signing.waivers.Waiver`."""

    component: ComponentName
    id: str
    versions: str | None
    manifest_sha256: str | None
    findings: tuple[str, ...]
    formats: tuple[str, ...]
    severity: str
    reason: str
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A waiver that waits in ``file`` for one of the keys ``missing``."""

    waiver: Waiver
    file: Path
    missing: str


def waive(
    context: Context,
    asked: AskedWaiver,
    *,
    body: str | None,
    references: Sequence[str],
    out: Path | None,
    confirm: Callable[[Waiver], None],
) -> Begun:
    """Sign a waiver as its author and write it for another reviewer. ``confirm`` is shown what will
    be signed and raises where the person does not want it.

    Raises:
        ForgeError: ``own-release``, or no key for it, or nobody else who could approve.
        MalformedError: what nobody would accept.
    """
    view = context.view
    at = desk(context, view, body, references)
    author = at.keys[0]
    others = [key for key in at.delegation.keys if key != author.public]
    if not others:
        raise ForgeError(
            "key-missing",
            f"{at.body} has one reviewer; a waiver is signed by two",
            hint="the authority names another: forge authority reviewers add",
        )
    now = context.now.replace(microsecond=0)
    most = longest(asked.severity)
    if not now < asked.expires <= now + most:
        raise UsageError(
            f"--expires: expected at most {most.days} days for severity {asked.severity}, "
            f"found {(asked.expires - now).days}"
        )
    waiver = Waiver(
        body=at.body,
        id=asked.id,
        component=asked.component,
        versions=asked.versions,
        manifest_sha256=asked.manifest_sha256,
        findings=asked.findings,
        formats=asked.formats,
        severity=asked.severity,
        reason=asked.reason,
        author=author.public.keyid,
        at=now,
        expires=asked.expires,
    )
    waiver.predicate()
    _require_not_own(view, at, waiver)
    confirm(waiver)
    data = begin_waiver(waiver, author)
    file = out or Path(f"{waiver.id}.waiver.json")
    write_private(file, canonical_json({"body": at.body, "waiver": data.decode()}), mode=0o644)
    return Begun(waiver=waiver, file=file, missing=ids(others))


def sign_begun(
    context: Context,
    path: Path,
    references: Sequence[str],
    out: Path | None,
    *,
    confirm: Callable[[Waiver], None],
    confirm_role: Callable[[], None],
) -> tuple[Waiver | None, Decided]:
    """Sign as well what another reviewer of the body began, and send it once that completes it: a
    waiver, or (then there is none in the answer) the body's role.

    Raises:
        ForgeError: no key for it but its author's (``key-missing``).
    """
    fields = Fields.of(parse_json(read_file(path), str(path), max_bytes=_MAX_FILE_BYTES), str(path))
    if "waiver" not in fields.value:
        confirm_role()
        return None, sign_file(context, path, references, out)
    fields.only(("body", "waiver"))
    body, begun = fields.text("body"), fields.text("waiver", max_chars=400_000).encode()
    ready: list[tuple[Waiver, bytes]] = []

    def attempt(view: View) -> Decided:
        at = desk(context, view, body, references)
        if not ready:
            ready.append(_approved(view, at, begun, str(path), confirm))
        waiver, data = ready[0]
        target = target_path(at.body, waiver.component, waiver.id, WAIVER)
        return deliver(context, view, at, {target: data}, (), None, out)

    decided = rebasing(context, f"the role of {body}", attempt)
    return ready[0][0], decided


def _approved(
    view: View, at: Desk, begun: bytes, where: str, confirm: Callable[[Waiver], None]
) -> tuple[Waiver, bytes]:
    waiver = read_begun(begun, at.delegation, where)
    key = next((key for key in at.keys if key.public.keyid != waiver.author), None)
    if key is None:
        others = [each for each in at.delegation.keys if each.keyid != waiver.author]
        raise ForgeError(
            "key-missing",
            f"waiver {waiver.id}: its author does not approve it\nexpected one of {ids(others)}",
            hint=f"another reviewer of {at.body} runs: forge review sign FILE --key KEY",
        )
    _require_not_own(view, at, replace(waiver, approver=key.public.keyid))
    confirm(waiver)
    data = approve_waiver(begun, key)
    return verify_waiver(data, at.delegation), data


def _require_not_own(view: View, at: Desk, waiver: Waiver) -> None:
    known = at.delegation.body
    said = replace(waiver, organisations=known.organisations if known else frozenset())
    if said.is_own(signers(view, waiver.component)):
        raise ForgeError(
            "own-release",
            f"waiver {waiver.id} about {waiver.component}: it would not hold: {at.body} belongs to "
            f"{waiver.component.org}, or its reviewer signs for it",
            hint="another body must look at it",
        )


def signers(view: View, component: ComponentName) -> frozenset[str]:
    """The keys of whoever signs for the component, or did."""
    state = view.component(component)
    if state is None:
        return frozenset()
    return frozenset(
        key.keyid
        for each in (state.organisation_delegation, state.delegation)
        if each is not None
        for key in (*each.keys, *each.former.keys())
    )


def words(
    view: View, component: ComponentName, entry: IndexEntry
) -> tuple[Sequence[Advisory], Sequence[Waiver]]:
    """The advisories that affect a release, and the waivers that hold for it now."""
    version = str(entry.version)
    said = view.reviewers.said(component, version)
    keyids = signers(view, component)
    digest = entry.manifest_sha256
    return (
        [one for one in said.advisories if digest in one.releases.values()],
        in_force(said.waivers, version, digest, keyids, view.now),
    )


def advise(
    context: Context,
    component: ComponentName,
    versions: Sequence[Version],
    said: dict[str, Any],
    *,
    body: str | None,
    references: Sequence[str],
    out: Path | None,
    confirm: Callable[[Advisory], None],
) -> tuple[Advisory, Decided]:
    """Sign an advisory about published versions and list it in the body's role. ``said`` has its
    ``id``, ``severity``, ``title`` and ``text``.

    Raises:
        ForgeError: no such version, or no key for it.
        MalformedError: what nobody would accept.
    """
    ready: list[tuple[Advisory, bytes]] = []

    def attempt(view: View) -> Decided:
        at = desk(context, view, body, references)
        if not ready:
            advisory = Advisory(
                body=at.body,
                component=component,
                releases={
                    str(each): verified_manifest(
                        context, component, release_of(view, component, each)
                    ).digest
                    for each in versions
                },
                at=context.now.replace(microsecond=0),
                **said,
            )
            advisory.predicate()
            confirm(advisory)
            data = sign_advisory(advisory, at.keys[0])
            verify_advisory(data, at.delegation)
            ready.append((advisory, data))
        advisory, data = ready[0]
        target = target_path(at.body, component, advisory.id, ADVISORY)
        return deliver(context, view, at, {target: data}, (), None, out)

    decided = rebasing(context, f"the role of {body or 'the body'}", attempt)
    return ready[0][0], decided


def withdraw_id(
    context: Context,
    component: ComponentName,
    id_: str,
    *,
    body: str | None,
    references: Sequence[str],
    out: Path | None,
) -> Decided:
    """Take the body's advisory or waiver of that id back.

    Raises:
        ConflictError: there is none (``nothing-changes``).
    """
    parse_id(id_, "--id")

    def attempt(view: View) -> Decided:
        at = desk(context, view, body, references)
        with sound(f"the role {at.name}"):
            listed = {} if at.role is None else parse_targets(at.role, at.name).signed.targets
        paths = [target_path(at.body, component, id_, kind) for kind in (ADVISORY, WAIVER)]
        there = [path for path in paths if path in listed]
        if not there:
            raise ConflictError(
                "nothing-changes",
                f"role {at.name}: no advisory and no waiver {id_} about {component} is listed",
            )
        return deliver(context, view, at, {}, there, None, out)

    return rebasing(context, "the body's role", attempt)
