"""Verifying: a release in the registry, an installed folder, or loose files with a key."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from signing.digests import fingerprint as root_fingerprint
from signing.errors import MalformedError, VerificationError
from signing.evidence import Evidence
from signing.keys import PublicKey
from signing.manifest import parse_manifest
from signing.names import ComponentName, Requirement
from signing.offline import verify_offline
from signing.report import Report
from signing.status import status_of
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError, UsageError
from ..lockfile import FILE_NAME as LOCK
from ..lockfile import locked_release, read_lock
from ..output import clean
from ..tree import observe
from .choosing import choose_known, download_files, release_report
from .installed import Record, site_of_tree
from .kept import choices
from .permission import Judgement, open_gate
from .withheld import status_of_root, view_remark


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The report, what it is about, and remarks that a person should read.

    ``repair`` is what puts it right when a check failed, where something does. ``permission`` is
    what the pinned policies say of it; None without one, and where a check failed.
    """

    subject: str
    report: Report
    remarks: tuple[str, ...] = ()
    repair: str | None = None
    permission: Judgement | None = None


def verify_registry(
    context: Context, requirement: Requirement, *, download: bool, fingerprint: str | None = None
) -> Verified:
    """Verify a release from the registry; its files too, unless neither cached nor wanted.

    Files are fetched into the cache, where the next install finds them. ``fingerprint`` must be
    the one that is pinned.

    Raises:
        VerificationError: ``fingerprint-mismatch``.
    """
    if fingerprint is not None and fingerprint != context.pin.fingerprint:
        raise VerificationError(
            "fingerprint-mismatch",
            f"the root of {context.url} as pinned here",
            fingerprint,
            context.pin.fingerprint,
            "one of the two is another registry's: ask the operator which",
        )
    known, name = choices(context), requirement.component
    entry = choose_known(known, requirement)
    evidence = known.evidence(name, entry, reviews=True)
    report = release_report(context, evidence, name, entry, None, None)
    if report.ok and report.release is not None:
        files = {file.sha256: file for file in report.release.files}
        if download:
            download_files(context, context.pin.url, report.release)
        if all(context.cache.has(file.sha256, file.size) for file in files.values()):
            observed = {file.path: file for file in report.release.files}
            toml = report.release.by_path["forge.toml"]
            data = context.cache.read(toml.sha256, toml.size)
            report = release_report(context, evidence, name, entry, observed, data)
    remarks = ages(context, evidence, context.pin.fingerprint) if context.offline else []
    if entry.yanked is not None:
        remarks.append(f"yanked by its publisher: {clean(entry.yanked)}")
    if entry.deprecated is not None:
        remarks.append(f"deprecated by its publisher: {clean(str(entry.deprecated))}")
    return Verified(
        subject=f"{name}=={entry.version}",
        report=report,
        remarks=tuple(remarks),
        permission=_permission(context, Path(), context.pin.fingerprint, evidence, report),
    )


def _permission(
    context: Context, folder: Path, fingerprint: str, evidence: Evidence, report: Report
) -> Judgement | None:
    """What the policies of ``folder`` and of this machine say of a release that verified, with what
    was put aside for it in the folder's lock."""
    gate = open_gate(context, folder)
    if gate is None or not report.ok:
        return None
    pin = context.trust.with_fingerprint(fingerprint)
    if pin is None:
        raise ForgeError(
            "fingerprint-needed",
            "a policy is pinned, and what it must know is kept by trusted registry: the root of "
            "this one is not trusted here",
            hint="forge trust add URL --fingerprint …",
        )
    release = locked_release(parse_manifest(evidence.manifest))
    lock = read_lock(folder / LOCK)
    for locked in () if lock is None else lock.components:
        if locked.manifest_sha256 == release.manifest_sha256:
            release = replace(release, overrides=locked.overrides)
    return gate.judge_evidence(pin, release, evidence)


def verify_installed(
    context: Context, folder: Path, *, online: bool, fingerprint: str | None
) -> Verified:
    """Verify an installed component against the evidence beside it; no network unless asked."""
    site, name = site_of_tree(folder)
    record = site.record(name)
    if record is None:
        raise ForgeError(
            "not-installed",
            f"{site.record_path(name)}: the record beside the component cannot be read",
            hint=f"install it again: forge install {name} --into {site.into}",
        )
    trusted = fingerprint or _trusted(context, record.fingerprint, record.registry)
    with sound(str(site.record_path(name))):
        evidence = Evidence.from_json(record.evidence)
    remarks: list[str] = []
    if online:
        evidence, remarks = _refreshed(context, evidence, name)
    else:
        remarks += ages(context, evidence, trusted)
    selected = _selected(record)
    if selected is not None:
        remarks.append(f"installed in part, with {clean(record.selection)}")
    report = _folder_report(context, evidence, name, folder, trusted, selected)
    return Verified(
        subject=str(folder),
        report=report,
        remarks=tuple(remarks),
        repair=f"forge sync --into {_from_here(site.into)}   puts back what was published",
        permission=_permission(context, site.into, trusted, evidence, report),
    )


def _selected(record: Record) -> frozenset[str] | None:
    """The paths of a partial installation; None for a whole one."""
    try:
        return record.selection.paths(record.manifest())
    except MalformedError:
        return None  # the report will say what is wrong with it


def _from_here(path: Path) -> Path:
    """``path`` as a person here would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def verify_exported(
    context: Context, folder: Path, *, online: bool, fingerprint: str | None
) -> Verified:
    """Verify what `export-bundle` wrote: ``files/`` against the chain in ``evidence.json``.

    Raises:
        VerificationError: the manifest or the signature that lies beside the evidence for other
            tools is not the one that the evidence holds.
    """
    path = folder / "evidence.json"
    with sound(str(path)):
        evidence = Evidence.from_json(path.read_bytes())
        name = parse_manifest(evidence.manifest).component
    trusted = fingerprint or _trusted(context, root_fingerprint(evidence.roots[0]), None)
    for beside, signed in (
        ("manifest.json", evidence.manifest),
        ("release.sigstore.json", evidence.bundle),
    ):
        if (folder / beside).exists() and (folder / beside).read_bytes() != signed:
            raise VerificationError(
                "digest-mismatch", str(folder / beside), f"what {path} holds", "something else"
            )
    remarks: list[str] = []
    if online:
        evidence, remarks = _refreshed(context, evidence, name)
    else:
        remarks += ages(context, evidence, trusted)
    report = _folder_report(context, evidence, name, folder / "files", trusted)
    return Verified(
        subject=str(folder / "files"),
        report=report,
        remarks=tuple(remarks),
        permission=_permission(context, Path(), trusted, evidence, report),
    )


def _folder_report(
    context: Context,
    evidence: Evidence,
    name: ComponentName,
    folder: Path,
    trusted: str,
    selected: frozenset[str] | None = None,
) -> Report:
    observed = observe(folder)
    return verify_release(
        evidence,
        name,
        None,
        fingerprint=trusted,
        now=context.now,
        observed=observed,
        forge_toml=(folder / "forge.toml").read_bytes() if "forge.toml" in observed else None,
        witnesses=context.trust.witnesses(trusted),
        selected=selected,
        status=status_of_root(context, trusted),
    )


def verify_loose(folder: Path, bundle: Path, key: Path, manifest: Path | None) -> Verified:
    """Verify a folder with nothing but a bundle and a public key."""
    public = PublicKey.from_pem(_read(key), str(key))
    data = _read(bundle)
    aside = {path.resolve() for path in (bundle, key, manifest) if path is not None}
    observed = {
        path: entry
        for path, entry in observe(folder).items()
        # `export-bundle` puts the proof beside the files' folder; tolerate it inside as well.
        if (folder / path).resolve() not in aside
    }
    report = verify_offline(data, public, observed, _read(manifest) if manifest else None)
    return Verified(
        subject=str(folder),
        report=report,
        remarks=(f"the key is {public.keyid}; compare it with its owner over another channel",),
    )


def _trusted(context: Context, fingerprint: str, registry: str | None) -> str:
    """The fingerprint, if this person pinned it: what the folder says of itself proves nothing."""
    if fingerprint in context.trust.pins().values():
        return fingerprint
    url = "URL" if registry is None else clean(registry)
    raise ForgeError(
        "fingerprint-needed",
        "its root is not trusted here"
        if registry is None
        else f"it was installed from {url}, whose root is not trusted here",
        hint=f"forge trust add {url} --fingerprint …, or, without a network, "
        "forge verify FOLDER --fingerprint sha256:…   (from the operator)",
    )


def _refreshed(
    context: Context, evidence: Evidence, name: ComponentName
) -> tuple[Evidence, list[str]]:
    """The same release with today's metadata, and what has changed about it."""
    try:
        manifest = parse_manifest(evidence.manifest)
    except MalformedError:
        return evidence, []  # the report will say what is wrong with it
    view = context.view
    state = view.require(name)
    entry = state.releases.get(str(manifest.version))
    if entry is None:
        raise ForgeError("not-found", f"the registry has no {manifest} any more")
    remarks = ["asked the registry just now"]
    if entry.yanked is not None:
        remarks.append(f"yanked by its publisher: {clean(entry.yanked)}")
    if entry.deprecated is not None:
        remarks.append(f"deprecated by its publisher: {clean(str(entry.deprecated))}")
    newest = max((e.version for e in state.releases.values() if e.yanked is None), default=None)
    if newest is not None and newest > manifest.version:
        remarks.append(f"a newer version is there: {newest}")
    return view.evidence(name, entry, reviews=True), remarks


def ages(context: Context, evidence: Evidence, trusted: str) -> list[str]:
    """How old this machine's view is: of the registry, and of what is withheld."""
    known = [status_of_root(context, trusted)]
    with suppress(MalformedError):  # the report will say what is wrong with it
        known.append(None if evidence.status is None else status_of(evidence.status))
    heard = [status for status in known if status is not None]
    newest = max(heard, key=lambda status: status.at, default=None)
    remark = view_remark(context, newest)
    return [_age(context, evidence), *([] if remark is None else [remark])]


def _age(context: Context, evidence: Evidence) -> str:
    how = "leaving --offline out" if context.offline else "--online"
    if evidence.refreshed_at is None:
        return "no network used; it is not known when the registry was last asked"
    age = max(context.now - evidence.refreshed_at, timedelta())
    if age < timedelta(minutes=2):
        text = "moments ago"
    elif age < timedelta(hours=2):
        text = f"{age.seconds // 60} minutes ago"
    elif age < timedelta(days=2):
        text = f"{age // timedelta(hours=1)} hours ago"
    else:
        text = f"{age.days} days ago"
    return f"no network used; the registry was last asked {text} ({how} asks it now)"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
