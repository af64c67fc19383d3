"""``/uploads``: a blob in parts, resumable, with pieces of what is public already."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, Response, request

from signing.errors import MalformedError
from storage import BlobMismatchError, Part, Segment

from ..errors import RegistryError
from ..services.uploads import ADDRESS_SECONDS, Blob
from .bodies import content_length, interrupted, upload_stream
from .described import TOKEN, Parameter, asked, body_limit, described, request_body
from .requests import answer, authenticated, registry
from .shapes import (
    BOOLEAN,
    COMPONENT,
    COUNT,
    DIGEST,
    INTEGER,
    TEXT,
    Integer,
    ListOf,
    MapOf,
    Record,
    Row,
    Shape,
    Text,
)

_MAX_RECIPE_BYTES = 8 << 20
_MAX_ADDRESSES = 100
_FOR: Final = {
    "component": Parameter(shape=COMPONENT, says="the component it is for", required=True)
}
_OF_PUBLISHERS: Final = (
    "component-not-found", "not-a-member", "organisation-not-found", "organisation-pending",
    "organisation-refused", "role-too-low", "upload-not-found",
)  # fmt: skip
_BLOB: Final[Mapping[str, Shape]] = {
    "component": COMPONENT,
    "sha256": DIGEST,
    "size": COUNT,
    "chunks": DIGEST,
}
_STATE: Final = Record("UploadState", {"state": Text(choices=("stored", "checking", "gone"))})
_LIMITS: Final = Record(
    "UploadLimits",
    {"min_bytes": COUNT, "max_bytes": COUNT, "max_segments": COUNT, "direct": BOOLEAN},
)
_ROOM: Final = Record("Room", {"size": COUNT})
_BEGUN: Final = Record(
    "Upload",
    {"upload": TEXT, "state": Text(choices=("open", "stored")), "parts": ListOf(COUNT)},
)
_ADDRESSES: Final = Record(
    "Addresses",
    {
        "addresses": ListOf(
            Record("Address", {"number": COUNT, "url": TEXT, "headers": MapOf(TEXT)})
        ),
        "seconds": INTEGER,
    },
)
_NEW_UPLOAD: Final = Record(
    "NewUpload",
    {
        **_BLOB,
        "sources": ListOf(DIGEST, most=1000, says="published blobs that segments are copied from"),
        "segments": ListOf(
            Row("[length] or [length, source, start]", ((COUNT,), (COUNT, COUNT, COUNT))),
            says="[length] is sent; [length, number of its source, start in it] is copied",
        ),
    },
    optional=frozenset({"chunks", "sources"}),
)
_PART_NUMBER: Final = Integer(low=0, high=999_999_999)
_NEW_ADDRESSES: Final = Record(
    "NewAddresses",
    {
        "component": COMPONENT,
        "parts": ListOf(
            Row("[number, size, sha256]", ((_PART_NUMBER, COUNT, DIGEST),)), most=_MAX_ADDRESSES
        ),
    },
)


def add_routes(api: Blueprint) -> None:
    api.get("/uploads")(show_limits)
    api.get("/room")(show_room)
    api.post("/uploads")(begin)
    api.put("/uploads/<upload>/parts/<number>")(put_part)
    api.post("/uploads/<upload>/addresses")(make_addresses)
    api.post("/uploads/<upload>/finish")(finish)
    api.delete("/uploads/<upload>")(abort)


@described(
    "upload.show", "How large the segments of an upload may be, and how many.",
    more="The last may be shorter than `min_bytes`. `direct` says that parts may go straight to an "
    "object store.",
    answers={200: _LIMITS},
)  # fmt: skip
def show_limits() -> Response:
    uploads = registry().uploads
    return answer(_LIMITS.of(uploads.limits, direct=uploads.direct))


@described(
    "upload.room", "Whether files of a release of so many bytes may be sent before its offer.",
    more="Refused as the offer would be.",
    caller=TOKEN, scopes=("publish",), answers={200: _ROOM},
    query={
        **_FOR,
        "size": Parameter(shape=COUNT, says="the bytes of all its files together", required=True),
    },
    refusals=("quota-exceeded", *_OF_PUBLISHERS),
)  # fmt: skip
def show_room() -> Response:
    size = asked("size")
    registry().incoming.require_room(authenticated(), asked("component"), size)
    return answer({"size": size})


@described(
    "upload.begin", "Begins an upload in parts, or says how far it is.",
    more="200 is `stored` already. `parts` are the numbers of those that are here. "
    "[How parts are numbered](#uploads-in-parts).",
    caller=TOKEN, scopes=("publish",), body=_NEW_UPLOAD, limit=_MAX_RECIPE_BYTES,
    answers={200: _BEGUN, 201: _BEGUN},
    refusals=(
        "blob-not-found", "quota-exceeded", "taken-down", "withheld", "length-mismatch",
        *_OF_PUBLISHERS,
    ),
)  # fmt: skip
def begin() -> Response:
    body = request_body()
    begun = registry().uploads.begin(authenticated(), _blob(body), _segments(body))
    state = "stored" if begun.stored else "open"
    return answer(
        {"upload": begun.upload, "state": state, "parts": sorted(begun.parts)},
        200 if begun.stored else 201,
    )


@described(
    "upload.part", "Sends a part, in any order, several at a time.",
    caller=TOKEN, scopes=("publish",), query=_FOR, raw=True, limit="max_blob_bytes",
    headers={
        "Content-Digest": Parameter(
            shape=Text(max_chars=200, example=f"sha-256=:{'A' * 43}=:"), required=True,
            says="the SHA-256 of the part (RFC 9530 §2), in base64",
        ),
    },
    answers={201: Record("StoredPart", {"number": COUNT, "size": COUNT})},
    refusals=("digest-mismatch", "length-mismatch", "quota-exceeded", *_OF_PUBLISHERS),
)  # fmt: skip
def put_part(upload: str, number: str) -> Response:
    who = authenticated()
    component = asked("component")
    sha256 = _content_digest(request.headers.get("Content-Digest"))
    size = content_length(body_limit())
    uploads = registry().uploads
    # Asked before the body is touched: a refusal must not cost anybody an upload.
    name = uploads.require_open(who, component, upload)
    stream = upload_stream()
    try:
        uploads.put_part(name, int(number), stream, size, sha256)
    except BlobMismatchError:
        if stream.count < size:
            raise interrupted(size, stream.count) from None
        raise
    except (TimeoutError, ConnectionError):
        raise interrupted(size, stream.count) from None
    return answer({"number": int(number), "size": size}, 201)


@described(
    "upload.addresses", "Addresses to which parts may be sent straight, good for some seconds.",
    more="None where parts go through the registry. An address takes one PUT of exactly that part, "
    "with exactly its `headers` and without any token.",
    caller=TOKEN, scopes=("publish",), body=_NEW_ADDRESSES, answers={200: _ADDRESSES},
    refusals=("length-mismatch", *_OF_PUBLISHERS),
)  # fmt: skip
def make_addresses(upload: str) -> Response:
    body = request_body()
    uploads = registry().uploads
    name = uploads.require_open(authenticated(), body["component"], upload)
    parts = [
        Part(number=number, size=size, sha256=sha256) for number, size, sha256 in body["parts"]
    ]
    made = uploads.addresses(name, parts)
    rows = [{"number": one.number, "url": one.url, "headers": dict(one.headers)} for one in made]
    return answer({"addresses": rows, "seconds": ADDRESS_SECONDS})


@described(
    "upload.finish", "Puts the parts together, and shows the blob when it hashes to its digest.",
    more="202 is `checking`: ask again.",
    caller=TOKEN, scopes=("publish",),
    body=Record("UploadedBlob", _BLOB, optional=frozenset({"chunks"})),
    answers={200: _STATE, 202: _STATE},
    refusals=(
        "blob-not-found", "digest-mismatch", "length-mismatch", "parts-missing", "quota-exceeded",
        "taken-down", "withheld", "verification-failed", *_OF_PUBLISHERS,
    ),
)  # fmt: skip
def finish(upload: str) -> Response:
    done = registry().uploads.finish(authenticated(), _blob(request_body()), upload)
    return answer({"state": "stored" if done else "checking"}, 200 if done else 202)


@described(
    "upload.abort", "Gives an upload up; nothing of it is left.",
    caller=TOKEN, scopes=("publish",), query=_FOR, answers={200: _STATE},
    refusals=_OF_PUBLISHERS,
)  # fmt: skip
def abort(upload: str) -> Response:
    registry().uploads.abort(authenticated(), asked("component"), upload)
    return answer({"state": "gone"})


def _blob(body: dict[str, Any]) -> Blob:
    size = body["size"]
    limit = registry().settings.max_blob_bytes
    if size > limit:
        raise RegistryError(
            "too-large",
            f"request: size: expected at most {limit} bytes, found {size}",
            limit_bytes=limit,
        )
    return Blob(
        component=body["component"], digest=body["sha256"], size=size, chunks=body.get("chunks")
    )


def _segments(body: dict[str, Any]) -> list[Segment]:
    """``[length]`` is sent; ``[length, number of its source, start in it]`` is copied."""
    sources: list[str] = body.get("sources", [])
    return [
        _segment(numbers, sources, f"request: segments[{at}]")
        for at, numbers in enumerate(body["segments"])
    ]


def _segment(numbers: list[int], sources: list[str], where: str) -> Segment:
    if len(numbers) == 1:
        return Segment(length=numbers[0])
    if numbers[1] >= len(sources):
        raise MalformedError(where, f"a source below {len(sources)}", numbers[1])
    return Segment(length=numbers[0], source=sources[numbers[1]], start=numbers[2])


def _content_digest(header: str | None) -> str:
    """The SHA-256 in a ``Content-Digest`` field (RFC 9530 §2), in hexadecimal."""
    for item in (header or "").split(","):
        name, _, value = item.strip().partition("=")
        if name.lower() == "sha-256" and value.startswith(":") and value.endswith(":"):
            try:
                digest = base64.b64decode(value[1:-1], validate=True)
            except binascii.Error:
                break
            if len(digest) == 32:
                return digest.hex()
    raise RegistryError(
        "malformed", f"Content-Digest: expected sha-256=:…:, found {header or 'none'!r:.80}"
    )
