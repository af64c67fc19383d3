"""`forge list`."""

from __future__ import annotations

from pathlib import Path

from ..context import Context
from ..output import clean, size_text
from ._command import forge_command, into_option
from ._permission import overrides_json


@forge_command("list", registry=False)
@into_option
def command(context: Context, into: Path) -> None:
    """List what is installed in a folder, and whether it was touched since."""
    from ..flows.installed import Site
    from ..flows.permission import warn_overrides
    from ..flows.withheld import status_of_root
    from ..lockfile import read_lock
    from ..tree import looks_untouched

    site = Site(into)
    lock = read_lock(site.lock_path)
    put_aside = {} if lock is None else {one.manifest_sha256: one for one in lock.components}
    rows = []
    for record in site.records():
        manifest = record.manifest()
        tree = site.tree(record.component)
        expected = {entry.path: entry.size for entry in manifest.files}
        state = "missing"
        if tree.is_dir():
            state = "untouched" if looks_untouched(tree, expected) else "changed"
        status = status_of_root(context, record.fingerprint)
        withheld = None if status is None else status.find(manifest.digest)
        rows.append(
            {
                "component": str(record.component),
                "version": str(manifest.version),
                "kind": manifest.kind,
                "size": manifest.total_size,
                "state": state,
                "withheld": None if withheld is None else str(withheld),
                "registry": record.registry,
                "installed_at": record.installed_at,
                "path": str(tree),
                "overrides": overrides_json([put_aside[manifest.digest]])
                if manifest.digest in put_aside
                else [],
            }
        )
    context.out.result(rows)
    context.out.table(
        [
            [
                str(row["component"]),
                str(row["version"]),
                str(row["kind"]),
                size_text(int(str(row["size"]))),
                str(row["state"]),
                clean(row["withheld"] or ""),
            ]
            for row in rows
        ]
    )
    if not rows:
        context.out.say(f"nothing is installed in {site.components}")
    if lock is not None:
        warn_overrides(context, lock.components)
    if any(row["withheld"] for row in rows):
        context.out.warn("stop using what is quarantined or revoked")
    elif any(row["state"] != "untouched" for row in rows):
        context.out.next_step(f"forge sync --into {into}   puts changed and missing ones right")
