"""Projects of another index that are let through: what of it is served, and what never is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from facades import OTHER, Facades, new_facades
from server_fixtures import ORG, drop_database, new_database
from sqlalchemy import select
from upstream_index import JSON, LONG_AGO, UpstreamIndex, entry, send_json, sha256
from wheels import library, sdist, wheel

from forge_server.db.models import Distribution, Event
from forge_server.db.upstream_models import UpstreamFile
from forge_server.errors import RegistryError
from forge_server.manage import cli
from forge_server.services.callers import OPERATOR
from forge_server.services.upstream_files import Copies

DAYS = timedelta(days=1)


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamIndex]:
    with UpstreamIndex() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    upstream: UpstreamIndex,
) -> Iterator[Facades]:
    folder = tmp_path_factory.mktemp("upstream")
    settings = f'upstream_url = "{upstream.index}"\nupstream_timeout_seconds = 60\n'
    made = new_facades(folder, new_database(request, request.param), settings)
    upstream.pages.clear()
    upstream.files.clear()
    yield made
    made.world.close()
    drop_database(made.world.root)


@pytest.fixture(autouse=True)
def _quiet(shop: Facades, upstream: UpstreamIndex) -> Iterator[None]:
    upstream.requests.clear()
    yield
    shop.world.clock.ahead = timedelta()


def let_through(shop: Facades, name: str, versions: str = "", days: int | None = None) -> None:
    shop.world.registry.upstream.allow(OPERATOR, name, versions, days)


def shown(shop: Facades, name: str, prefix: str = "/simple") -> Any:
    response = shop.get(f"{prefix}/{name}/", Accept=JSON)
    assert response.status_code == 200, response.data
    return json.loads(response.data)


def address(file: Any) -> str:
    assert file["url"].startswith("../-/upstream/"), file["url"]
    return "/simple" + file["url"].removeprefix("..")


def later(shop: Facades) -> None:
    """So much later that the upstream is asked again."""
    shop.world.clock.ahead += timedelta(hours=1)


def events(shop: Facades, action: str, subject: str) -> list[Event]:
    with shop.world.registry.database.read() as session:
        query = select(Event).where(Event.action == action, Event.subject == subject)
        return list(session.scalars(query))


def test_a_project_is_pinned_and_its_files_are_fetched_once(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    files = wheel("six-pack", "1.0") | sdist("six-pack", "1.0") | wheel("six-pack", "2.0")
    upstream.add("six-pack", files)
    let_through(shop, "Six.Pack")
    page = shown(shop, "six-pack")
    assert (page["name"], page["versions"]) == ("six-pack", ["1.0", "2.0"])
    assert page["project-status"] == {"status": "active"}
    assert "no signed releases" in page["_forge"]["upstream"]["note"]
    assert "_forge" not in page["files"][0]
    for file in page["files"]:
        data = files[file["filename"]]
        assert (file["hashes"], file["size"]) == ({"sha256": sha256(data)}, len(data))
        assert file["upload-time"].startswith(f"{LONG_AGO:%Y-%m-%dT%H:%M}")
        for _ in range(2):
            assert shop.get(address(file)).data == data
        assert shop.get(f"/blobs/{sha256(data)}").status_code == 404  # `forge` takes none of it
    metadata = shop.get(address(page["files"][0]) + ".metadata")
    assert sha256(metadata.data) == page["files"][0]["core-metadata"]["sha256"]
    assert "immutable" in metadata.headers["Cache-Control"]
    asked = upstream.paths()
    assert asked.count("/simple/six-pack/") == 1
    assert [asked.count(f"/files/{name}") for name in files] == [1, 1, 1]
    html = shop.get("/simple/six-pack/").text
    assert '<meta name="forge:upstream-note"' in html
    assert "six-pack" in shop.get("/simple/").text


def test_what_is_not_on_the_list_or_is_ours_is_never_asked_for(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("elsewhere", wheel("elsewhere", "9.0"))
    upstream.add("gov-own", wheel("gov-own", "9.0"))
    assert shop.get("/simple/elsewhere/").status_code == 404
    shop.sara.publish(library(shop.world, wheel("gov-own"), "gov-own"))
    shop.yank("gov-own", "1.0.0", "bad")
    assert shown(shop, "gov-own")["versions"] == ["1.0.0"]
    shop.withhold("gov-own", "1.0.0")
    page = shown(shop, "gov-own")
    assert (page["files"], page["project-status"]["status"]) == ([], "quarantined")
    with pytest.raises(RegistryError) as caught:
        let_through(shop, "gov_own")
    assert caught.value.code == "distribution-taken"
    assert upstream.requests == []


def test_a_name_that_is_let_through_cannot_be_published(
    shop: Facades, upstream: UpstreamIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add("popular", wheel("popular", "1.0"))
    let_through(shop, "popular")
    built = library(shop.world, wheel("popular", "9.0.0"), "popular")
    refusal = shop.sara.post("/api/v1/releases", built.body(), code="distribution-taken")
    assert "upstream remove DIR popular" in refusal["hint"]
    # Whoever was checked before it was let through: the transaction that publishes looks again.
    distributions = shop.world.registry.releases.distributions
    kept, calls = type(distributions).require_free, list[int]()

    def first_time_free(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            kept(*arguments)

    monkeypatch.setattr(type(distributions), "require_free", first_time_free)
    shop.sara.publish(built, expect=409)
    assert len(calls) == 2
    assert shown(shop, "popular")["versions"] == ["1.0"]


def test_a_name_of_ours_wins_even_if_it_is_on_the_list(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    """As after a restore of tables that nobody checked against each other."""
    upstream.add("both", wheel("both", "9.0"))
    shop.sara.publish(library(shop.world, wheel("gov-both"), "gov-both"))
    let_through(shop, "both")
    copied = address(shown(shop, "both")["files"][0])
    later(shop)
    upstream.requests.clear()
    with shop.world.registry.database.write() as session:
        owner = session.get_one(Distribution, "gov-both").component_id
        session.add(Distribution(name="both", component_id=owner))
    assert shown(shop, "both")["_forge"] == {"component": f"{ORG}/gov-both"}
    assert shop.get(copied).status_code == 404
    assert upstream.requests == []


def test_a_file_is_offered_when_it_is_old_enough_without_any_other_change(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("growing", wheel("growing", "1.0"))
    upstream.add(
        "growing", wheel("growing", "1.1"), at=datetime.now(UTC) - 7 * DAYS + timedelta(minutes=5)
    )
    let_through(shop, "growing")
    assert shown(shop, "growing")["versions"] == ["1.0"]
    ((name, data),) = wheel("growing", "1.1").items()
    young = shop.get(f"/simple/-/upstream/{sha256(data)}/{name}")
    assert (young.status_code, "younger than 7 days" in young.get_json()["detail"]) == (404, True)
    shop.world.clock.ahead = timedelta(minutes=6)  # the upstream is not asked again
    assert shown(shop, "growing")["versions"] == ["1.0", "1.1"]
    let_through(shop, "growing", "<1.1", 30)
    assert shown(shop, "growing")["versions"] == ["1.0"]
    refused = shop.get(f"/simple/-/upstream/{sha256(data)}/{name}").get_json()["detail"]
    assert "let through are versions <1.1" in refused


def test_what_appears_later_is_young_whatever_the_upstream_says(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("aged", wheel("aged", "1.0") | wheel("aged", "2.0"))
    let_through(shop, "aged", "<2")
    assert shown(shop, "aged")["versions"] == ["1.0"]
    upstream.add("aged", wheel("aged", "1.1"), at=LONG_AGO)
    later(shop)
    assert shown(shop, "aged")["versions"] == ["1.0"]
    shop.world.clock.ahead += 7 * DAYS
    assert shown(shop, "aged")["versions"] == ["1.0", "1.1"]
    let_through(shop, "aged")  # was there all the time, and is new to us alone
    assert shown(shop, "aged")["versions"] == ["1.0", "1.1", "2.0"]


def test_a_changed_digest_is_refused_for_ever_and_told(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    stored, unseen = wheel("steady", "1.0"), wheel("steady", "1.1")
    upstream.add("steady", stored | unseen)
    let_through(shop, "steady")
    before = {file["filename"]: file for file in shown(shop, "steady")["files"]}
    ((name, data),), ((other, _),) = stored.items(), unseen.items()
    assert shop.get(address(before[name])).data == data
    evil = {
        filename: changed
        for version in ("1.0", "1.1")
        for filename, changed in wheel("steady", version, files={"evil.py": b"1"}).items()
    }
    upstream.add("steady", evil)
    later(shop)
    after = {file["filename"]: file for file in shown(shop, "steady")["files"]}
    assert after == {name: before[name]}  # what is here stays what it was
    assert shop.get(address(before[name])).data == data
    refused = shop.get(address(before[other]))
    assert refused.status_code == 404
    assert "the upstream now names" in refused.get_json()["detail"]
    assert shop.get(f"/simple/-/upstream/{sha256(evil[other])}/{other}").status_code == 404
    (event,) = events(shop, "upstream.changed", f"steady/{name}")
    assert event.detail["found_sha256"] == sha256(evil[name])
    later(shop)
    shown(shop, "steady")
    assert len(events(shop, "upstream.changed", f"steady/{name}")) == 1
    said = CliRunner().invoke(cli, ["upstream", "list", str(shop.world.root)]).output
    assert f"CHANGED  {other}: expected {sha256(unseen[other])}" in said


def test_other_bytes_than_were_pinned_never_reach_anybody(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("swapped", wheel("swapped", "1.0"))
    let_through(shop, "swapped")
    (file,) = shown(shop, "swapped")["files"]
    path = f"/files/{file['filename']}"
    honest = upstream.files[path]
    upstream.files[path] = b"x" * file["size"]
    upstream.files[f"{path}.metadata"] = b"Name: other"
    for asked in (address(file), f"{address(file)}.metadata"):
        for _ in range(2):
            refused = shop.get(asked)
            assert (refused.status_code, refused.get_json()["code"]) == (424, "upstream-changed")
            assert "as pinned on" in refused.status
    assert upstream.paths().count(path) == 1  # not asked again at once
    assert len(events(shop, "upstream.fetch", f"swapped/{file['filename']}")) == 2
    assert file["hashes"]["sha256"] in shop.world.registry.blobs.missing([file["hashes"]["sha256"]])
    upstream.files[path] = honest
    shop.world.registry.upstream.copies._failed.clear()
    assert shop.get(address(file)).data == honest


def test_an_upstream_that_is_away_changes_nothing_but_the_age(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("lasting", wheel("lasting", "1.0") | wheel("lasting", "1.1"))
    let_through(shop, "lasting")
    before = shown(shop, "lasting")
    kept, unseen = map(address, before["files"])
    assert shop.get(kept).status_code == 200
    pages = dict(upstream.files)
    upstream.files["/simple/lasting/"] = lambda handler: handler.send_error(503)
    upstream.files.pop("/files/lasting-1.1-py3-none-any.whl")
    later(shop)
    after = shown(shop, "lasting")
    assert after["files"] == before["files"]
    said = after["_forge"]["upstream"]
    assert said["as-of"] == before["_forge"]["upstream"]["as-of"]
    assert "found 503" in said["problem"]
    assert 'name="forge:upstream-problem"' in shop.get("/simple/lasting/").text
    assert upstream.paths().count("/simple/lasting/") == 2  # it is not asked for each client
    assert shop.get(kept).status_code == 200
    failed = shop.get(unseen)
    assert (failed.status_code, failed.get_json()["code"]) == (424, "upstream-failed")
    upstream.files.update(pages)
    later(shop)
    assert "problem" not in shown(shop, "lasting")["_forge"]["upstream"]


def test_one_that_never_answered_is_said_to_have_failed(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    let_through(shop, "nowhere")
    refused = shop.get("/simple/nowhere/")
    assert (refused.status_code, refused.get_json()["code"]) == (424, "upstream-failed")
    upstream.files["/simple/nowhere/"] = lambda handler: send_json(handler, b"[" * 100_000)
    later(shop)
    assert "levels" in shop.get("/simple/nowhere/").get_json()["detail"]


def test_what_the_upstream_says_of_its_files_is_repeated(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("said", wheel("said", "1.0") | wheel("said", "1.2"))
    upstream.add("said", wheel("said", "1.1"), yanked="broken")
    upstream.describe("said", **{"project-status": {"status": "archived", "reason": "finished"}})
    let_through(shop, "said")
    page = shown(shop, "said")
    assert page["project-status"] == {"status": "archived", "reason": "finished"}
    assert [file["yanked"] for file in page["files"]] == [False, "broken", False]
    upstream.pages["said"]["files"] = upstream.pages["said"]["files"][:1]
    later(shop)
    first, second, third = (file["yanked"] for file in shown(shop, "said")["files"])
    assert (first, second) == (False, "broken")
    assert "has it no more" in third  # who names it still gets it
    upstream.describe("said", **{"project-status": {"status": "quarantined", "reason": "worm"}})
    later(shop)
    page = shown(shop, "said")
    assert (page["files"], page["project-status"]["status"]) == ([], "quarantined")


@pytest.mark.parametrize("spoilt", ["name", "metadata"])
def test_a_wheel_that_is_something_else_is_not_offered(
    shop: Facades, upstream: UpstreamIndex, spoilt: str
) -> None:
    """Its digest is right, and so the upstream itself is wrong."""
    name = f"odd-{spoilt}"
    files = wheel(name, "1.0", says="other" if spoilt == "name" else None)
    ((filename, data),) = files.items()
    upstream.add(name, files)
    if spoilt == "metadata":
        upstream.describe(name, entry(filename, data, **{"core-metadata": {"sha256": "0" * 64}}))
    let_through(shop, name)
    (file,) = shown(shop, name)["files"]
    assert "METADATA: expected" in shop.get(address(file)).get_json()["detail"]
    assert shown(shop, name)["files"] == []


def test_bytes_that_are_withheld_here_are_not_handed_out_as_a_copy(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    ((filename, data),) = wheel("shared", "1.0").items()
    built = shop.world.release("zz-carrier", files={filename: data})
    shop.sara.publish(built)
    upstream.add("shared", {filename: data})
    let_through(shop, "shared")
    (file,) = shown(shop, "shared")["files"]
    assert shop.get(address(file)).data == data
    shop.withhold("zz-carrier", "1.0.0", "it bites")
    assert shown(shop, "shared")["files"] == []
    assert "it bites" in shop.get(address(file)).get_json()["detail"]


def test_copies_are_kept_until_they_are_let_through_no_more(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("weighty", wheel("weighty", "1.0"))
    let_through(shop, "weighty")
    (file,) = shown(shop, "weighty")["files"]
    digest = file["hashes"]["sha256"]
    collect = shop.world.registry.collection.collect
    blobs = shop.world.registry.blobs
    assert shop.get(address(file)).status_code == 200
    assert shop.get(address(file) + ".metadata").status_code == 200
    assert "weighty" in shop.get("/simple/").text
    for _ in range(2):
        collect(OPERATOR, timedelta(days=-1))
    assert not blobs.missing([digest])
    blobs.delete(digest)  # a store that lost it
    assert shop.get(address(file)).status_code == 200
    assert shop.world.registry.upstream.remove(OPERATOR, "weighty") == 1
    assert shop.get("/simple/weighty/").status_code == 404
    assert "weighty" not in shop.get("/simple/").text
    assert shop.get(address(file)).status_code == 404
    assert shop.get(address(file) + ".metadata").status_code == 404
    for _ in range(2):
        collect(OPERATOR, timedelta(days=-1))
    assert blobs.missing([digest])
    changed = wheel("weighty", "1.0", files={"evil.py": b"1"})
    upstream.add("weighty", changed)
    let_through(shop, "weighty")
    assert shown(shop, "weighty")["files"] == []  # the pin outlived it


def test_a_copy_that_is_collected_while_it_is_noted_is_fetched_again(
    shop: Facades, upstream: UpstreamIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add("raced", wheel("raced", "1.0"))
    let_through(shop, "raced")
    (file,) = shown(shop, "raced")["files"]
    kept, calls = Copies._why_refused, list[int]()

    def collected_meanwhile(self: Copies, row: UpstreamFile) -> str | None:
        calls.append(1)
        if len(calls) == 1:
            shop.world.registry.collection.collect(OPERATOR, timedelta(days=-1))
        return kept(self, row)

    monkeypatch.setattr(Copies, "_why_refused", collected_meanwhile)
    assert shop.get(address(file)).status_code == 200
    assert len(calls) == 2


def test_what_is_taken_off_the_list_while_it_is_fetched_is_not_kept(
    shop: Facades, upstream: UpstreamIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add("unlisted", wheel("unlisted", "1.0"))
    let_through(shop, "unlisted")
    (file,) = shown(shop, "unlisted")["files"]

    def removed_meanwhile(*_: object) -> None:
        shop.world.registry.upstream.remove(OPERATOR, "unlisted")

    monkeypatch.setattr(Copies, "_why_refused", removed_meanwhile)
    assert shop.get(address(file)).status_code == 404
    with shop.world.registry.database.read() as session:
        kept = session.get_one(UpstreamFile, ("unlisted", file["filename"]))
        assert kept.blob_sha256 is None  # else nothing would ever delete it


def test_files_larger_than_the_operator_takes_are_not_pinned(
    shop: Facades, upstream: UpstreamIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add("bulky", wheel("bulky", "1.0"))
    served = shop.world.registry.upstream
    monkeypatch.setattr(served, "limits", replace(served.limits, max_file_bytes=100))
    let_through(shop, "bulky")
    assert shown(shop, "bulky")["files"] == []


def test_few_files_are_fetched_at_once(shop: Facades, upstream: UpstreamIndex) -> None:
    upstream.add("queueing", wheel("queueing", "1.0"))
    let_through(shop, "queueing")
    (file,) = shown(shop, "queueing")["files"]
    fetching, taken = shop.world.registry.upstream.copies._fetching, 0
    while fetching.acquire(blocking=False):
        taken += 1
    try:
        assert shop.get(address(file)).status_code == 503
    finally:
        fetching.release(taken)
    assert shop.get(address(file)).status_code == 200


def test_an_organisation_with_a_policy_gets_no_copies(
    shop: Facades, upstream: UpstreamIndex
) -> None:
    upstream.add("plain", wheel("plain", "1.0"))
    let_through(shop, "plain")
    index = f"/simple/-/{OTHER}/-"
    (file,) = shown(shop, "plain", index)["files"]
    copied = f"{index}/{file['url'].removeprefix('../')}"
    assert shop.get(copied).status_code == 200
    assert shop.get(f"/simple/-/{OTHER}/plain/").status_code == 404
    shop.pin_policy(OTHER, 'licences = ["Apache-2.0"]')
    for asked in (f"{index}/plain/", copied, f"{copied}.metadata"):
        refused = shop.get(asked)
        assert refused.status_code == 404
        assert "no signed release" in refused.get_json()["detail"]
    assert shop.get("/simple/plain/").status_code == 200


def test_the_commands(shop: Facades, upstream: UpstreamIndex, tmp_path: Path) -> None:
    upstream.add("spoken", wheel("spoken", "1.0") | wheel("spoken", "2.0"))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["upstream", arguments[0], str(shop.world.root),
                                        *arguments[1:]])  # fmt: skip
        assert done.exit_code == 0, done.output
        return done.output

    assert "spoken is let through" in run("allow", "spoken>=1,<2", "--cooldown", "3")
    assert run("fetch", "spoken", "--version", "1.0").splitlines()[0] == "1.0  1 file"
    said = run("list")
    assert "spoken<2,>=1  active  as of" in said
    assert "1 file pinned, 0 younger than 3 days, 1 here" in said
    (found,) = (one for one in json.loads(run("list", "--json")) if one["name"] == "spoken")
    assert (found["pinned"], found["problem"]) == (1, None)
    assert "1 digest stays pinned" in run("remove", "spoken")


def test_without_an_upstream_nothing_is_let_through(tmp_path: Path) -> None:
    made = new_facades(tmp_path, None)
    try:
        with pytest.raises(RegistryError, match="expected upstream_url") as caught:
            made.world.registry.upstream.allow(OPERATOR, "numpy", "")
        assert caught.value.code == "upstream-off"
        assert made.get("/simple/numpy/").status_code == 404
    finally:
        made.world.close()
