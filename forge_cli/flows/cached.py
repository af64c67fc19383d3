"""What the files in the cache are, as far as what is kept beside them says so."""

from __future__ import annotations

import json
from contextlib import suppress

from signing.digests import sha256_hex
from signing.errors import SigningError
from signing.evidence import Evidence
from signing.manifest import parse_manifest

from ..context import Context


def names_of_blobs(context: Context) -> dict[str, str]:
    """``{digest: what}`` of files of releases that were verified here. Nothing is proven by it."""
    found: dict[str, str] = {}
    for data in context.cache.all_evidence():
        # Somebody's bytes: what is spoilt names nothing.
        with suppress(ValueError, KeyError, TypeError, AttributeError, SigningError):
            evidence = Evidence.from_json(str(json.loads(data)["evidence"]).encode())
            manifest = parse_manifest(evidence.manifest)
            named = {manifest.digest: "manifest", sha256_hex(evidence.bundle): "signature"}
            for entry in manifest.files:
                named[entry.sha256] = entry.path
                if entry.chunks is not None:
                    named[entry.chunks] = f"chunks of {entry.path}"
            for digest, what in named.items():
                found.setdefault(digest, f"{manifest}: {what}")
    return found
