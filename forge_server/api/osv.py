"""``/osv/v1/…``: advisories in the form of OSV, as pip-audit, uv and others ask for them.

The schema is that of ossf.github.io/osv-schema 1.6; the requests are those of api.osv.dev. Clients
send JSON without saying so, so the Content-Type is not looked at.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from signing.errors import MalformedError

from ..services.advisories import PYPI, Advisory, Affected
from .bodies import read_json
from .rendering import instant
from .requests import answer, audited, registry

PREFIX: Final = "/osv/v1"
MAX_QUERIES: Final = 1000
_SCHEMA: Final = "1.6.0"
_WORDS: Final = {
    "held": "is quarantined by the registry",
    "quarantined": "is quarantined by the security desk",
    "revoked": "is revoked for good",
    "removed": "was removed by order of an authority",
    "yanked": "was withdrawn by its publisher for security",
    "found": "has a finding that its publisher and a reviewer confirm",
}
Query = tuple[str, str, str | None]


def blueprint() -> Blueprint:
    """A fresh blueprint with every address of it."""
    osv = Blueprint("osv", __name__, url_prefix=PREFIX)
    osv.post("/query")(query)
    osv.post("/querybatch")(query_batch)
    osv.get("/vulns/<number>")(show)
    return osv


@audited("advisory.query")
def query() -> Response:
    ecosystem, name, version = _query(_body(), "request")
    found = registry().advisories.matching(ecosystem, name, version)
    return answer({"vulns": [record(one) for one in found]} if found else {})


@audited("advisory.query")
def query_batch() -> Response:
    items = _body().get("queries")
    if not isinstance(items, list) or len(items) > MAX_QUERIES:
        raise MalformedError("request: queries", f"a list of at most {MAX_QUERIES}", "another")
    queries = [_query(item, f"request: queries[{at}]") for at, item in enumerate(items)]
    results = [
        {"vulns": [{"id": one.id, "modified": instant(one.modified)} for one in found]}
        if found
        else {}
        for found in registry().advisories.several(queries)
    ]
    return answer({"results": results})


@audited("advisory.show")
def show(number: str) -> Response:
    return answer(record(registry().advisories.get(number)))


def _body() -> dict[str, Any]:
    return dict(read_json(registry().settings.max_json_bytes, declared=False).value)


def _query(item: Any, where: str) -> Query:
    """``(ecosystem, name, version)``; a package URL (purl) of PyPI says the same."""
    package = item.get("package") if isinstance(item, dict) else None
    if not isinstance(package, dict):
        raise MalformedError(f"{where}.package", "an object", "another")
    version = item.get("version")
    if version is not None and (not isinstance(version, str) or len(version) > 60):
        raise MalformedError(f"{where}.version", "a string", type(version).__name__)
    purl = package.get("purl")
    if isinstance(purl, str):
        path, _, after = purl.removeprefix("pkg:pypi/").partition("@")
        if not purl.startswith("pkg:pypi/"):
            return "", "", None  # an ecosystem of which nothing is known here
        return PYPI, path.partition("?")[0][:200], after.partition("?")[0][:60] or version
    name, ecosystem = package.get("name"), package.get("ecosystem")
    for key, value in (("name", name), ("ecosystem", ecosystem)):
        if not isinstance(value, str) or len(value) > 200:
            raise MalformedError(f"{where}.package.{key}", "a string", type(value).__name__)
    return str(ecosystem), str(name), version


def record(one: Advisory) -> dict[str, Any]:
    """The advisory in the OSV schema."""
    release = f"{one.component}=={one.version}"
    page = f"{request.host_url}en/{one.component}/{one.version}"
    return {
        "schema_version": _SCHEMA,
        "id": one.id,
        "published": instant(one.published),
        "modified": instant(one.modified),
        "summary": f"{release} {_WORDS[one.state]}: {one.reason}",
        "details": one.reason,
        "affected": [_affected(each) for each in one.affected],
        "references": [{"type": "WEB", "url": page}],
        "database_specific": {
            "release": release,
            "state": one.state,
            "manifest_sha256": one.manifest_sha256,
        },
    }


def _affected(one: Affected) -> dict[str, Any]:
    end = {"last_affected": one.version} if one.fixed is None else {"fixed": one.fixed}
    package = {"ecosystem": one.ecosystem, "name": one.name}
    if one.ecosystem == PYPI:
        package["purl"] = f"pkg:pypi/{one.name}"
    return {
        "package": package,
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": one.version}, end]}],
        "versions": [one.version],
    }
