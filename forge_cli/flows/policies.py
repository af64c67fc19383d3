"""Pinned policies: fetched and verified like any release, kept so that no network is needed.

    <data>/policies/<manifest sha256>.json    evidence and policy.toml, verified again at each use

The pin names the digest of the manifest, and that the digest of the rules: whoever offers other
rules under the same name and version offers nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from signing.digests import sha256_hex
from signing.errors import MalformedError, SigningError, VerificationError
from signing.evidence import Evidence
from signing.manifest import Manifest
from signing.names import Requirement
from signing.policy import FILE_NAME, Policy, parse_policy, require_policy_file, rule_texts
from signing.roles import releases_of
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError
from ..files import write_private
from ..output import clean
from ..policies import MACHINE, PROJECT, PROJECT_FILE, PinFile, PolicyPin, unusable
from ..remote.trust import View
from ..resolve import names_exactly
from ..truststore import Pin
from .choosing import choose, download_files
from .withheld import known_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A policy in force: where it is pinned, and what it says."""

    pin: PolicyPin
    scope: str
    policy: Policy
    verified_at: str

    def __str__(self) -> str:
        return str(self.pin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What another version of a policy changes: a rule with its old and its new value, each None
    where there is none."""

    rule: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.rule}: {self.after}"
        if self.after is None:
            return f"- {self.rule}: {self.before}"
        return f"~ {self.rule}: {self.before}  →  {self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A policy that was pinned. ``before`` is the pin it took the place of."""

    pinned: Pinned
    before: PolicyPin | None
    changes: tuple[Change, ...]


def pin_files(context: Context, folder: Path | None) -> list[PinFile]:
    """Where policies may be pinned for what is used in ``folder``."""
    files = [PinFile(folder / PROJECT_FILE, PROJECT)] if folder is not None else []
    places = context.places
    return [*files, PinFile(places.policies, MACHINE), PinFile(places.system_policies, "system")]


def load(context: Context, folder: Path | None) -> tuple[Pinned, ...]:
    """Every policy that must permit what is used in ``folder``.

    Raises:
        ForgeError: ``policy-unusable``: one cannot be read or verified, or was taken back.
    """
    return tuple(
        load_one(context, pin, file.scope)
        for file in pin_files(context, folder)
        for pin in file.pins()
    )


def load_one(context: Context, pin: PolicyPin, scope: str) -> Pinned:
    """The policy behind one pin. Raises as `load`."""
    with _or_unusable(pin):
        trusted = context.trust.with_fingerprint(pin.fingerprint)
        if trusted is None:
            raise unusable(
                f"the policy {pin}",
                f"its registry {clean(pin.registry)} is not trusted here",
                f"forge trust add {clean(pin.registry)} --fingerprint {pin.fingerprint}   "
                "(after comparing it with the operator's)",
            )
        kept = _kept(context, pin)
        asked = context.asked_registry and context.pin.fingerprint == pin.fingerprint
        if kept is None or asked:
            kept = _fetched(context, trusted, pin, kept)
        policy = _verified(context, trusted, pin, kept)
        return Pinned(pin=pin, scope=scope, policy=policy, verified_at=kept["verified_at"])


@contextmanager
def _or_unusable(pin: PolicyPin) -> Iterator[None]:
    """Whatever is wrong with a pinned policy, it is the same to who asks: nothing is permitted."""
    try:
        yield
    except ForgeError as error:
        if error.code == "policy-unusable":
            raise
        raise unusable(f"the policy {pin}", error.message, error.hint) from error
    except SigningError as error:
        raise unusable(f"the policy {pin}", error.message, error.hint) from error
    except OSError as error:
        raise unusable(f"the policy {pin}", str(error)) from error


def _path(context: Context, manifest_sha256: str) -> Path:
    return context.places.kept_policies / f"{manifest_sha256}.json"


def _kept(context: Context, pin: PolicyPin) -> dict[str, str] | None:
    """What `_keep` wrote; None where it is not there or spoilt: then it is fetched again."""
    try:
        value = json.loads(_path(context, pin.manifest_sha256).read_bytes())
        return {name: str(value[name]) for name in ("evidence", "policy", "verified_at")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(context: Context, digest: str, value: Mapping[str, str]) -> None:
    write_private(_path(context, digest), json.dumps(value).encode())


def _fetched(
    context: Context, trusted: Pin, pin: PolicyPin, kept: dict[str, str] | None
) -> dict[str, str]:
    """The policy as the registry has it today; its rules come over the line only once."""
    view = view_of(context, trusted)
    entry = view.require(pin.component).releases.get(pin.version)
    if entry is None or entry.manifest_sha256 != pin.manifest_sha256:
        raise VerificationError(
            "lock-mismatch",
            str(pin),
            f"manifest sha256 {pin.manifest_sha256}, as pinned",
            entry.manifest_sha256 if entry is not None else "no such version",
            "a published version never changes: tell the operator",
        )
    evidence = view.evidence(pin.component, entry)
    rules = kept["policy"] if kept is not None else None
    value = _to_keep(context, trusted, view, evidence, rules)
    if kept is None or Evidence.from_json(kept["evidence"].encode()).project != evidence.project:
        # Kept before it is judged: that it was taken back must be known here without a network too.
        _manifest(context, trusted, evidence)
        _keep(context, pin.manifest_sha256, value)
    return value


def view_of(context: Context, trusted: Pin) -> View:
    """This run's view of the registry with that root, or a new one of another registry."""
    with suppress(ForgeError):  # none is chosen
        if context.pin.fingerprint == trusted.fingerprint:
            return context.view
    return context.fresh_view(trusted)


def _to_keep(
    context: Context, trusted: Pin, view: View, evidence: Evidence, rules: str | None
) -> dict[str, str]:
    if rules is None:
        manifest = _manifest(context, trusted, evidence)
        require_policy_file(manifest)
        entry = manifest.by_path[FILE_NAME]
        download_files(context, view.url, manifest, (entry,))
        data = context.cache.read(entry.sha256, entry.size)
        if data is None:
            raise VerificationError("digest-mismatch", str(manifest), FILE_NAME, "nothing")
        with sound(f"{manifest}: {FILE_NAME}"):
            parse_policy(data, f"{manifest}: {FILE_NAME}")
        rules = data.decode()
    return {
        "evidence": evidence.to_json().decode(),
        "policy": rules,
        "verified_at": context.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _manifest(context: Context, trusted: Pin, evidence: Evidence) -> Manifest:
    """The manifest that the evidence proves. Raises SigningError."""
    from signing.manifest import parse_manifest

    return verify_release(
        evidence,
        parse_manifest(evidence.manifest).component,
        None,
        fingerprint=trusted.fingerprint,
        now=context.now,
        observed=None,
        forge_toml=None,
        witnesses=context.trust.witnesses(trusted.fingerprint),
        status=known_status(context, trusted),
    ).require()


def _verified(context: Context, trusted: Pin, pin: PolicyPin, kept: Mapping[str, str]) -> Policy:
    """The policy, after establishing that it is the pinned one and that nobody took it back."""
    evidence = Evidence.from_json(kept["evidence"].encode())
    manifest = _manifest(context, trusted, evidence)
    found = (manifest.component, str(manifest.version), manifest.digest)
    if found != (pin.component, pin.version, pin.manifest_sha256):
        raise VerificationError(
            "lock-mismatch", str(pin), f"manifest sha256 {pin.manifest_sha256}", f"{manifest}"
        )
    data = kept["policy"].encode()
    if sha256_hex(data) != require_policy_file(manifest):
        raise VerificationError(
            "digest-mismatch", f"{pin}: {FILE_NAME}", "the signed rules", "other rules"
        )
    entry = releases_of(evidence.project, pin.component)[pin.version]
    if entry.yanked is not None:
        raise unusable(
            f"the policy {pin}",
            f"its publisher took it back: {clean(entry.yanked)}",
            f"take a newer version: forge policy update {pin.component}   "
            f"(or use it no longer: forge policy drop {pin.component})",
        )
    return parse_policy(data, f"{pin}: {FILE_NAME}")


def use(context: Context, requirement: Requirement, file: PinFile) -> Used:
    """Pins a version of a policy in ``file``, in the place of the one that is pinned there.

    Raises:
        ForgeError, SigningError: it is no policy, does not verify, was taken back, is older than
            the one that is pinned without being named exactly, or of another registry.
    """
    view = context.view
    entry = choose(view, requirement)
    withheld = view.withheld(entry)
    if withheld is not None:
        raise withheld.error()
    pin = PolicyPin(
        component=requirement.component,
        version=str(entry.version),
        manifest_sha256=entry.manifest_sha256,
        registry=context.pin.url,
        fingerprint=context.pin.fingerprint,
    )
    if entry.kind != "policy":
        raise ForgeError(
            "not-found",
            f"{pin}: expected a component of kind policy, found a {entry.kind}",
            hint="look for one: forge search policy",
        )
    pins = file.pins() if _is_sound(file) else ()
    before = next((one for one in pins if one.component == pin.component), None)
    if before is not None:
        _require_its_registry(context, before)
    if before is not None and entry.version < Version(before.version):
        _require_meant(context, requirement, before, pin)
    pinned = load_one(context, pin, file.scope)
    changes = _changes(None if before is None else _rules(context, before), pinned.policy)
    file.write([*(one for one in pins if one.component != pin.component), pin])
    return Used(pinned=pinned, before=before, changes=changes)


def _require_its_registry(context: Context, pin: PolicyPin) -> None:
    """A policy of the same name in another registry is another policy, by other people: it takes
    nobody's place. Raises ForgeError."""
    if context.pin.fingerprint != pin.fingerprint:
        raise ForgeError(
            "fingerprint-mismatch",
            f"{pin} is pinned from {clean(pin.registry)} (root {pin.fingerprint})\n"
            f"expected that registry, found {context.pin.url} (root {context.pin.fingerprint})",
            hint=f"name the registry: --registry {clean(pin.registry)}; if another policy is to "
            f"take its place: forge policy drop {pin.component}",
        )


def _require_meant(
    context: Context, requirement: Requirement, before: PolicyPin, pin: PolicyPin
) -> None:
    """Going back to older rules is for who names them: a newer version that was yanked must not
    bring back what it had mended. Raises ForgeError."""
    if not names_exactly([requirement], Version(pin.version)):
        raise ForgeError(
            "unsatisfiable",
            f"{before} is pinned: expected that version or a newer one, found {pin}",
            hint=f"if the older rules are what you want: forge policy use {pin}",
        )
    context.out.warn(f"{pin} is older than {before}: what that one added binds no more")


def _is_sound(file: PinFile) -> bool:
    """Whether the file can be read: pinning anew is how a broken one is mended."""
    try:
        file.pins()
    except ForgeError:
        return False
    return True


def _rules(context: Context, pin: PolicyPin) -> Policy | None:
    """The rules of the version that was pinned before, for comparison only."""
    kept = _kept(context, pin)
    try:
        return None if kept is None else parse_policy(kept["policy"].encode())
    except MalformedError:
        return None


def update(context: Context, pin: PolicyPin, file: PinFile) -> Used | None:
    """Pins the newest version of a policy; None where that is the pinned one. Raises as `use`."""
    _require_its_registry(context, pin)
    newest = choose(context.view, Requirement.parse(str(pin.component)))
    if newest.yanked is None and newest.version > Version(pin.version):
        return use(context, Requirement.parse(f"{pin.component}=={newest.version}"), file)
    return None


def drop(file: PinFile, pin: PolicyPin) -> None:
    """Takes one pin out of the file."""
    file.write(one for one in file.pins() if one != pin)


def _changes(before: Policy | None, after: Policy) -> tuple[Change, ...]:
    old = {} if before is None else dict(rule_texts(before))
    new = dict(rule_texts(after))
    if before is None:
        return ()
    return tuple(
        Change(rule=name, before=old.get(name), after=new.get(name))
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
    )
