"""``/hf``: models and datasets for the clients of the Hugging Face Hub, by ``HF_ENDPOINT``.

None of these clients verifies what it downloads. They fall back to their cache for every refusal
but an unknown revision or file, so a withheld release is answered as an unknown revision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request

from ..api.bodies import content_length
from ..api.requests import answer, audited, authenticated, query_integer, registry
from ..errors import RegistryError, row_of
from ..static_plane.routes import send_blob
from . import hub_json
from .hub_listing import MAX_PAGE, Wish
from .hub_revisions import commit_of, require_revision, split_revision
from .refusals import header_text
from .releases import Served, Versions

_KINDS: Final = {"models": "model", "datasets": "dataset"}
_REPOSITORY: Final = "/api/<any(models,datasets):kinds>/<organisation>/<name>"
_MAX_ENTRIES: Final = 1000  # of a tree in one answer
_MAX_FORM_BYTES: Final = 1024 * 1024
_UNSIGNED: Final = "uploads and changes must be signed by the publisher, which no Hub client can do"

# @huggingface/hub sends no token that does not begin so.
_BEFORE_TOKEN: Final = "hf_"  # noqa: S105  # what stands before one, and none itself


def blueprint() -> Blueprint:
    """A fresh blueprint with the Hub's interface."""
    hub = Blueprint("huggingface", __name__, url_prefix="/hf")
    hub.get("/api/<any(models,datasets):kinds>")(listing)
    hub.get(_REPOSITORY)(info)
    hub.get(f"{_REPOSITORY}/revision/<path:revision>")(info)
    hub.get(f"{_REPOSITORY}/tree/<path:rest>")(tree)
    hub.post(f"{_REPOSITORY}/paths-info/<path:revision>")(paths_info)
    hub.get(f"{_REPOSITORY}/refs")(refs)
    hub.get(f"{_REPOSITORY}/commits/<path:revision>")(commits)
    hub.get(f"{_REPOSITORY}/auth-check")(auth_check)
    for word in (
        "resolve",
        "raw",
    ):  # JavaScript's client asks for the second whether a file is there
        hub.get(f"/<organisation>/<name>/{word}/<path:rest>", endpoint=word)(resolve)
        hub.get(f"/datasets/<organisation>/<name>/{word}/<path:rest>", endpoint=f"{word}_dataset")(
            resolve_dataset
        )
    hub.get("/api/whoami-v2")(whoami)
    hub.get("/api/spaces")(no_spaces)
    hub.get("/api/spaces/<path:rest>")(no_space)
    hub.get("/api/<path:rest>")(nothing)
    for change in (hub.post, hub.put, hub.patch, hub.delete):
        change("/api/<path:rest>")(refuse_change)
    return hub


def listing(kinds: str) -> Response:
    """`list_models`, `hf models ls`: what fits, newest first."""
    limit = query_integer("limit", MAX_PAGE, low=1, high=999_999_999)
    wish = Wish(
        kind=_KINDS[kinds],
        search=request.args.get("search", "")[:200],
        author=request.args.get("author"),
        tags=[
            tag
            for text in request.args.getlist("filter") + request.args.getlist("pipeline_tag")
            for tag in text.split(",")
        ][:20],
        sort=request.args.get("sort", ""),
        limit=limit,
        start=query_integer("cursor", 0, low=0, high=999_999_999),
    )
    found = registry().hub_listing.list(wish)
    whole = _flag("full") or "siblings" in request.args.getlist("expand")
    value = [
        hub_json.info_json(release, registry().facade_releases.files(release) if whole else None)
        for release in found.releases
    ]
    return _linked(value, found.next)


def info(kinds: str, organisation: str, name: str, revision: str = "main") -> Response:
    release = _release(kinds, organisation, name, revision)
    files = registry().facade_releases.files(release)
    return _about(release, hub_json.info_json(release, files, blobs=_flag("blobs")))


def tree(kinds: str, organisation: str, name: str, rest: str) -> Response:
    revision, folder = split_revision(rest)
    release = _release(kinds, organisation, name, revision)
    entries = hub_json.tree_of(
        release, registry().facade_releases.files(release), folder.strip("/"),
        recursive=_flag("recursive"),
    )  # fmt: skip
    if entries is None:
        raise _no_entry(release, folder)
    start = query_integer("cursor", 0, low=0, high=999_999_999)
    part = entries[start : start + _MAX_ENTRIES]
    if _flag("expand"):
        part = [hub_json.with_commit(entry, release) for entry in part]
    more = start + _MAX_ENTRIES < len(entries)
    return _about(release, part, start + _MAX_ENTRIES if more else None)


def paths_info(kinds: str, organisation: str, name: str, revision: str) -> Response:
    release = _release(kinds, organisation, name, revision)
    paths, expand = _asked_paths()
    files = registry().facade_releases.files(release)
    entries = hub_json.entries_at(release, files, paths)
    if expand:
        entries = [hub_json.with_commit(entry, release) for entry in entries]
    return _about(release, entries)


def refs(kinds: str, organisation: str, name: str) -> Response:
    versions = _versions(kinds, organisation, name)
    try:
        main: Served | None = versions.require_newest()
    except RegistryError:
        main = None
    return answer(hub_json.refs_json(versions, main))


def commits(kinds: str, organisation: str, name: str, revision: str) -> Response:
    versions = _versions(kinds, organisation, name)
    release = require_revision(versions, revision)
    found = hub_json.commits_json(versions, release)
    start = query_integer("cursor", 0, low=0, high=999_999_999)
    end = start + query_integer("limit", _MAX_ENTRIES, low=1, high=_MAX_ENTRIES)
    response = _about(release, found[start:end], end if end < len(found) else None)
    response.headers["X-Total-Count"] = str(len(found))
    return response


def auth_check(kinds: str, organisation: str, name: str) -> Response:
    """Whether one may read: whoever finds it may."""
    _versions(kinds, organisation, name)
    return answer({})


def resolve_dataset(organisation: str, name: str, rest: str) -> Response:
    return resolve(organisation, name, rest, "datasets")


def resolve(organisation: str, name: str, rest: str, kinds: str = "models") -> Response:
    """A file of a release. Its address by version means other bytes never, by branch at times."""
    revision, path = split_revision(rest)
    release = _release(kinds, organisation, name, revision)
    file = registry().facade_releases.file(release, path)
    if file is None:
        raise _no_entry(release, path)
    response = _empty() if not file.size else send_blob(file.sha256, file.sha256)
    response.headers["X-Repo-Commit"] = commit_of(release.manifest_sha256)
    response.headers["X-Linked-Etag"] = f'"{file.sha256}"'
    response.headers["X-Linked-Size"] = str(file.size)
    if revision not in (release.version, commit_of(release.manifest_sha256)):
        response.headers["Cache-Control"] = "no-cache"  # main will mean another release
    return _warned(response, release)


@audited("account.show")
def whoami() -> Response:
    identity = authenticated(before=_BEFORE_TOKEN).identity
    assert identity is not None
    organisations = registry().accounts.memberships(identity)
    writes = identity.scope.allows("publish", None, None)
    return answer(
        {
            "type": "user",
            "id": str(identity.user_id),
            "name": identity.user,
            "fullname": identity.user,
            "orgs": [
                {"type": "org", "name": name, "roleInOrg": role} for name, role in organisations
            ],
            "auth": {
                "type": "access_token",
                "accessToken": {
                    "displayName": identity.token_name, "role": "write" if writes else "read",
                },
            },
        }
    )  # fmt: skip


def no_spaces() -> Response:
    return _linked([], None)


def no_space(rest: str) -> Response:
    raise RegistryError("component-not-found", "there are no spaces in this registry")


def nothing(rest: str) -> Response:
    raise RegistryError("not-found", row_of("not-found").help)


@audited("release.publish")
def refuse_change(rest: str) -> Response:
    """Uploads, and branches, tags, settings and whatever else Hub clients would change."""
    raise RegistryError("unsigned-upload", _UNSIGNED, "publish with: forge publish FOLDER")


def _versions(kinds: str, organisation: str, name: str) -> Versions:
    """The component's releases, if that is its kind."""
    found = registry().facade_releases.versions(organisation, name)
    if found.all[0].kind != _KINDS[kinds]:
        raise RegistryError(
            "component-not-found", f"{found.component} is a {found.all[0].kind}, and not in {kinds}"
        )
    return found


def _release(kinds: str, organisation: str, name: str, revision: str) -> Served:
    return require_revision(_versions(kinds, organisation, name), revision)


def _no_entry(release: Served, path: str) -> RegistryError:
    return RegistryError(
        "file-not-found",
        f"{release}: has no file {path!r:.200}",
        commit=commit_of(release.manifest_sha256),
    )


def _flag(name: str) -> bool:
    return request.args.get(name, "").lower() in ("true", "1")


def _asked_paths() -> tuple[Sequence[str], bool]:
    """The paths and whether long entries are wanted: of a form (Python), or of JSON (JavaScript).

    Raises:
        RegistryError: neither, or too large.
    """
    content_length(_MAX_FORM_BYTES)
    value: Any = request.get_json(silent=True) if request.is_json else None
    if request.is_json:
        paths = value.get("paths") if isinstance(value, dict) else None
        if not isinstance(paths, list) or not all(isinstance(each, str) for each in paths):
            raise RegistryError("malformed", "request: paths: expected a list of texts")
        return paths, value.get("expand") is True
    request.max_form_memory_size = _MAX_FORM_BYTES
    return request.form.getlist("paths"), request.form.get("expand", "").lower() in ("true", "1")


def _about(release: Served, value: object, cursor: int | None = None) -> Response:
    response = _linked(value, cursor)
    response.headers["X-Repo-Commit"] = commit_of(release.manifest_sha256)
    return _warned(response, release)


def _linked(value: object, cursor: int | None) -> Response:
    """``value`` as JSON, with the address of the next page where there is one (RFC 8288)."""
    response = Response(json.dumps(value), content_type="application/json")
    response.headers["Cache-Control"] = "no-cache"
    if cursor is not None:
        arguments = [item for item in request.args.items(multi=True) if item[0] != "cursor"]
        url = request.host_url.rstrip("/") + request.script_root + quote(request.path)
        url += "?" + urlencode([*arguments, ("cursor", str(cursor))])
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


def _warned(response: Response, release: Served) -> Response:
    warning = release.standing.warning
    if warning is not None:
        text = header_text(f"{release}: {warning}")
        response.headers["X-HF-Warning"] = f"forge-{release.version}; {text}"
    return response


def _empty() -> Response:
    """A file without bytes. A client that probes with a range (JavaScript's) must not hear 416."""
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    response = Response(b"", content_type="application/octet-stream")
    response.headers["ETag"] = f'"{digest}"'
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "no-cache"
    if "Range" in request.headers:
        response.headers["Content-Range"] = "bytes */0"
    return response
