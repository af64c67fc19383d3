"""``/tuf/…``, ``/log/…`` and ``/blobs/<sha256>``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BytesIO, UnsupportedOperation
from typing import BinaryIO, cast

from flask import Blueprint, Response, current_app, request

from signing.digests import sha256_hex
from storage import BlobNotFoundError, InvalidArgumentError, PathNotFoundError
from storage.checks import is_digest

from ..api.requests import registry, transfers
from ..errors import RegistryError
from ..services.transfers import SMALL_BYTES, SlottedFile
from .files import IMMUTABLE, REVALIDATE, FileAnswer, send, send_gzipped
from .gzipped import GzipCache, accepts_gzip
from .ranges import etag_matches, parse_range, range_is_wanted

# How long an address of a blob may be used. A download that has begun goes on after it.
_REDIRECT_SECONDS = 900
_VERSIONED = re.compile(r"\d+\.[a-z0-9.-]+\.json")
_GZIPPED = "forge-gzipped"  # the application's `GzipCache`
_TARGET = re.compile(r"targets/.+/(?P<sha256>[0-9a-f]{64})\.[^/]+")


def blueprint() -> Blueprint:
    """A fresh blueprint with the static planes."""
    plane = Blueprint("static_plane", __name__)
    plane.record_once(lambda state: state.app.extensions.setdefault(_GZIPPED, GzipCache()))
    plane.get("/tuf/<path:path>")(metadata)
    plane.get("/log/<path:path>")(log_file)
    plane.get("/blobs/<digest>")(blob)
    return plane


def metadata(path: str) -> Response:
    """A file of the published tree. Versioned ones never change; ``timestamp.json`` does."""
    try:
        file = registry().tree.open(path)
    except (PathNotFoundError, InvalidArgumentError):
        raise RegistryError("not-found", "no metadata has this address") from None
    with file:
        target = _TARGET.fullmatch(path)
        if target is not None:
            etag, cache = target["sha256"], IMMUTABLE
        elif _VERSIONED.fullmatch(path):
            etag, cache = path, IMMUTABLE
        else:
            etag, cache = sha256_hex(file.read()), REVALIDATE
        return _send_file(file, etag, cache, compressible=True)


def log_file(path: str) -> Response:
    """A file of the public log (c2sp.org/tlog-tiles): only the checkpoint ever changes."""
    try:
        file = registry().tree.open(f"log/{path}")
    except (PathNotFoundError, InvalidArgumentError):
        raise RegistryError("not-found", "no file of the log has this address") from None
    with file:
        tile = path.startswith("tile/")
        newest = path == "checkpoint"
        etag = sha256_hex(file.read()) if newest else path
        return _send_file(
            file, etag, REVALIDATE if newest else IMMUTABLE,
            "application/octet-stream" if tile else "text/plain; charset=utf-8",
        )  # fmt: skip


def _send_file(
    file: BinaryIO,
    etag: str,
    cache: str,
    content_type: str = "application/json",
    *,
    compressible: bool = False,
) -> Response:
    """Sends an open file of the published tree. A swap in between changes nothing for it."""

    def answer(size: int, open_at: Callable[[int], BinaryIO]) -> Response:
        return _send(
            FileAnswer(
                size=size, etag=etag, cache_control=cache, content_type=content_type, open=open_at
            ),
            compressible,
        )

    try:
        handle = os.dup(file.fileno())  # a second one, because the caller closes the first
    except UnsupportedOperation:  # from an object store: small, and in memory already
        file.seek(0)
        data = file.read()
        return answer(len(data), lambda start: BytesIO(data[start:]))
    opened: list[BinaryIO] = []

    def open_at(start: int) -> BinaryIO:
        os.lseek(handle, start, os.SEEK_SET)
        opened.append(os.fdopen(handle, "rb"))
        return opened[0]

    try:
        return answer(os.fstat(handle).st_size, open_at)
    finally:
        if not opened:
            os.close(handle)


def _send(file: FileAnswer, compressible: bool) -> Response:
    def read() -> bytes:
        with file.open(0) as opened:
            return opened.read()

    if not compressible:
        return send(file)
    if accepts_gzip(request, file.size):
        gzipped: GzipCache = current_app.extensions[_GZIPPED]
        # With the path, because an ETag names bytes only together with its address.
        response = send_gzipped(file, gzipped.get(f"{request.path} {file.etag}", read))
    else:
        response = send(file)
    response.vary.add("Accept-Encoding")
    return response


def blob(digest: str) -> Response:
    """The bytes with that SHA-256, if a published release contains them that nobody withholds; or
    where to get them."""
    if not is_digest(digest):
        raise _no_blob()
    registry().handed_out.require_public(digest)
    return send_blob(digest, digest)


def send_blob(digest: str, filename: str) -> Response:
    """The bytes with that SHA-256, or where to get them, for a browser to save as ``filename``.

    Not checked here: that a published release contains them.
    """
    if request.method == "GET":
        registry().downloads.count(digest)
    elsewhere = _redirect(digest)
    if elsewhere is not None:
        return elsewhere
    try:
        size = registry().blobs.stat(digest).size
        if _is_before_us() and request.method == "GET":
            return _as_attachment(send_by_proxy(digest, size), filename)
        response = send(
            FileAnswer(
                size=size,
                etag=digest,
                cache_control=IMMUTABLE,
                content_type="application/octet-stream",
                open=lambda start: open_blob(digest, start, size),
            )
        )
    except BlobNotFoundError:
        raise _no_blob() from None
    return _as_attachment(response, filename)


def open_blob(digest: str, start: int, size: int) -> BinaryIO:
    """The blob from ``start`` on; it holds a slot until it is closed.

    Raises:
        RegistryError: too many are on their way already (``too-many-transfers``).
        BlobNotFoundError: it is not there.
    """
    if size <= SMALL_BYTES:
        return registry().blobs.open(digest, start)
    slot = transfers().take("download")
    try:
        file = registry().blobs.open(digest, start)
    except BaseException:
        slot.give_back()
        raise
    return cast(BinaryIO, SlottedFile(file, slot))


def _is_before_us() -> bool:
    """Whether the proxy that sends blobs itself passed this request on: who came without it would
    get an answer without a body."""
    return bool(registry().settings.accel_redirect) and "X-Forwarded-For" in request.headers


def send_by_proxy(digest: str, size: int) -> Response:
    """Tells the proxy in front of us to send the blob itself, ranges included.

    Only we know whether a published release contains it, so nobody but the proxy can be sent
    there. It keeps our ETag: with its own, two proxies would give one file two of them.
    """
    headers = request.headers
    if etag_matches(headers.get("If-None-Match"), digest):
        response = Response(status=304)
    else:
        if range_is_wanted(headers.get("If-Range"), digest):
            parse_range(headers.get("Range"), size)  # refused in our words
        response = Response(content_type="application/octet-stream")
        place = f"{registry().settings.accel_redirect.rstrip('/')}/{digest[:2]}/{digest}"
        response.headers["X-Accel-Redirect"] = place
    response.headers["ETag"] = f'"{digest}"'
    response.headers["Cache-Control"] = IMMUTABLE
    return response


def _as_attachment(response: Response, filename: str) -> Response:
    """Never shown by a browser as a page of this site, whatever the bytes are. ``filename`` has
    no character that means something in a header."""
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _redirect(digest: str) -> Response | None:
    """To the store, when it has an address of its own that readers may use for a while."""
    # The address is signed for GET alone, and a client that has the bytes needs none.
    if not registry().settings.redirect_blobs or request.method != "GET":
        return None
    if etag_matches(request.headers.get("If-None-Match"), digest):
        return None
    url = registry().blobs.redirect_url(digest, _REDIRECT_SECONDS)
    if url is None:
        return None
    return Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})


def _no_blob() -> RegistryError:
    return RegistryError("blob-not-found", "no published release contains these bytes")
