"""What `forge audit` and `forge status` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..context import Context
from ..errors import OK, POLICY
from ..files import write_private
from ..output import count_text

if TYPE_CHECKING:
    from ..flows.audit import Audit, Issue

_MARK = {"error": "✗", "warning": "!", "note": "-"}
_COLOR = {"error": "red", "warning": "yellow", "note": "dim"}


def audit_json(audit: Audit) -> dict[str, object]:
    return {
        "path": str(audit.path),
        "asked": audit.asked,
        "known_at": None if audit.known_at is None else audit.known_at.isoformat(),
        "policies": list(audit.policies),
        "permits": audit.permits,
        "counts": {level: audit.count(level) for level in _MARK},
        "issues": [issue.to_json() for issue in audit.issues],
        "releases": [
            {
                "component": str(each.release.component),
                "version": str(each.release.version),
                "manifest_sha256": each.release.manifest_sha256,
                "issues": [issue.to_json() for issue in each.issues],
            }
            for each in audit.releases
        ],
    }


def exit_code(audits: Sequence[Audit]) -> int:
    """7 where something must be stopped, or is not permitted."""
    return OK if all(audit.permits for audit in audits) else POLICY


def write_sarif(path: Path, audits: Sequence[Audit]) -> None:
    from ..flows.sarif import sarif_of

    data = json.dumps(sarif_of(audits, __version__), indent=2, ensure_ascii=False)
    write_private(path, data.encode() + b"\n", mode=0o644)


def show_audit(context: Context, audit: Audit, *, all_releases: bool) -> None:
    """The issues of each release; those without any only with ``all_releases``."""
    for issue in audit.issues:
        _show_issue(context, issue)
    for each in audit.releases:
        if each.issues:
            context.out.answer(str(each.release))
            for issue in each.issues:
                _show_issue(context, issue)
        elif all_releases:
            context.out.answer(f"{each.release}  nothing against it")


def summary(audit: Audit) -> str:
    """``3 components: 1 error, 2 warnings``."""
    counts = [count_text(audit.count(level), level) for level in _MARK if audit.count(level)]
    found = ", ".join(counts) or f"nothing against {'it' if len(audit.releases) == 1 else 'them'}"
    return f"{count_text(len(audit.releases), 'component')}: {found}"


def say_age(context: Context, audit: Audit) -> None:
    """What the audit rests on."""
    from signing.ages import ago

    if audit.asked:
        context.out.say("asked the registry just now; no file was looked at (forge verify does)")
    elif audit.known_at is None:
        context.out.say("the registry was not asked, and nothing that may change is known here")
    else:
        age = ago(context.now - audit.known_at)
        context.out.say(
            f"the registry was not asked; findings and reviews as of "
            f"{audit.known_at:%Y-%m-%d %H:%M} UTC, {age} ago"
        )


def _show_issue(context: Context, issue: Issue) -> None:
    out = context.out
    mark = out.paint(_MARK[issue.level], _COLOR[issue.level])
    word = " (the registry's word, unsigned)" if issue.unsigned and issue.rule is None else ""
    out.answer(f"  {mark} {issue.code}: {issue.text}{word}")
    if issue.hint:
        for line in issue.hint.splitlines():
            out.answer(f"      {line}")
