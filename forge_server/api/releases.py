"""``/roles``, ``/releases`` and ``/blobs``: everything that publishing needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flask import Blueprint, Response, request

from signing.dsse import decode_base64
from signing.encoding import MAX_INTEGER, Fields
from storage import BlobMismatchError

from ..errors import RegistryError
from ..services.releases import OfferText
from ..services.roles import MAX_ROLES
from .bodies import content_length, interrupted, upload_stream
from .described import TOKEN, Parameter, asked, body_limit, described, request_body
from .requests import answer, authenticated, caller, registry
from .shapes import (
    ANY,
    COMPONENT,
    COUNT,
    DIGEST,
    INSTANT,
    TEXT,
    VERSION,
    ListOf,
    MapOf,
    Nullable,
    Record,
    Text,
)

_MOST_FILES: Final = 100
_SIGNED: Final = Text(max_chars=MAX_INTEGER, says="signed text, as it is")
_ROLES: Final = MapOf(_SIGNED, says="role metadata by role, each the text that was signed")
OFFER: Final = Record(
    "Offer",
    {
        "manifest": _SIGNED,
        "bundle": _SIGNED,
        "roles": _ROLES,
        "files": MapOf(
            Text(max_chars=MAX_INTEGER, says="base64"), keys=DIGEST, most=_MOST_FILES,
            says="small files of the release that come along, by digest",
        ),
    },
    optional=frozenset({"files"}),
)  # fmt: skip
_RECEIPT: Final = Record(
    "Receipt",
    {
        "component": COMPONENT,
        "version": VERSION,
        "manifest_sha256": DIGEST,
        "role": TEXT,
        "role_version": COUNT,
        "snapshot_version": COUNT,
        "published_at": INSTANT,
    },
)
_MISSING: Final = Record("MissingBlob", {"sha256": DIGEST, "size": Nullable(COUNT)})
_OFFERED: Final = Record(
    "Offered",
    {
        "state": Text(choices=("missing", "checking", "published")),
        "missing": ListOf(_MISSING),
        "receipt": _RECEIPT,
        "taken": ListOf(DIGEST, says="files that came along and were new"),
    },
    optional=frozenset({"missing", "receipt", "taken"}),
)
_STORED: Final = Record("StoredBlob", {"sha256": DIGEST, "size": COUNT})
_FOR: Final = Parameter(shape=COMPONENT, says="the component it is for", required=True)
_OF_PUBLISHERS: Final = (
    "component-not-found", "not-a-member", "organisation-not-found", "organisation-pending",
    "organisation-refused", "role-too-low",
)  # fmt: skip
_OF_ROLES: Final = (
    "digest-mismatch", "length-mismatch", "name-look-alike", "name-taken", "own-release",
    "release-not-found", "releases-need-offer", "review-lapsed", "role-missing", "role-not-found",
    "role-version", "statement-missing", "verification-failed", "version-taken",
    "witnesses-missing",
)  # fmt: skip


def add_routes(api: Blueprint) -> None:
    api.get("/roles/<role>")(show_role)
    api.post("/roles")(accept_roles)
    api.post("/releases")(offer_release)
    api.post("/signatures")(resign_releases)
    api.put("/blobs/<digest>")(put_blob)
    api.route("/blobs/<digest>", methods=["HEAD"])(head_blob)


@described(
    "role.show", "The role's current bytes, as signed.",
    answers={200: Record("SignedRole", {"signatures": ListOf(MapOf(TEXT)), "signed": MapOf(ANY)})},
    refusals=("role-not-found",),
)  # fmt: skip
def show_role(role: str) -> Response:
    response = Response(registry().roles.current(role), content_type="application/json")
    response.headers["Cache-Control"] = "no-cache"
    return response


@described(
    "role.accept", "Takes signed roles, which prove themselves by their signatures. All or none.",
    more="`targets` are the statements that a reviewer body's role newly lists: path to envelope. "
    "`root` and `targets` are taken too, which must leave everything below them verifiable; "
    "`status` too, which must be true of this registry.",
    body=Record(
        "NewRoles",
        {
            "roles": replace(_ROLES, least=1, most=MAX_ROLES),
            "targets": MapOf(_SIGNED, says="statements by path"),
        },
        optional=frozenset({"targets"}),
    ),
    limit="max_roles_bytes",
    answers={
        200: Record(
            "AcceptedRoles",
            {"accepted": MapOf(COUNT, says="versions by role"), "snapshot": COUNT},
        )
    },
    refusals=("too-many-failures", *_OF_ROLES, *_OF_PUBLISHERS),
)  # fmt: skip
def accept_roles() -> Response:
    registry().throttle.check(request.remote_addr, registry().clock())
    body = request_body()
    accepted = registry().roles.accept(
        caller(), _encoded(body["roles"]), _encoded(body.get("targets", {}))
    )
    registry().index.follow()
    return answer({"accepted": dict(accepted.roles), "snapshot": accepted.snapshot})


@described(
    "release.publish", "Offers a release; when all its files are here, publishes it.",
    more="200 with `missing` digests, or `published` before; 202 `checking`: files are being "
    "compared with their chunk lists, offer it again; 201 with the `receipt`.",
    caller=TOKEN, scopes=("publish",), body=OFFER, limit="max_offer_bytes",
    answers={200: _OFFERED, 201: _OFFERED, 202: _OFFERED},
    refusals=(
        "blob-not-found", "digest-mismatch", "distribution-taken", "length-mismatch",
        "metadata-mismatch", "quota-exceeded", "taken-down", "unsafe-format", "version-taken",
        "withheld", *_OF_ROLES, *_OF_PUBLISHERS,
    ),
)  # fmt: skip
def offer_release() -> Response:
    who = authenticated()
    result = registry().releases.offer(who, offer_of(request_body()))
    if result.receipt is None and not result.missing:
        return answer({"state": "checking"}, 202)
    if result.receipt is None:
        missing = [{"sha256": sha256, "size": size} for sha256, size in result.missing.items()]
        return answer({"state": "missing", "missing": missing, "taken": list(result.taken)})
    registry().index.follow()
    document = {
        "state": "published",
        "receipt": _RECEIPT.of(result.receipt),
        "taken": list(result.taken),
    }
    return answer(document, 201 if result.created else 200)


def offer_of(body: Mapping[str, Any]) -> OfferText:
    """The offer of a release as `OFFER` reads it."""
    files = Fields(body.get("files", {}), "request: files")
    return OfferText(
        manifest=body["manifest"].encode(),
        bundle=body["bundle"].encode(),
        roles=_encoded(body["roles"]),
        files={digest: decode_base64(files, digest) for digest in files.value},
    )


@described(
    "release.resign", "Puts bundles by other keys, over the same files, in the place of the ones "
    "that are there.",
    caller=TOKEN, scopes=("publish",), limit="max_offer_bytes",
    body=Record(
        "NewSignatures",
        {
            "component": COMPONENT,
            "role": _SIGNED,
            "bundles": MapOf(_SIGNED, says="bundles by version"),
        },
    ),
    answers={
        200: Record(
            "Resigned",
            {
                "component": COMPONENT,
                "versions": ListOf(VERSION),
                "role_version": COUNT,
                "snapshot": COUNT,
            },
        )
    },
    refusals=("blob-not-found", "metadata-mismatch", *_OF_ROLES, *_OF_PUBLISHERS),
)  # fmt: skip
def resign_releases() -> Response:
    body = request_body()
    bundles = _encoded(body["bundles"])
    done = registry().signatures.resign(
        authenticated(), body["component"], body["role"].encode(), bundles
    )
    return answer(
        {
            "component": str(body["component"]),
            "versions": list(bundles),
            "role_version": done.role_version,
            "snapshot": done.snapshot,
        }
    )


@described(
    "blob.store", "Stores a file of a release that is to be published.",
    more="200 if it is here already; with `chunks`, a list that is here already, it is compared "
    "with it.",
    caller=TOKEN, scopes=("publish",), raw=True, limit="max_blob_bytes",
    query={
        "component": _FOR,
        "chunks": Parameter(shape=DIGEST, says="the file's chunk list"),
    },
    answers={200: _STORED, 201: _STORED},
    refusals=(
        "blob-not-found", "digest-mismatch", "length-mismatch", "quota-exceeded", "taken-down",
        "verification-failed", "withheld", *_OF_PUBLISHERS,
    ),
)  # fmt: skip
def put_blob(digest: str) -> Response:
    who = authenticated()
    component, chunks = asked("component"), asked("chunks")
    size = content_length(body_limit())
    stream = upload_stream()
    try:
        # Who may not publish is refused before the body is touched: it must not cost an upload.
        created = registry().incoming.receive(who, component, digest, stream, size, chunks)
    except BlobMismatchError:
        if stream.count < size:
            raise interrupted(size, stream.count) from None
        raise
    except (TimeoutError, ConnectionError):
        raise interrupted(size, stream.count) from None
    return answer({"sha256": digest, "size": size}, 201 if created else 200)


@described(
    "blob.show", "Whether a file is here, and how long it is.",
    caller=TOKEN, scopes=("publish",), query={"component": _FOR}, answers={200: None},
    refusals=("blob-not-found", *_OF_PUBLISHERS),
)  # fmt: skip
def head_blob(digest: str) -> Response:
    size = registry().incoming.size_of(authenticated(), asked("component"), digest)
    if size is None:
        raise RegistryError("blob-not-found", f"blob {digest} is not here")
    response = answer({})
    response.headers["Content-Length"] = str(size)
    return response


def _encoded(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}
