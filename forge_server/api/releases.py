"""``/roles``, ``/releases`` and ``/blobs``: everything that publishing needs."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from signing.digests import parse_digest
from signing.dsse import decode_base64
from signing.encoding import Fields
from signing.errors import MalformedError
from signing.names import ComponentName
from storage import BlobMismatchError

from ..errors import RegistryError
from ..services.releases import OfferText, Receipt
from ..services.roles import as_bytes
from .bodies import content_length, interrupted, read_json, upload_stream
from .rendering import instant
from .requests import answer, audited, authenticated, caller, registry

_MOST_FILES: Final = 100


def add_routes(api: Blueprint) -> None:
    api.get("/roles/<role>")(show_role)
    api.post("/roles")(accept_roles)
    api.post("/releases")(offer_release)
    api.post("/signatures")(resign_releases)
    api.put("/blobs/<digest>")(put_blob)
    api.route("/blobs/<digest>", methods=["HEAD"])(head_blob)


@audited("role.show")
def show_role(role: str) -> Response:
    response = Response(registry().roles.current(role), content_type="application/json")
    response.headers["Cache-Control"] = "no-cache"
    return response


@audited("role.accept")
def accept_roles() -> Response:
    registry().throttle.check(request.remote_addr, registry().clock())
    limit = registry().settings.max_roles_bytes
    body = read_json(limit).only(["roles"], optional=["targets"])
    targets = body.object("targets").value if "targets" in body.value else {}
    accepted = registry().roles.accept(
        caller(), as_bytes(body.object("roles").value), as_bytes(targets, "targets")
    )
    registry().index.follow()
    return answer({"accepted": dict(accepted.roles), "snapshot": accepted.snapshot})


@audited("release.publish")
def offer_release() -> Response:
    who = authenticated()
    limit = registry().settings.max_offer_bytes
    result = registry().releases.offer(who, offer_of(read_json(limit), limit))
    if result.receipt is None and not result.missing:
        return answer({"state": "checking"}, 202)
    if result.receipt is None:
        missing = [{"sha256": sha256, "size": size} for sha256, size in result.missing.items()]
        return answer({"state": "missing", "missing": missing, "taken": list(result.taken)})
    registry().index.follow()
    document = {
        "state": "published",
        "receipt": _receipt(result.receipt),
        "taken": list(result.taken),
    }
    return answer(document, 201 if result.created else 200)


def offer_of(body: Fields, max_chars: int) -> OfferText:
    """The offer of a release as it is sent."""
    body.only(("manifest", "bundle", "roles"), optional=["files"])
    return OfferText(
        manifest=body.text("manifest", max_chars=max_chars).encode(),
        bundle=body.text("bundle", max_chars=max_chars).encode(),
        roles=as_bytes(body.object("roles").value),
        files=_files(body),
    )


@audited("release.resign")
def resign_releases() -> Response:
    who = authenticated()
    limit = registry().settings.max_offer_bytes
    body = read_json(limit).only(("component", "role", "bundles"))
    component = ComponentName.parse(body.text("component"), "request: component")
    bundles = as_bytes(body.object("bundles").value, "bundles")
    role = body.text("role", max_chars=limit).encode()
    done = registry().signatures.resign(who, component, role, bundles)
    return answer(
        {
            "component": str(component),
            "versions": list(bundles),
            "role_version": done.role_version,
            "snapshot": done.snapshot,
        }
    )


@audited("blob.store")
def put_blob(digest: str) -> Response:
    who = authenticated()
    component = _component()
    parse_digest(digest, "address: sha256")
    chunks = request.args.get("chunks")
    if chunks is not None:
        parse_digest(chunks, "request: chunks")
    size = content_length(registry().settings.max_blob_bytes)
    stream = upload_stream()
    try:
        # Who may not publish is refused before the body is touched: it must not cost an upload.
        created = registry().releases.receive(who, component, digest, stream, size, chunks)
    except BlobMismatchError:
        if stream.count < size:
            raise interrupted(size, stream.count) from None
        raise
    except (TimeoutError, ConnectionError):
        raise interrupted(size, stream.count) from None
    return answer({"sha256": digest, "size": size}, 201 if created else 200)


@audited("blob.show")
def head_blob(digest: str) -> Response:
    who = authenticated()
    parse_digest(digest, "address: sha256")
    size = registry().releases.has_blob(who, _component(), digest)
    if size is None:
        raise RegistryError("blob-not-found", f"blob {digest} is not here")
    response = answer({})
    response.headers["Content-Length"] = str(size)
    return response


def _files(body: Fields) -> dict[str, bytes]:
    """``{sha256: bytes}`` of the small files that came along in base64."""
    if "files" not in body.value:
        return {}
    files = body.object("files")
    if len(files.value) > _MOST_FILES:
        raise MalformedError(files.where, f"at most {_MOST_FILES} files", len(files.value))
    found = {}
    for digest in files.value:
        parse_digest(digest, files.where)
        found[digest] = decode_base64(files, digest)
    return found


def _component() -> ComponentName:
    return ComponentName.parse(request.args.get("component"), "request: component")


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "component": receipt.component,
        "version": receipt.version,
        "manifest_sha256": receipt.manifest_sha256,
        "role": receipt.role,
        "role_version": receipt.role_version,
        "snapshot_version": receipt.snapshot_version,
        "published_at": instant(receipt.published_at),
    }
