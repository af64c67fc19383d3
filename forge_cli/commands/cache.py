"""`forge cache`."""

from __future__ import annotations

import click

from ..context import Context
from ..errors import OK, VERIFICATION
from ..output import clean, count_text, size_text
from ._command import forge_command


@click.group("cache")
def command() -> None:
    """Show, verify and prune the cache."""


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


@forge_command("list", registry=False)
def list_(context: Context) -> None:
    """List what is in the cache, the largest files first.

    Unfinished downloads as well, and what each is of, where that is known.
    """
    from ..flows.cached import names_of_blobs

    blobs = sorted(context.cache.blobs(), key=lambda blob: (-blob[1], blob[0]))
    unfinished = list(context.cache.unfinished())
    out, names = context.out, names_of_blobs(context)
    out.result(
        {
            "blobs": [
                {
                    "sha256": digest,
                    "size": size,
                    "installed": installed,
                    "of": names.get(digest),
                }
                for digest, size, installed in blobs
            ],
            "unfinished": [
                {"sha256": digest, "size": size, "of": names.get(digest)}
                for digest, size in unfinished
            ],
        }
    )
    rows = [
        [digest, size_text(size), "installed" if installed else "-", clean(names.get(digest, ""))]
        for digest, size, installed in blobs
    ]
    rows += [
        [digest, size_text(size), "unfinished", clean(names.get(digest, ""))]
        for digest, size in unfinished
    ]
    out.table(rows)
    total = sum(size for _, size, _ in blobs)
    out.say(f"{count_text(len(blobs), 'file')}, {size_text(total)} in {context.places.cache}")


@forge_command("verify", registry=False)
def verify(context: Context) -> int:
    """Read every file in the cache and remove the spoilt ones.

    Exit code 3 if any was.
    """
    spoilt = []
    blobs = list(context.cache.blobs())
    with context.out.progress("reading", sum(size for _, size, _ in blobs)) as bar:
        for digest, size, _ in blobs:
            if not context.cache.verify(digest, size):
                context.cache.drop(digest)
                spoilt.append(digest)
            bar.advance(size)
    context.out.result({"files": len(blobs), "removed": spoilt})
    for digest in spoilt:
        context.out.answer(f"removed {digest}: its bytes had changed")
    if not spoilt:
        context.out.done(f"{count_text(len(blobs), 'file')}, each as it was fetched")
        return OK
    context.out.say("what is installed may share them: forge verify FOLDER --repair")
    return VERIFICATION


@forge_command("prune", registry=False)
@click.option("--all", "everything", is_flag=True, help="Also what installed folders share.")
def prune(context: Context, everything: bool) -> None:
    """Remove unfinished downloads and files that nothing shares.

    A file stays as long as an installed folder shares it.
    """
    gone = context.cache.prune(everything=everything)
    freed = gone.blob_bytes + gone.partial_bytes
    context.out.result({"files": gone.blobs + gone.partial, "bytes": freed})
    context.out.done(f"removed {count_text(gone.blobs + gone.partial, 'file')}, {size_text(freed)}")


for _each in (path, list_, verify, prune):
    command.add_command(_each)
