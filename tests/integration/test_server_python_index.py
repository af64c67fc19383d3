"""`/simple/`: what installers are shown of libraries, and that nothing else is shown to them."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from facades import OTHER, Facades, facades
from server_fixtures import ORG, forge_toml
from simple_pages import JSON, address, index, shown
from sqlalchemy import delete, select
from wheels import library, sdist, wheel

from forge_server.compat import pypi_pages
from forge_server.db.models import Distribution, DistributionFile, Release, WheelMetadata
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR
from signing.deprecation import Deprecation
from signing.names import ComponentName

__all__ = ["facades", "index"]


def test_a_project_in_json(index: Facades) -> None:
    page = shown(index)
    assert page["meta"] == {"api-version": "1.4"}
    assert (page["name"], page["versions"]) == ("gov-demo", ["1.0.0", "1.1.0", "1.2.0"])
    assert page["_forge"] == {"component": f"{ORG}/gov-demo"}
    names = [file["filename"] for file in page["files"]]
    assert names == [
        "gov_demo-1.0.0-py3-none-any.whl", "gov_demo-1.1.0-py3-none-any.whl",
        "gov_demo-1.1.0.tar.gz", "gov_demo-1.2.0-py3-none-any.whl",
    ]  # fmt: skip
    first = page["files"][0]
    assert first["requires-python"] == ">=3.9"
    assert first["upload-time"].endswith("Z")
    assert first["yanked"] is False
    got = index.get(address(first))
    assert hashlib.sha256(got.data).hexdigest() == first["hashes"]["sha256"]
    assert len(got.data) == first["size"]
    metadata = index.get(address(first) + ".metadata")
    assert hashlib.sha256(metadata.data).hexdigest() == first["core-metadata"]["sha256"]
    assert b"Name: gov-demo" in metadata.data
    assert "core-metadata" not in page["files"][2]  # an sdist
    assert index.get(address(page["files"][2]) + ".metadata").status_code == 404


def test_the_same_in_html(index: Facades) -> None:
    response = index.get("/simple/gov-demo/")
    assert response.content_type == "text/html; charset=utf-8"
    text = response.text
    first = shown(index)["files"][0]
    assert f'href="{first["url"]}#sha256={first["hashes"]["sha256"]}"' in text
    assert 'data-requires-python="&gt;=3.9"' in text
    assert f'data-core-metadata="sha256={first["core-metadata"]["sha256"]}"' in text


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        (f"{JSON}, {pypi_pages.HTML};q=0.1, text/html;q=0.01", JSON),
        (f"{JSON}, {pypi_pages.HTML};q=0.2, text/html", "text/html; charset=utf-8"),
        (pypi_pages.HTML, pypi_pages.HTML),
    ],
    ids=["none", "any", "pip", "browser", "html"],
)
def test_the_form_is_the_one_asked_for(index: Facades, accept: str | None, form: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    for path in ("/simple/", "/simple/gov-demo/", f"/simple/-/{ORG}/"):
        response = index.get(path, **headers)
        assert (response.status_code, response.content_type) == (200, form)
        assert "Accept" in response.headers["Vary"]


def test_another_form_is_refused(index: Facades) -> None:
    response = index.get("/simple/gov-demo/", Accept="image/png")
    assert (response.status_code, response.get_json()["code"]) == (406, "not-acceptable")


def test_pages_are_asked_for_again_and_files_never(index: Facades) -> None:
    page = index.get("/simple/gov-demo/")
    assert page.headers["Cache-Control"] == "no-cache"
    again = index.get("/simple/gov-demo/", If_None_Match=page.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    other = index.get("/simple/gov-demo/", Accept=JSON, If_None_Match=page.headers["ETag"])
    assert other.status_code == 200
    file = shown(index)["files"][0]
    got = index.get(address(file))
    assert "immutable" in got.headers["Cache-Control"]
    assert got.headers["ETag"] == f'"{file["hashes"]["sha256"]}"'
    assert file["filename"] in got.headers["Content-Disposition"]


@pytest.mark.parametrize("path", ["/simple/", "/simple/gov-demo/", "FILE", "METADATA"])
def test_head_is_get_without_a_body(index: Facades, path: str) -> None:
    file = address(shown(index)["files"][0])
    path = {"FILE": file, "METADATA": f"{file}.metadata"}.get(path, path)
    head, whole = index.get(path, "HEAD"), index.get(path)
    assert (head.status_code, head.data) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("sent", "status", "found"),
    [
        ("bytes=2-5", 206, slice(2, 6)),
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=-3", 206, slice(-3, None)),
        ("bytes=999999999-", 416, None),
        ("bytes=0-1,3-4", 416, None),
        ("lines=1-2", 200, slice(None)),
    ],
    ids=["middle", "first", "last", "beyond", "several", "no-bytes"],
)
def test_ranges_of_a_file(index: Facades, sent: str, status: int, found: slice | None) -> None:
    file = address(shown(index)["files"][0])
    whole = index.get(file).data
    response = index.get(file, Range=sent)
    assert response.status_code == status
    assert found is None or response.data == whole[found]


@pytest.mark.parametrize(
    "path",
    [
        "/simple/nobody/",
        f"/simple/-/{OTHER}/gov-demo/",
        "/simple/-/nobody/",
        "/simple/-/files/00/x.whl",
        f"/simple/-/files/{'0' * 64}/gov_demo-1.0.0-py3-none-any.whl",
        "/simple/gov-demo%2F..%2Fnobody/",
        "/simple/..%2f..%2fetc/",
        "/simple/-/files/../../tuf/1.root.json",
        "/simple/%00/",
        f"/simple/-/files/{'0' * 64}/%00-1.0.0-py3-none-any.whl",
        f"/simple/-/files/{'0' * 64}/a%22b%0d%0a-1.0.0-py3-none-any.whl",
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(index: Facades, path: str) -> None:
    response = index.get(path, Accept=JSON)
    assert response.status_code == 404
    assert response.get_json()["detail"]
    assert response.status.startswith("404 forge: ")
    assert response.status.isprintable()


def test_a_file_has_its_own_name_and_no_other(index: Facades) -> None:
    """The address names the file for the client; it must not be able to name another one."""
    url = address(shown(index)["files"][0])
    assert index.get(url.replace("gov_demo-1.0.0", "requests-9.0.0")).status_code == 404


def test_a_name_has_one_address(index: Facades) -> None:
    response = index.get("/simple/Gov_Demo/")
    assert (response.status_code, response.headers["Location"]) == (301, "/simple/gov-demo/")
    inside = index.get(f"/simple/-/{ORG}/Gov.Demo/")
    assert inside.headers["Location"] == f"/simple/-/{ORG}/gov-demo/"


def test_the_index_of_an_organisation_has_its_own_alone(index: Facades) -> None:
    page = shown(index, prefix=f"/simple/-/{ORG}")
    file = page["files"][0]["url"]
    assert file.startswith("../-/files/")
    assert index.get(f"/simple/-/{ORG}/" + file.removeprefix("../")).status_code == 200
    assert "gov-demo" in index.get(f"/simple/-/{ORG}/").text
    assert "gov-demo" not in index.get(f"/simple/-/{OTHER}/").text


@pytest.mark.parametrize("prefix", [f"/simple/-/{OTHER}/-", f"/simple/-/{OTHER}"])
def test_an_organisation_is_served_what_its_policy_permits(index: Facades, prefix: str) -> None:
    """Of all names or its own; whatever was asked before, and the same of the files."""
    whose = {f"/simple/-/{OTHER}/-": ORG, f"/simple/-/{OTHER}": OTHER}[prefix]
    name = f"permitted-{whose}"
    index.sara.publish(library(index.world, wheel(name), name, org=whose))
    policy = f"rules-{whose}"
    for _ in range(2):
        before = shown(index, name, prefix)
        (file,) = before["files"]
        path = f"/simple/-/{OTHER}/-/files/{file['hashes']['sha256']}/{file['filename']}"
        assert path.endswith(file["url"].removeprefix("../"))
    permitted = index.get(path)
    assert (permitted.status_code, permitted.headers["Cache-Control"]) == (200, "no-cache")
    index.pin_policy(OTHER, 'licences = ["MIT"]', policy)
    page = shown(index, name, prefix)
    assert (page["files"], page["project-status"]["status"]) == ([], "quarantined")
    assert f"{OTHER}/{policy}==1.0.0" in page["project-status"]["reason"]
    for asked in (path, f"{path}.metadata"):
        refused = index.get(asked)
        assert refused.status_code == 404
        assert "licences: expected MIT, found Apache-2.0" in refused.get_json()["detail"]
    assert shown(index, name)["files"]  # nobody else is concerned
    index.drop_policy(OTHER, policy)
    for _ in range(2):
        assert shown(index, name, prefix) == before
    index.use_policy(OTHER, policy)  # nothing else changes
    assert shown(index, name, prefix)["files"] == []
    index.drop_policy(OTHER, policy)


def test_what_a_policy_permits_may_depend_on_the_clock_alone(index: Facades) -> None:
    name, prefix = "cooling", f"/simple/-/{OTHER}/-"
    index.sara.publish(library(index.world, wheel(name), name))
    index.pin_policy(OTHER, "cooldown-days = 2", "cooling-rules")
    assert shown(index, name, prefix)["files"] == []
    index.world.clock.ahead = timedelta(days=3)
    try:
        (file,) = shown(index, name, prefix)["files"]
        metadata = f"{prefix}/{file['url'][3:]}.metadata"
        assert index.get(metadata).status_code == 200
        index.world.clock.ahead = timedelta()  # nothing else changes, and nothing was kept
        assert index.get(metadata).status_code == 404
    finally:
        index.world.clock.ahead = timedelta()
        index.drop_policy(OTHER, "cooling-rules")
    assert shown(index, name, prefix)["files"]


def test_the_status_of_a_project(index: Facades) -> None:
    assert shown(index)["project-status"] == {"status": "active"}
    index.deprecate("gov-demo", "1.1.0", Deprecation(reason="old"))
    assert shown(index)["project-status"] == {"status": "active"}  # not of the newest
    index.deprecate("gov-demo", "1.2.0", Deprecation(reason="<old>", successor=f"{ORG}/new"))
    said = {"status": "deprecated", "reason": f"<old>; use {ORG}/new"}
    assert shown(index)["project-status"] == said
    assert len(shown(index)["files"]) == 4  # it stops nobody
    text = index.get("/simple/gov-demo/").text
    assert '<meta name="pypi:project-status" content="deprecated">' in text
    assert 'content="&lt;old&gt;; use' in text
    for version in ("1.1.0", "1.2.0"):
        index.deprecate("gov-demo", version, None)
    assert shown(index)["project-status"] == {"status": "active"}


def test_models_are_not_in_it(index: Facades) -> None:
    world = index.world
    index.sara.publish(
        world.release("carrier", files=wheel("carried"), toml=forge_toml("carrier"))
    )  # fmt: skip
    assert index.get("/simple/carried/").status_code == 404


class TestNamesBelongToOneComponent:
    def test_another_component_is_refused_before_it_sends_anything(self, index: Facades) -> None:
        built = library(index.world, wheel("Gov_Demo", "9.0.0"), "impostor")
        refusal = index.sara.post("/api/v1/releases", built.body(), code="distribution-taken")
        assert f"{ORG}/gov-demo" in refusal["detail"]
        index.sara.publish(built, expect=409)

    def test_also_another_organisation(self, index: Facades) -> None:
        built = library(index.world, wheel("gov-demo", "9.0.0"), "gov-demo", org=OTHER)
        index.sara.publish(built, expect=409)
        assert shown(index)["_forge"] == {"component": f"{ORG}/gov-demo"}

    def test_of_two_that_race_one_wins(self, index: Facades) -> None:
        """The second was checked before the first was published; the transaction looks again."""
        index.sara.publish(library(index.world, wheel("raced"), "raced-one"))
        second = library(index.world, wheel("raced"), "raced-two")
        distributions = index.world.registry.releases.distributions
        kept = type(distributions).require_free
        calls: list[int] = []

        def late(self: Any, session: Any, manifest: Any) -> None:
            calls.append(1)
            if len(calls) > 1:  # the first look came too early to see anything
                kept(self, session, manifest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(distributions), "require_free", late)
            refusal = index.sara.publish(second, expect=409)
        assert refusal["code"] == "distribution-taken"
        found = index.sara.call("GET", f"/api/v1/components/{ORG}/raced-two")
        assert found["code"] == "component-not-found"
        assert shown(index, "raced")["_forge"] == {"component": f"{ORG}/raced-one"}

    def test_a_file_name_keeps_its_bytes(self, index: Facades) -> None:
        other = wheel("gov-demo", "1.0.0", files={"gov_demo/more.py": b"1"})
        built = library(index.world, other, version="1.3.0")
        index.sara.put_blobs(built)
        index.sara.post("/api/v1/releases", built.body(), code="distribution-taken")


def test_a_wheel_that_is_not_what_its_name_says_is_not_offered(index: Facades) -> None:
    files = wheel("impostor", says="requests")
    index.sara.publish(library(index.world, files, "impostor"))
    assert shown(index, "impostor")["files"] == []
    ((filename, data),) = files.items()
    refused = index.get(f"/simple/-/files/{hashlib.sha256(data).hexdigest()}/{filename}")
    assert refused.status_code == 404
    assert "not offered" in refused.status


def test_what_is_older_than_the_tables_is_read_when_it_is_asked_for(index: Facades) -> None:
    index.sara.publish(library(index.world, wheel("ancient"), "ancient"))
    before = shown(index, "ancient")
    database = index.world.registry.database
    with database.write() as session:
        digest = session.scalars(
            select(DistributionFile.sha256).where(DistributionFile.distribution == "ancient")
        ).one()
        session.execute(delete(WheelMetadata).where(WheelMetadata.sha256 == digest))
    index.world.registry.python_index._kept._answers.clear()
    # In another form, which is not kept in front of the application.
    page = index.get("/simple/ancient/", Accept=f"{JSON};q=0.9")
    assert json.loads(page.data) == before


def test_who_asks_for_what_is_gone_makes_no_writer_wait(
    index: Facades, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = wheel("forbidden")
    index.sara.publish(library(index.world, files, "forbidden"))
    ((filename, data),) = files.items()
    name = ComponentName.parse(f"{ORG}/forbidden")
    index.world.registry.takedown.remove(OPERATOR, name, "1.0.0", "a court", "order 12/26")

    def written(*_: object) -> None:
        raise AssertionError("a request for what is gone wrote into the database")

    monkeypatch.setattr("forge_server.compat.pypi_index.add_metadata", written)
    address = f"/simple/-/files/{hashlib.sha256(data).hexdigest()}/{filename}"
    for path in ("/simple/forbidden/", address):
        assert index.get(path).status_code in (200, 404)


def test_what_is_lost_of_the_index_is_found_and_made_again(index: Facades) -> None:
    registry = index.world.registry
    with registry.database.read() as session:
        assert list(registry.releases.distributions.lacking(session)) == []
    index.sara.publish(library(index.world, wheel("lost") | sdist("lost"), "lost"))
    before = shown(index, "lost")
    with registry.database.write() as session:
        session.execute(delete(DistributionFile).where(DistributionFile.distribution == "lost"))
        session.execute(delete(Distribution).where(Distribution.name == "lost"))
    problems = check_registry(registry, deep=False).problems
    assert [one for one in problems if "Python index" in one] == [
        f"{ORG}/lost==1.0.0: {path} is not in the Python index (forge-server reindex)"
        for path in ("lost-1.0.0-py3-none-any.whl", "lost-1.0.0.tar.gz")
    ]
    assert registry.releases.distributions.rebuild() == 2
    assert registry.releases.distributions.rebuild() == 0
    registry.python_index._kept._answers.clear()
    page = index.get("/simple/lost/", Accept=f"{JSON};q=0.8")
    assert json.loads(page.data) == before


def test_names_are_taken_with_the_release_or_not_at_all(index: Facades) -> None:
    """As `forge-server check` finds them: nothing without its release."""
    with index.world.registry.database.read() as session:
        names = set(session.scalars(select(Distribution.name)))
        files = set(session.scalars(select(DistributionFile.distribution)))
    assert names == files


class TestWithheldAndYanked:
    def test_a_yank_is_seen_at_once_and_lifted_at_once(self, index: Facades) -> None:
        index.yank("gov-demo", "1.2.0", "leaks memory")
        newest = shown(index)["files"][-1]
        assert newest["yanked"] == "leaks memory"
        assert 'data-yanked="leaks memory"' in index.get("/simple/gov-demo/").text
        assert index.get(address(newest)).status_code == 200
        index.yank("gov-demo", "1.2.0", None)
        assert shown(index)["files"][-1]["yanked"] is False

    def test_what_is_withheld_is_gone_and_says_why(self, index: Facades) -> None:
        for version in ("1.0.0", "1.1.0"):
            index.sara.publish(
                library(index.world, wheel("held-back", version), "held-back", version)
            )
        first, second = shown(index, "held-back")["files"]
        index.withhold("held-back", "1.0.0")
        page = shown(index, "held-back")
        assert page["versions"] == ["1.1.0"]
        assert page["project-status"] == {"status": "active"}
        for suffix in ("", ".metadata"):
            refused = index.get(address(first) + suffix)
            assert refused.status_code == 404
            assert "it phones home" in refused.status
            assert index.get(address(second) + suffix).status_code == 200
        index.withhold("held-back", "1.1.0")
        page = shown(index, "held-back")
        assert page["files"] == []
        assert page["project-status"]["status"] == "quarantined"  # PEP 792
        assert "it phones home" in page["project-status"]["reason"]
        text = index.get("/simple/held-back/").text
        assert '<meta name="pypi:project-status" content="quarantined">' in text

    def test_what_is_not_announced_yet_is_not_served(self, index: Facades) -> None:
        files = wheel("coming")
        index.sara.publish(library(index.world, files, "coming"))
        with index.world.registry.database.write() as session:
            row = session.scalars(select(Release).order_by(Release.id.desc()).limit(1)).one()
            row.stored_at = None
        assert shown(index, "coming")["files"] == []
        ((filename, data),) = files.items()
        url = f"/simple/-/files/{hashlib.sha256(data).hexdigest()}/{filename}"
        assert index.get(url).status_code == 404


class TestQuick:
    """Pages are answered before the application is reached while nothing has changed."""

    def spared(self, index: Facades, path: str, method: str = "GET", **headers: str) -> bool:
        """Whether the application did not see a second request like the first."""
        index.get(path, method, **headers)
        seen: list[str] = []
        flask = index.sara.flask.application
        flask.before_request_funcs.setdefault(None, []).append(lambda: seen.append("request"))
        try:
            index.get(path, method, **headers)
        finally:
            flask.before_request_funcs[None].pop()
        return not seen

    def test_which_requests(self, index: Facades) -> None:
        file = address(shown(index)["files"][0])
        model = "/hf/minds-lab/carrier/resolve/1.0.0/forge.toml"
        if index.get(model).status_code != 200:
            index.sara.publish(index.world.release("carrier", toml=forge_toml("carrier")))
        for path, method, headers, spared in (
            ("/simple/gov-demo/", "GET", {}, True),
            ("/simple/gov-demo/", "GET", {"Accept": JSON}, True),
            (f"/simple/-/{ORG}/gov-demo/", "GET", {}, True),
            (model, "HEAD", {}, True),
            ("/simple/gov-demo/", "HEAD", {}, False),
            ("/simple/gov-demo/?x=1", "GET", {}, False),
            ("/simple/gov-demo/", "GET", {"Range": "bytes=0-1"}, False),
            ("/simple/gov-demo/", "GET", {"Accept": f"text/html,{'x' * 500}"}, False),
            ("/simple/nobody/", "GET", {}, False),
            (file, "GET", {}, False),
            (model, "GET", {}, False),
            ("/healthz", "GET", {}, False),
        ):
            assert self.spared(index, path, method, **headers) == spared, (path, method, headers)

    def test_the_answer_is_the_same_but_for_the_request_id(self, index: Facades) -> None:
        # Another form first, so that this one is not kept from before.
        accept = f"{JSON}, text/html;q=0.123"
        first = index.get("/simple/gov-demo/", Accept=accept)
        second = index.get("/simple/gov-demo/", Accept=accept)
        assert first.data == second.data
        one, other = dict(first.headers), dict(second.headers)
        assert one.pop("X-Request-Id") != other.pop("X-Request-Id")
        assert one == other
        assert one["X-Content-Type-Options"] == "nosniff"
        unchanged = index.get(
            "/simple/gov-demo/", Accept=accept, If_None_Match=first.headers["ETag"]
        )
        assert (unchanged.status_code, unchanged.data) == (304, b"")
        assert unchanged.headers["ETag"] == first.headers["ETag"]
        assert "Content-Length" not in unchanged.headers

    def test_it_is_counted_like_any_other(self, index: Facades) -> None:
        def count() -> float:
            rule = 'route="/simple/<name>/",status="200"'
            lines = [line for line in index.get("/metrics").text.splitlines() if rule in line]
            return sum(float(line.rpartition(" ")[2]) for line in lines)

        index.get("/simple/gov-demo/")
        before = count()
        index.get("/simple/gov-demo/")
        assert count() == before + 1

    def test_what_changes_is_seen_by_the_next_request(self, index: Facades) -> None:
        index.get("/simple/gov-demo/")
        before = index.get("/simple/gov-demo/").headers["ETag"]
        index.yank("gov-demo", "1.0.0", "changed")
        try:
            after = index.get("/simple/gov-demo/", If_None_Match=before)
            assert after.status_code == 200
            assert 'data-yanked="changed"' in after.text
        finally:
            index.yank("gov-demo", "1.0.0", None)
