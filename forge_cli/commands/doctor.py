"""`forge doctor`."""

from __future__ import annotations

from ..context import Context
from ..output import clean
from ._command import forge_command

_MARK = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✗", "red"),
    "skipped": ("-", "dim"),
}


@forge_command("doctor")
def command(context: Context) -> int:
    """Check this machine and the registry, and say what to do about what is wrong."""
    from ..flows.doctor import examine

    out = context.out
    findings = []
    for finding in examine(context):
        findings.append(finding)
        mark, color = _MARK[finding.status]
        lines = clean(finding.detail)
        out.answer(f"{out.paint(mark, color)} {finding.title:13} {lines}")
        if finding.hint:
            out.answer(f"{'':16}{clean(finding.hint)}")
    out.result(
        [
            {"check": f.title, "status": f.status, "detail": f.detail, "hint": f.hint}
            for f in findings
        ]
    )
    return max((finding.exit_code for finding in findings), default=0)
