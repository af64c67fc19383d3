"""`forge sign`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ._command import FILE, FOLDER, forge_command, key_option


@forge_command("sign", signs=True)
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option(
    "--folder",
    type=FOLDER,
    default=Path(),
    metavar="FOLDER",
    help="Where forge.toml and its card are (here by default).",
)
@key_option
def command(context: Context, files: tuple[Path, ...], folder: Path, key: str | None) -> None:
    """Sign wheels and sdists for twine or uv publish.

    Beside each of FILES (dist/*) a file FILE.publish.attestation is written, which uv publish
    sends by itself and twine with --attestations. The release is published when the last one has
    come. It has to be signed again when something else of the component is published meanwhile.
    """
    from ..flows.sign_dist import sign_dist
    from ..flows.signers import short

    done = sign_dist(context, files, folder, key=key)
    out, name = context.out, f"{done.manifest.component}=={done.manifest.version}"
    out.result(
        {
            "component": str(done.manifest.component),
            "version": str(done.manifest.version),
            "manifest_sha256": done.manifest.digest,
            "signed_by": done.signed_by.keyid if done.signed_by else None,
            "written": [str(path) for path in done.written],
        }
    )
    out.answer(f"{name} sha256:{done.manifest.digest}")
    if done.signed_by is None:
        out.done(f"{name} is published already, with this very content")
        return
    out.done(f"signed {name} with key {short(done.signed_by)}")
    for path in done.written:
        out.say(f"  wrote {path}")
    url = f"{context.url}/legacy/"
    out.next_step(
        f"uv publish --publish-url {url}",
        f"twine upload --attestations --repository-url {url} dist/*",
    )
