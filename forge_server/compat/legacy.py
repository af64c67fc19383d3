"""``/legacy/``: uploads by twine and uv publish, if the publisher has signed them.

These clients send one file at a time. Each brings the whole offer of the release that it is part
of; the registry remembers nothing but blobs, and publishes with the file that was still missing. An
offer that would be refused is refused before the file is stored.
"""

from __future__ import annotations

import hashlib
from typing import Final

from flask import Blueprint, Response, request
from werkzeug.datastructures import FileStorage

from signing.encoding import parse_json
from signing.manifest import FileEntry, Manifest, parse_manifest
from signing.signed_upload import offer_in

from ..api.bodies import content_length, take_slot
from ..api.releases import OFFER, offer_of
from ..api.requests import answer, audited, authenticated_with, registry
from ..domain.wheels import distribution_of
from ..errors import RegistryError
from ..services.callers import Caller
from ..services.releases import Answer, OfferText

_SIGN: Final = (
    "sign first: forge sign dist/*; then uv publish, or twine upload --attestations dist/*"
)
_MOST_PARTS: Final = 2000
_BLOCK_BYTES: Final = 1024 * 1024
_USER: Final = "__token__"


def blueprint() -> Blueprint:
    """A fresh blueprint with the upload."""
    legacy = Blueprint("legacy", __name__, url_prefix="/legacy")
    legacy.post("/")(upload)
    return legacy


@audited("release.publish")
def upload() -> Response:
    who = _authenticated()  # before a byte of the file is read
    limit = registry().settings.max_offer_bytes
    content_length(registry().settings.max_blob_bytes)
    take_slot()
    request.max_form_memory_size = 2 * limit
    request.max_form_parts = _MOST_PARTS
    content = _content()
    sha256 = _digest_of(content)
    if _is_published(sha256, content.filename or ""):
        return answer({"state": "published", "file": content.filename})
    text = _offer(content, limit)
    manifest = parse_manifest(text.manifest)
    entry = _entry(manifest, content, sha256)
    result = registry().releases.offer(who, text)
    if result.receipt is None and sha256 in result.missing:
        stream = content.stream
        registry().incoming.receive(who, manifest.component, sha256, stream, entry.size)
        result = registry().releases.offer(who, text)
    return _answer(manifest, result)


def _authenticated() -> Caller:
    """The caller, known by ``__token__`` and an access token (RFC 7617)."""
    given = request.authorization
    if given is None or given.type != "basic" or given.username != _USER or not given.password:
        raise RegistryError(
            "not-authenticated",
            f"expected the user {_USER} and an access token as password, found "
            f"{'nothing' if given is None else 'another'}",
            "make a token: forge token create NAME --action publish",
        )
    return authenticated_with(given.password)


def _content() -> FileStorage:
    """The file of the form.

    Raises:
        RegistryError: no upload of a distribution, or no form.
    """
    if request.mimetype != "multipart/form-data":
        raise RegistryError(
            "unsupported-media-type",
            f"Content-Type: expected multipart/form-data, found {request.mimetype!r:.60}",
        )
    action = request.form.get(":action")
    content = request.files.get("content")
    if action != "file_upload" or content is None:
        raise RegistryError(
            "malformed", f"request: expected :action file_upload and content, found {action!r:.60}"
        )
    if distribution_of(content.filename or "") is None or "/" in (content.filename or ""):
        raise RegistryError(
            "malformed",
            f"request: content: expected a wheel or an sdist (.tar.gz), found "
            f"{content.filename!r:.200}",
        )
    return content


def _digest_of(content: FileStorage) -> str:
    hasher = hashlib.sha256()
    while block := content.stream.read(_BLOCK_BYTES):
        hasher.update(block)
    content.stream.seek(0)
    found, said = hasher.hexdigest(), request.form.get("sha256_digest")
    if said is not None and said.lower() != found:
        raise RegistryError(
            "digest-mismatch", f"{content.filename!r:.200}: expected sha256 {said!r:.80}, "
            f"found {found}",
        )  # fmt: skip
    return found


def _is_published(sha256: str, filename: str) -> bool:
    """Whether the file is there already: uv sends everything again."""
    try:
        registry().python_index.require_file(sha256, filename)
    except RegistryError:
        return False
    return True


def _offer(content: FileStorage, limit: int) -> OfferText:
    """The publisher's offer that came with the file.

    Raises:
        RegistryError: none did (``unsigned-upload``).
    """
    attestations = request.form.get("attestations")
    found = None
    if attestations:
        found = offer_in(attestations.encode(), "request: attestations", max_bytes=2 * limit)
    if found is None:
        raise RegistryError(
            "unsigned-upload",
            f"{content.filename!r:.200}: expected the publisher's signature in attestations, "
            f"found {'another kind' if attestations else 'none'}",
            _SIGN,
        )
    where = "request: attestations: offer"
    return offer_of(OFFER.read(parse_json(found, where, max_bytes=limit), where))


def _entry(manifest: Manifest, content: FileStorage, sha256: str) -> FileEntry:
    """The file's place in the release that was signed."""
    for entry in manifest.files:
        if entry.path.rpartition("/")[2] == content.filename:
            if entry.sha256 != sha256:
                raise RegistryError(
                    "digest-mismatch",
                    f"{content.filename!r:.200}: expected sha256 {entry.sha256}, which was signed, "
                    f"found {sha256}",
                    "it was built again since: sign again, forge sign dist/*",
                )
            return entry
    raise RegistryError(
        "unsigned-upload",
        f"{content.filename!r:.200}: is no file of {manifest}, which was signed",
        _SIGN,
    )


def _answer(manifest: Manifest, result: Answer) -> Response:
    if result.receipt is not None:
        registry().index.follow()
        return answer({"state": "published", "release": str(manifest)})
    names = {entry.sha256: entry.path for entry in manifest.files}
    missing = sorted(names.get(digest, digest) for digest in result.missing)
    return answer({"state": "waiting", "release": str(manifest), "missing": missing})
