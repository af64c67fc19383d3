"""``/uploads``: a blob in parts, resumable, with pieces of what is public already."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from flask import Blueprint, Response, request

from signing.digests import parse_digest
from signing.encoding import Fields
from signing.errors import MalformedError
from signing.names import ComponentName
from storage import BlobMismatchError, Part, Segment

from ..errors import RegistryError
from ..services.uploads import ADDRESS_SECONDS, Blob
from .bodies import content_length, interrupted, read_json, upload_stream
from .requests import answer, audited, authenticated, registry

_MAX_RECIPE_BYTES = 8 << 20
_MAX_ADDRESSES = 100


def add_routes(api: Blueprint) -> None:
    api.get("/uploads")(show_limits)
    api.post("/uploads")(begin)
    api.put("/uploads/<upload>/parts/<number>")(put_part)
    api.post("/uploads/<upload>/addresses")(make_addresses)
    api.post("/uploads/<upload>/finish")(finish)
    api.delete("/uploads/<upload>")(abort)


@audited("upload.show")
def show_limits() -> Response:
    uploads = registry().uploads
    return answer(
        {
            "min_bytes": uploads.limits.min_bytes,
            "max_bytes": uploads.limits.max_bytes,
            "max_segments": uploads.limits.max_segments,
            "direct": uploads.direct,
        }
    )


@audited("upload.begin")
def begin() -> Response:
    who = authenticated()
    body = read_json(_MAX_RECIPE_BYTES).only(
        ("component", "sha256", "size", "segments"), optional=("chunks", "sources")
    )
    begun = registry().uploads.begin(who, _blob(body), _segments(body))
    state = "stored" if begun.stored else "open"
    return answer(
        {"upload": begun.upload, "state": state, "parts": sorted(begun.parts)},
        200 if begun.stored else 201,
    )


@audited("upload.part")
def put_part(upload: str, number: str) -> Response:
    who = authenticated()
    component = ComponentName.parse(request.args.get("component"), "request: component")
    sha256 = _content_digest(request.headers.get("Content-Digest"))
    size = content_length(registry().settings.max_blob_bytes)
    uploads = registry().uploads
    # Asked before the body is touched: a refusal must not cost anybody an upload.
    name = uploads.require_open(who, component, parse_digest(upload, "address: upload"))
    stream = upload_stream()
    try:
        uploads.put_part(name, _number(number), stream, size, sha256)
    except BlobMismatchError:
        if stream.count < size:
            raise interrupted(size, stream.count) from None
        raise
    except (TimeoutError, ConnectionError):
        raise interrupted(size, stream.count) from None
    return answer({"number": int(number), "size": size}, 201)


@audited("upload.addresses")
def make_addresses(upload: str) -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(("component", "parts"))
    component = ComponentName.parse(body.text("component"), "request: component")
    uploads = registry().uploads
    name = uploads.require_open(who, component, parse_digest(upload, "address: upload"))
    made = uploads.addresses(name, _parts(body))
    rows = [{"number": one.number, "url": one.url, "headers": dict(one.headers)} for one in made]
    return answer({"addresses": rows, "seconds": ADDRESS_SECONDS})


@audited("upload.finish")
def finish(upload: str) -> Response:
    who = authenticated()
    body = read_json(registry().settings.max_json_bytes).only(
        ("component", "sha256", "size"), optional=("chunks",)
    )
    name = parse_digest(upload, "address: upload")
    done = registry().uploads.finish(who, _blob(body), name)
    return answer({"state": "stored" if done else "checking"}, 200 if done else 202)


@audited("upload.abort")
def abort(upload: str) -> Response:
    who = authenticated()
    component = ComponentName.parse(request.args.get("component"), "request: component")
    registry().uploads.abort(who, component, parse_digest(upload, "address: upload"))
    return answer({"state": "gone"})


def _blob(body: Fields) -> Blob:
    size = body.integer("size")
    limit = registry().settings.max_blob_bytes
    if size > limit:
        raise RegistryError(
            "too-large",
            f"request: size: expected at most {limit} bytes, found {size}",
            limit_bytes=limit,
        )
    chunks = body.optional_text("chunks")
    return Blob(
        component=ComponentName.parse(body.text("component"), "request: component"),
        digest=parse_digest(body.text("sha256"), "request: sha256"),
        size=size,
        chunks=None if chunks is None else parse_digest(chunks, "request: chunks"),
    )


def _parts(body: Fields) -> list[Part]:
    """``[number, size, sha256]`` each."""
    items = body.items("parts")
    if len(items) > _MAX_ADDRESSES:
        raise MalformedError("request: parts", f"at most {_MAX_ADDRESSES}", len(items))
    return [_part(item, f"request: parts[{at}]") for at, item in enumerate(items)]


def _part(item: Any, where: str) -> Part:
    shape = [type(each) for each in item] if isinstance(item, list) else []
    if shape != [int, int, str]:
        raise MalformedError(where, "[number, size, sha256]", item)
    return Part(number=item[0], size=item[1], sha256=parse_digest(item[2], where))


def _segments(body: Fields) -> list[Segment]:
    """``[length]`` is sent; ``[length, number of its source, start in it]`` is copied."""
    sources = [
        parse_digest(text, f"request: sources[{n}]")
        for n, text in enumerate(body.texts("sources", max_items=1000))
    ]
    return [
        _segment(item, sources, f"request: segments[{number}]")
        for number, item in enumerate(body.items("segments"))
    ]


def _segment(item: Any, sources: list[str], where: str) -> Segment:
    numbers = item if isinstance(item, list) else []
    if len(numbers) not in (1, 3) or not all(type(each) is int and each >= 0 for each in numbers):
        raise MalformedError(where, "[length] or [length, source, start]", item)
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


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MalformedError("address: part", "a number", text)
    return int(text)
