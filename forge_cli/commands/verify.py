"""`forge verify`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..errors import OK, POLICY, VERIFICATION, UsageError
from ..output import Output, clean
from ._command import FILE, forge_command, parse_option
from ._permission import explain_option, judgement_json
from ._transfer import download_options, offline_option

if TYPE_CHECKING:
    from signing.report import Report

    from ..flows.verify import Verified

_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+\s*([<>=!~].*)?")
_MARK = {"passed": "✓", "failed": "✗", "not-checked": "-"}
_COLOR = {"passed": "green", "failed": "red", "not-checked": "yellow"}


@forge_command("verify")
@click.argument("target", metavar="ORG/NAME[==VERSION]|FOLDER")
@click.option("--bundle", type=FILE, help="With --key: verify loose files, without a registry.")
@click.option("--key", type=FILE, help="The publisher's public key (PEM).")
@click.option("--manifest", type=FILE, help="The release's manifest.json, if you have it.")
@click.option("--online", is_flag=True, help="Ask the registry whether anything has changed.")
@click.option(
    "--metadata-only",
    is_flag=True,
    help="Leave the files out: check only what is signed about the release in the registry.",
)
@click.option("--fingerprint", metavar="SHA256", help="Trust this root, for this run.")
@click.option(
    "--repair", is_flag=True, help="Fetch what is damaged or missing of an installed folder."
)
@explain_option
@download_options
@offline_option
def command(
    context: Context,
    target: str,
    bundle: Path | None,
    key: Path | None,
    manifest: Path | None,
    online: bool,
    metadata_only: bool,
    fingerprint: str | None,
    repair: bool,
    explain: bool,
) -> int:
    """Verify a release, an installed or exported folder, or loose files.

    \b
    forge verify minds-lab/my-model==1.0.0               in the registry, with its files
    forge verify minds-lab/my-model --offline            as it is kept in the cache
    forge verify out/forge_components/minds-lab/my-model  installed; needs no network
    forge verify out/forge_components/… --repair          fetches what is damaged
    forge verify third-party                              exported; needs no network
    forge verify FOLDER --bundle FILE --key FILE          no registry, no network

    Each numbered check says what it establishes and what it does not. Exit code 3 when any
    of them fails, 7 when all that is wrong is that the release is quarantined or revoked, or
    that a pinned policy does not permit it.
    """
    from signing.digests import parse_fingerprint
    from signing.names import Requirement

    from ..flows import verify as flow

    if (bundle is None) != (key is None):
        raise UsageError("--bundle and --key go together")
    if fingerprint is not None:
        fingerprint = parse_option("--fingerprint", parse_fingerprint, fingerprint)
    # An option that changes nothing must not look as if it had been checked.
    named = _NAME.fullmatch(target) is not None and not _is_installed(target)
    loose = bundle is not None and key is not None
    _refuse(manifest is not None and not loose, "--manifest", "--bundle and --key")
    _refuse(metadata_only and (loose or not named), "--metadata-only", "ORG/NAME")
    if online and context.offline:
        raise UsageError("--online asks the registry, and --offline nobody: leave one of them out")
    _refuse(online and loose, "--online", "what came from a registry")
    _refuse(fingerprint is not None and loose, "--fingerprint", "what came from a registry")
    folder = Path(target)
    exported = (folder / "evidence.json").is_file() and (folder / "files").is_dir()
    _refuse(repair and (loose or named or exported or online), "--repair", "an installed folder")
    if repair:
        return _repair(context, folder, fingerprint)
    if bundle is not None and key is not None:
        done = flow.verify_loose(folder, bundle, key, manifest)
    elif named:
        requirement = parse_option("ORG/NAME", Requirement.parse, target)
        done = flow.verify_registry(
            context, requirement, download=not metadata_only, fingerprint=fingerprint
        )
    elif exported:
        done = flow.verify_exported(context, folder, online=online, fingerprint=fingerprint)
    else:
        done = flow.verify_installed(context, folder, online=online, fingerprint=fingerprint)
    return _show(context, done, explained=explain)


def _repair(context: Context, folder: Path, fingerprint: str | None) -> int:
    from ..flows.repair import repair_installed
    from ..output import count_text, size_text

    done = repair_installed(context, folder, fingerprint=fingerprint)
    repaired = {
        "repaired": list(done.files),
        "received_bytes": done.fetched.received,
        "reused_bytes": done.fetched.reused,
    }
    for path in done.files:
        context.out.say(f"repaired {clean(path)}")
    came = f"{size_text(done.fetched.received)} fetched, {size_text(done.fetched.reused)} kept"
    context.out.done(
        f"{count_text(len(done.files), 'file')} put right: {came}" if done.files else "undamaged"
    )
    return _show(context, done.verified, more=repaired)


def _refuse(wrong: bool, option: str, only_with: str) -> None:
    if wrong:
        raise UsageError(
            f"{option} goes with {only_with} only", hint="leave it out, or see forge verify --help"
        )


def _is_installed(target: str) -> bool:
    # Only a path into a forge_components folder is meant by a name with one slash in it.
    return (
        Path(target).absolute().parent.parent.name == "forge_components" and Path(target).is_dir()
    )


def _show_permission(context: Context, done: Verified, *, explained: bool) -> bool:
    """Whether the pinned policies permit it; shows what they say where somebody must know."""
    out, permission = context.out, done.permission
    if permission is None:
        if explained:
            out.say("no policy applies to it")
        return True
    if explained or not permission.permits:
        for line in permission.lines():
            out.answer(clean(line))
    for pinned, rule in permission.overridden:
        out.warn(f"{rule.name} of {pinned} is overridden: {clean(rule.overridden)}")
    if not permission.permits:
        out.answer(f"NOT PERMITTED, though verified: {done.subject}")
    return permission.permits


def _show(
    context: Context,
    done: Verified,
    *,
    explained: bool = False,
    more: Mapping[str, object] = MappingProxyType({}),
) -> int:
    from signing.errors import WithheldError

    out, report = context.out, done.report
    failure = report.first_failure
    release = report.release if report.ok else None
    out.result(
        {
            "subject": done.subject,
            "ok": report.ok,
            "component": str(release.component) if release else None,
            "version": str(release.version) if release else None,
            "manifest_sha256": release.digest if release else None,
            "remarks": list(done.remarks),
            "checks": [
                {
                    "number": check.number,
                    "title": check.title,
                    "status": check.status,
                    "detail": check.detail,
                    "establishes": check.establishes,
                    "does_not_establish": check.does_not_establish,
                    "code": check.error.code if check.error else None,
                }
                for check in report.checks
            ],
            "permission": None if done.permission is None else judgement_json(done.permission),
            **more,
        }
    )
    if not out.quiet:
        _show_checks(out, report)
    for remark in done.remarks:
        out.say(f"note: {remark}")
    if context.asked_registry and failure is None:
        from ..flows.renew import warn_expiring

        warn_expiring(context)
    if failure is None and not _show_permission(context, done, explained=explained):
        return POLICY
    if failure is None:
        what = f"{release.component} {release.version}" if release else done.subject
        out.answer(f"verified: {what}")
        return OK
    out.answer(f"FAILED at check {failure.number} ({failure.title}): {done.subject}")
    if out.quiet:
        out.answer(f"  {clean(failure.detail)}")
    withheld = isinstance(failure.error, WithheldError)
    for hint in (failure.error.hint if failure.error else None, None if withheld else done.repair):
        if hint:
            out.say(f"{out.paint('hint', 'cyan')}: {hint}")
    return POLICY if withheld else VERIFICATION


def _show_checks(out: Output, report: Report) -> None:
    """Every check with what it establishes; long lines hang under their own column."""
    width = max(len(check.title) for check in report.checks)
    for check in report.checks:
        mark = out.paint(_MARK[check.status], _COLOR[check.status])
        out.hanging(f"{check.number:2} {mark} {check.title:{width}}  ", clean(check.detail))
        if check.status == "passed":
            out.hanging("     establishes    ", check.establishes)
            out.hanging("     does not show  ", check.does_not_establish)
