"""`forge review diff`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..context import Context
from ..output import Output, clean, size_text
from ._command import FILE, forge_command
from ._transfer import download_options

if TYPE_CHECKING:
    from ..compare.document import Remark
    from ..flows.compare import Compared

_MARKS = {"danger": "!!", "attention": "! ", "notice": "- "}
_COLORS = {"danger": "red", "attention": "yellow", "notice": "dim"}


@forge_command("diff")
@click.argument("target", metavar="ORG/NAME|FOLDER")
@click.argument("versions", nargs=-1, metavar="[OLD] NEW")
@click.option(
    "--out", type=FILE, metavar="FILE", help="Write the document that the digest is of here."
)
@click.option(
    "--values/--no-values",
    default=True,
    help="Measure how far the values of changed tensors moved, or only say which changed.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Show all lines, not the first of each list."
)
@download_options
def diff(
    context: Context,
    target: str,
    versions: tuple[str, ...],
    out: Path | None,
    values: bool,
    everything: bool,
) -> None:
    """Show what changed between releases, the most dangerous first.

    \b
    forge review diff minds-lab/my-model 1.1.0         against the last approved one, or the last
    forge review diff minds-lab/my-model 1.0.0 1.1.0   these two
    forge review diff minds-lab/my-model 1.0.0 ./work  against a folder of this machine
    forge review diff old-folder new-folder            nothing is asked of a registry

    Files, tensors and how far their values moved, tokens, configuration, imports, requirements,
    licence, risk class, and the sections of cards. Nothing is executed or installed, and of large
    files only what changed is fetched. The last line is the digest of the whole document: the same
    on every machine for the same two releases.
    """
    from ..flows.compare import compare_named

    done = compare_named(context, target, versions, measured=values)
    if out is not None:
        _write(out, done)
    _show(context, done, most=None if everything else 12)


def _write(path: Path, done: Compared) -> None:
    from signing.encoding import canonical_json

    path.write_bytes(canonical_json(done.document))


def _show(context: Context, done: Compared, most: int | None) -> None:
    from ..compare.document import LEVELS
    from ._review_diff_lines import lines_of

    out, comparison = context.out, done.comparison
    out.result(
        {
            "sha256": comparison.sha256,
            "baseline": done.baseline,
            "in_parts": list(done.in_parts),
            "received_bytes": done.received,
            "document": comparison.document,
        }
    )
    why = f"  ({done.baseline})" if done.baseline else ""
    out.answer(f"{clean(done.old)} → {clean(done.new)}{why}")
    for level in LEVELS:
        _show_remarks(out, [one for one in comparison.remarks if one.level == level], most)
    for line in lines_of(comparison.document, most):
        out.answer(line)
    out.answer(f"sha256:{comparison.sha256}")
    for path in done.in_parts[:12]:
        out.say(f"note: {clean(path)} was read in parts, each checked by its signed list")
    if done.in_parts:
        out.say("note: `forge verify` fetches all of a release and checks the digest of the whole")
    received = f"{size_text(done.received)} fetched; " if done.received else ""
    out.done(f"compared: {received}nothing was executed")


def _show_remarks(out: Output, remarks: Sequence[Remark], most: int | None) -> None:
    """The remarks of one level; a screen of each unless all are wanted."""
    shown = remarks if most is None else remarks[: 2 * most]
    for remark in shown:
        mark = out.paint(_MARKS[remark.level], _COLORS[remark.level])
        where = "" if remark.path is None else f"{clean(remark.path)}: "
        out.hanging(f"{mark} ", f"{where}{clean(remark.text)}")
    if len(shown) < len(remarks):
        out.answer(f"   … and {len(remarks) - len(shown)} more (--all)")
