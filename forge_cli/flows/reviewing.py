"""Deciding about a release: look at everything, sign on this machine, list it in the body's role.

Nothing is signed before the release itself was verified and before it is clear that the decision
would count: nobody reviews a release of their own. What is signed is shown first, word for word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from packaging.version import Version

from signing.assessment import (
    MAX_LIFE,
    MAX_LIFE_HIGH_RISK,
    Assessment,
    Decision,
    assess,
)
from signing.bodies import DECISION, role_of, target_path
from signing.encoding import Fields, canonical_json, parse_json
from signing.errors import VerificationError
from signing.keys import SigningKey
from signing.manifest import Manifest
from signing.names import ComponentName
from signing.review import CRITERIA, Verdict, read_verdict, sign_decision, verify_decision
from signing.review_edits import edit_reviews
from signing.role_edits import add_signatures
from signing.roles import Delegation, IndexEntry, parse_targets
from signing.statement import Resource
from signing.updates import check_role_update
from signing.verify import subject_of

from ..border import sound
from ..context import Context
from ..errors import ForgeError, UsageError
from ..files import write_private
from ..remote.trust import View
from .ceremony_files import read_file
from .choosing import verified_manifest
from .keys import open_key
from .roles import rebasing
from .signers import held, ids, short

_DEFAULT_LIFE: Final = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a reviewer wants to say of a release."""

    component: ComponentName
    version: Version
    passed: bool
    number: int = 2
    expires: datetime | None = None
    policy: Resource | None = None
    conditions: str | None = None
    scope: str | None = None
    reason: str | None = None
    inputs: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What came of it: sent, or waiting in ``file`` for signatures by ``missing``. ``verdict`` is
    None where something was withdrawn."""

    body: str
    verdict: Verdict | None
    version: int
    file: Path | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A body as one of its reviewers signs for it. The first key signs statements."""

    body: str
    delegation: Delegation
    keys: tuple[SigningKey, ...]
    role: bytes | None

    @property
    def name(self) -> str:
        return role_of(self.body)

    def path(self, component: ComponentName, version: object) -> str:
        return target_path(self.body, component, str(version), DECISION)


def desk(context: Context, view: View, body: str | None, references: Sequence[str]) -> Desk:
    """The body to sign for: the one that was named, or the only one that lists a key of ours.

    Raises:
        ForgeError: no such body, or none of our keys is listed (``key-missing``).
    """
    bodies = view.reviewers.bodies()
    if not bodies:
        raise ForgeError(
            "not-found",
            f"{view.url}: its authority names no reviewer body",
            hint="the authority names one: forge authority reviewers add BODY --key FILE",
        )
    keys = [open_key(context, reference) for reference in references]
    if body is None:
        body = _only_body(context, bodies, keys)
    if body not in bodies:
        raise ForgeError(
            "not-found",
            f"{body}: no reviewer body of {view.url}",
            hint=f"there are: {', '.join(bodies)}",
        )
    delegation = bodies[body]
    if not keys:
        stored = held(context, delegation)[: delegation.threshold]
        keys = [open_key(context, each.name) for each in stored]
    for key in keys:
        if key.public not in delegation.keys:
            raise ForgeError(
                "key-missing",
                f"key {short(key.public)} may not review for {body}\n"
                f"expected one of {ids(delegation.keys)}",
                hint="the authority names reviewers: forge authority reviewers add",
            )
    if not keys:
        raise ForgeError(
            "key-missing",
            f"none of your keys may review for {body}\nexpected one of {ids(delegation.keys)}",
            hint="name it: --key NAME, pkcs11:URI, exec:COMMAND or a file",
        )
    return Desk(body=body, delegation=delegation, keys=tuple(keys), role=view.reviewers.role(body))


def _only_body(
    context: Context, bodies: Mapping[str, Delegation], keys: Sequence[SigningKey]
) -> str:
    mine = [
        body
        for body, delegation in bodies.items()
        if (
            any(key.public in delegation.keys for key in keys)
            if keys
            else held(context, delegation)
        )
    ]
    if len(mine) != 1:
        raise UsageError(
            "for which body? "
            + (
                f"your keys are listed by {', '.join(mine)}"
                if mine
                else "none lists a key of yours"
            ),
            hint=f"name it: --as BODY   (there are: {', '.join(bodies)})",
        )
    return mine[0]


def release_of(view: View, component: ComponentName, version: Version) -> IndexEntry:
    entry = view.require(component).releases.get(str(version))
    if entry is None:
        there = ", ".join(reversed(view.require(component).releases))
        raise ForgeError(
            "not-found", f"{component} has no version {version}", hint=f"there are: {there}"
        )
    return entry


def decide(
    context: Context,
    asked: Asked,
    *,
    body: str | None,
    references: Sequence[str],
    out: Path | None,
    confirm: Callable[[Verdict, Manifest], None],
) -> Decided:
    """Sign a decision and list it in the body's role. ``confirm`` is shown what will be signed and
    raises where the person does not want it.

    Raises:
        ForgeError: ``own-release``, or no key for it.
        VerificationError: the release does not verify.
    """
    ready: list[tuple[Desk, Verdict, bytes]] = []

    def attempt(view: View) -> Decided:
        if ready:  # somebody else was faster: the same statement in a newer role
            (old, verdict, data) = ready[0]
            at = replace(old, role=view.reviewers.role(old.body))
            return deliver(context, view, at, {at.path(asked.component, asked.version): data},
                            (), verdict, out)  # fmt: skip
        at = desk(context, view, body, references)
        entry = release_of(view, asked.component, asked.version)
        manifest = verified_manifest(context, asked.component, entry)
        verdict = _verdict(view, at, asked, manifest, context.now.replace(microsecond=0))
        data = _signed(view, at, verdict, manifest, confirm)
        ready.append((at, verdict, data))
        path = at.path(asked.component, asked.version)
        return deliver(context, view, at, {path: data}, (), verdict, out)

    return rebasing(context, f"the role of {body or 'the body'}", attempt)


def _verdict(view: View, at: Desk, asked: Asked, manifest: Manifest, now: datetime) -> Verdict:
    high = (manifest.metadata.get("risk") or {}).get("class") == "high"
    longest = MAX_LIFE_HIGH_RISK if high else MAX_LIFE
    expires = asked.expires or now + min(_DEFAULT_LIFE, longest)
    if expires > now + longest:
        raise UsageError(
            f"--expires: expected at most {longest.days} days"
            + (" for a release of risk class high" if high else "")
            + f", found {(expires - now).days}"
        )
    return Verdict(
        body=at.body,
        component=asked.component,
        version=str(asked.version),
        manifest_sha256=manifest.digest,
        passed=asked.passed,
        number=asked.number if asked.passed else 2,
        at=now,
        expires=expires,
        policy=asked.policy or CRITERIA,
        inputs=asked.inputs,
        conditions=asked.conditions,
        scope=asked.scope,
        reason=asked.reason,
    )


def _signed(
    view: View,
    at: Desk,
    verdict: Verdict,
    manifest: Manifest,
    confirm: Callable[[Verdict, Manifest], None],
) -> bytes:
    verdict.predicate()  # what nobody would accept is said before anybody signs
    _require_not_own(view, at, verdict, manifest)
    confirm(verdict, manifest)
    data = sign_decision(verdict, at.keys[0])
    verify_decision(data, at.delegation)
    return data


def _require_not_own(view: View, at: Desk, verdict: Verdict, manifest: Manifest) -> None:
    """Nobody reviews a release of their own; said before a signature that would never count."""
    state = view.require(verdict.component)
    subject = subject_of(manifest, (state.delegation, state.organisation_delegation))
    decision = Decision(
        body=at.body,
        organisations=at.delegation.body.organisations if at.delegation.body else frozenset(),
        keyid=at.keys[0].public.keyid,
        component=verdict.component,
        version=verdict.version,
        manifest_sha256=verdict.manifest_sha256,
        passed=verdict.passed,
        number=verdict.number,
        at=verdict.at,
        expires=verdict.expires,
        sha256="",
        policy_sha256="",
    )
    for lapse in assess(subject, [decision], verdict.at).lapsed:
        raise ForgeError(
            lapse.code,
            f"{verdict.component} {verdict.version}: this decision would not count: {lapse.why}",
            hint="a reviewer of another body must look at it",
        )


def withdraw(
    context: Context,
    component: ComponentName,
    version: Version,
    *,
    body: str | None,
    references: Sequence[str],
    out: Path | None,
) -> Decided:
    """Take the body's decision about a release back: it is no longer listed.

    Raises:
        ConflictError: there is none (``nothing-changes``).
    """

    def attempt(view: View) -> Decided:
        at = desk(context, view, body, references)
        return deliver(context, view, at, {}, (at.path(component, version),), None, out)

    return rebasing(context, "the body's role", attempt)


def renewal(
    context: Context,
    component: ComponentName,
    version: Version,
    *,
    body: str | None,
    references: Sequence[str],
) -> tuple[Verdict, Desk]:
    """What the body decided before, for whoever says it again with new dates.

    Raises:
        ForgeError: no decision of the body's present reviewers about this release.
    """
    view = context.view
    at = desk(context, view, body, references)
    path = at.path(component, version)
    listed = None if at.role is None else parse_targets(at.role, at.name).signed.targets.get(path)
    if listed is None:
        raise ForgeError(
            "not-found",
            f"{at.body} decided nothing about {component} {version}",
            hint=f"decide: forge review approve {component}=={version}",
        )
    data = view.target(path, listed.hashes["sha256"], listed.length)
    try:
        verdict = read_verdict(data, at.delegation, path)
    except VerificationError as error:
        raise ForgeError(
            "not-found",
            f"the decision of {at.body} about {component} {version} was not signed by one of its "
            f"present reviewers: {error.message}",
            hint=f"look at it again and decide: forge review approve {component}=={version}",
        ) from error
    return verdict, at


def sign_file(context: Context, path: Path, references: Sequence[str], out: Path | None) -> Decided:
    """Add signatures to the role in ``path``, which another reviewer of the body began, and send it
    once that completes it."""
    with sound(str(path)):
        fields = Fields.of(parse_json(read_file(path), str(path), max_bytes=8_000_000), str(path))
        fields.only(("body", "role", "targets"))
        body, role = fields.text("body"), fields.text("role", max_chars=5_000_000).encode()
        texts = fields.object("targets")
        targets = {key: texts.text(key, max_chars=400_000).encode() for key in texts.value}
    view = context.view
    at = desk(context, view, body, references)
    with sound(str(path)):
        signed = add_signatures(role, at.keys)
    return _send(context, view, at, signed, targets, None, out or path)


def deliver(
    context: Context,
    view: View,
    at: Desk,
    add: Mapping[str, bytes],
    drop: Iterable[str],
    verdict: Verdict | None,
    out: Path | None,
) -> Decided:
    """Make the body's next role with the statements ``add`` (``{target path: envelope}``) and
    without ``drop``, and send it, or write it to ``out`` where others must sign it too."""
    keys = at.keys[: at.delegation.threshold]
    role = edit_reviews(at.role, at.name, add=add, drop=drop, keys=keys, now=context.now)
    return _send(context, view, at, role, add, verdict, out)


def _send(
    context: Context,
    view: View,
    at: Desk,
    role: bytes,
    targets: Mapping[str, bytes],
    verdict: Verdict | None,
    out: Path | None,
) -> Decided:
    """Send the role if its signatures suffice, else write it for others to sign."""
    signed = parse_targets(role, at.name)
    decided = Decided(body=at.body, verdict=verdict, version=signed.signed.version)
    left = [key for key in at.delegation.keys if key.keyid not in signed.signatures]
    texts = {path: data.decode() for path, data in targets.items()}
    if len(at.delegation.keys) - len(left) < at.delegation.threshold:
        file = out or Path(f"{at.name}.{decided.version}.json")
        value = {"body": at.body, "role": role.decode(), "targets": texts}
        write_private(file, canonical_json(value), mode=0o644)
        return replace(decided, file=file, missing=ids(left))
    check_role_update(at.name, role, at.role, view.targets, context.now)
    body: dict[str, Any] = {"roles": {at.name: role.decode()}, "targets": texts}
    context.api_with_token().post("roles", body=body)
    _confirm(context, at, role)
    return decided


def _confirm(context: Context, at: Desk, role: bytes) -> None:
    """What clients are shown now."""
    shown = context.fresh_view().reviewers.role(at.body)
    if shown != role:
        raise ForgeError(
            "registry-malformed",
            f"the registry accepted the role {at.name} but does not show it",
            hint="try `forge review show` in a moment; tell the operator if it stays so",
        )


def assessment(view: View, component: ComponentName, version: Version) -> Assessment:
    """What every body decided about the release."""
    return view.reviews(component, release_of(view, component, version))
