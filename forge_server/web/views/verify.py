"""Verify a file: which signed releases a digest or a signature belongs to.

A browser with script computes the digest itself and asks with it; nothing of the file is sent. One
without sends a digest in a form, or the signature that came with a release.
"""

from __future__ import annotations

import re
from typing import Final

from flask import Response, request

from signing.digests import sha256_hex

from ...api.requests import registry
from ...errors import RegistryError
from ..rendering import page

MAX_FORM_BYTES: Final = 4 * 2**20
_DIGEST: Final = re.compile(r"(?:sha-?256:)?\s*([0-9a-fA-F]{64})")
# This page alone has a script: it computes the digest of a file in the browser.
_CSP: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; script-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def verify() -> Response:
    """The form, and what is known of the digest that it was sent with."""
    text = request.args.get("sha256", "").strip()[:200]
    if not text:
        return _page()
    digest = digest_of(text)
    if digest is None:
        return _page(problem="digest", asked=text)
    return _page(asked=digest, digest=digest, found=registry().release_pages.find([digest]))


def digest_of(text: str) -> str | None:
    """The digest that somebody wrote, with or without its kind before it; None where it is none."""
    match = _DIGEST.fullmatch(text.strip())
    return None if match is None else match[1].lower()


def verify_bundle() -> Response:
    """What is known of a signature that came with a release, by its digest.

    Raises:
        RegistryError: the body is too large (``too-large``).
    """
    # Before anything of it is read: what is parsed halfway leaves a file behind.
    if (request.content_length or 0) > MAX_FORM_BYTES:
        raise RegistryError(
            "too-large",
            f"body: expected at most {MAX_FORM_BYTES} bytes, found {request.content_length}",
            limit_bytes=MAX_FORM_BYTES,
        )
    request.max_content_length = MAX_FORM_BYTES
    try:
        file = request.files.get("bundle")
        data = b"" if file is None else file.read()
    finally:
        request.close()  # the files of the form, which may lie on the disk
    if not data:
        return _page(problem="bundle")
    digest = sha256_hex(data)
    return _page(asked=digest, digest=digest, found=registry().release_pages.find([digest]))


def _page(**values: object) -> Response:
    response = page("verify.html", **values)
    response.headers["Content-Security-Policy"] = _CSP
    return response
