"""`forge cache`."""

from __future__ import annotations

import click

from ..context import Context
from ..output import count_text, size_text
from ._command import forge_command


@click.group("cache")
def command() -> None:
    """Show and prune the cache."""


@forge_command("path", registry=False)
def path(context: Context) -> None:
    """Print where the cache is."""
    root, usage = context.places.cache, context.cache.usage()
    context.out.result(
        {
            "path": str(root),
            "blobs": usage.blobs,
            "blob_bytes": usage.blob_bytes,
            "partial": usage.partial,
            "partial_bytes": usage.partial_bytes,
        }
    )
    context.out.answer(str(root))
    context.out.say(
        f"  {count_text(usage.blobs, 'file')}, {size_text(usage.blob_bytes)}; "
        f"{count_text(usage.partial, 'unfinished download')}"
    )


@forge_command("prune", registry=False)
@click.option("--all", "everything", is_flag=True, help="Also what installed folders share.")
def prune(context: Context, everything: bool) -> None:
    """Remove unfinished downloads and files that no installed folder shares."""
    gone = context.cache.prune(everything=everything)
    freed = gone.blob_bytes + gone.partial_bytes
    context.out.result({"files": gone.blobs + gone.partial, "bytes": freed})
    context.out.done(f"removed {count_text(gone.blobs + gone.partial, 'file')}, {size_text(freed)}")


for _each in (path, prune):
    command.add_command(_each)
