"""What programs read: JSON beside every page, feeds, badges, QR codes, sitemap, OpenSearch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from search_corpus import ITEMS, Item
from server_fixtures import ORG, Client, World, _fresh_registry, copied_world, world
from sqlalchemy import event
from tensors import safetensors

from forge_server.app import create_app
from forge_server.services.feeds import PER_PART
from forge_server.web.machine import blueprint
from signing.digests import sha256_hex
from signing.names import ComponentName, parse_version
from signing.role_edits import set_yanked

__all__ = ["_fresh_registry", "world"]

ATOM = "{http://www.w3.org/2005/Atom}"
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
HOSTILE = Item(
    name="hostile", summary="""<script>alert(1)</script> & "quotes" 'single' ]]> \u0627\u0644""",
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A registry with some components, one of them withdrawn, which tests only read."""
    for one in copied_world(_fresh_registry, tmp_path_factory.mktemp("machine")):
        token = one.user("sara")
        one.organisation(token)
        publisher = Client(create_app(one.registry).test_client(), token)
        for item in (*ITEMS[:4], HOSTILE):
            publisher.publish(one.release(item.name, files=item.files(), toml=item.toml(ORG)))
        weights = safetensors({"a": b"x" * 12, "b": b"y" * 3}, note="hello")
        publisher.publish(one.release("tensors", files={"model.safetensors": weights}))
        yank(one, publisher, "sante-codes", "wrong <codes>")
        yield one


def yank(one: World, publisher: Client, name: str, reason: str) -> None:
    component = ComponentName.parse(f"{ORG}/{name}")
    role = set_yanked(
        one.current(component.role) or b"", component, parse_version("1.0.0"), reason,
        [one.key(ORG)], one.clock(),
    )  # fmt: skip
    publisher.post("/api/v1/roles", {"roles": {component.role: role.decode()}}, expect=200)


@pytest.fixture
def web(filled: World) -> FlaskClient:
    return create_app(filled.registry).test_client()


def read(web: FlaskClient, path: str) -> Any:
    answer = web.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.data[:500])
    assert answer.content_type.startswith("application/json")
    return answer.get_json()


COMPONENT = f"/fr/{ORG}/darija-lid"
ADDRESSES = [
    "/fr/search.json?q=darija",
    "/fr/log.json",
    "/fr/index.json",
    "/fr/trust.json",
    "/fr/reviews.json",
    "/fr/tombstones.json",
    "/fr/statistics.json",
    "/fr/regions.json",
    "/fr/regions/MA-04.json",
    f"/fr/verify.json?sha256={'0' * 64}",
    f"/fr/{ORG}.json",
    f"{COMPONENT}.json",
    f"{COMPONENT}/versions.json",
    f"{COMPONENT}/files.json",
    f"{COMPONENT}/tensors.json?path=weights.safetensors",
    f"{COMPONENT}/lineage.json",
    f"{COMPONENT}/security.json",
    f"{COMPONENT}/use.json",
    f"{COMPONENT}/history.json",
    f"{COMPONENT}/1.0.0.json",
    f"{COMPONENT}.jsonld",
    f"{COMPONENT}.atom",
    f"/fr/{ORG}.atom",
    "/fr/tombstones.atom",
    f"{COMPONENT}/badge.svg",
    f"{COMPONENT}/1.0.0/qr.svg",
    "/fr/opensearch.xml",
    "/sitemap.xml",
    "/sitemaps/0.xml",
    "/sitemaps/1.xml",
    "/robots.txt",
]
_MOST_STATEMENTS = 16


class TestEverything:
    def test_every_address_is_tried_here(self) -> None:
        from flask import Flask

        app = Flask("routes")
        app.register_blueprint(blueprint())
        paths = [each.partition("?")[0] for each in ADDRESSES]
        adapter = app.url_map.bind("localhost")
        tried = {adapter.match(path)[0] for path in paths}
        assert tried == {
            rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint != "static"
        }

    @pytest.mark.parametrize("path", ADDRESSES)
    def test_answers_with_a_strong_etag_and_304(self, web: FlaskClient, path: str) -> None:
        answer = web.get(path)
        assert answer.status_code == 200, answer.data[:500]
        etag = answer.headers["ETag"]
        assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
        assert answer.headers["Cache-Control"] == "no-cache"
        again = web.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
        assert web.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        assert web.head(path).headers["ETag"] == etag

    @pytest.mark.parametrize("path", ADDRESSES)
    def test_is_what_it_says_it_is(self, web: FlaskClient, path: str) -> None:
        answer = web.get(path)
        if "json" in answer.content_type:
            json.loads(answer.data)
        elif "xml" in answer.content_type:
            ElementTree.fromstring(answer.data)

    @pytest.mark.parametrize("path", ADDRESSES)
    def test_few_statements(self, filled: World, web: FlaskClient, path: str) -> None:
        web.get(path)  # what is kept in memory is read
        seen: list[str] = []
        engine = filled.registry.database.reading.kw["bind"]

        def note(_c: object, _k: object, statement: str, *_: object) -> None:
            if not statement.startswith("BEGIN"):
                seen.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            web.get(path)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        assert len(seen) <= _MOST_STATEMENTS, seen

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            (f"/fr/{ORG}/nothing.json", 404),
            (f"/fr/{ORG}/nothing/badge.svg", 404),
            (f"{COMPONENT}/9.9.9.json", 404),
            (f"{COMPONENT}/9.9.9/qr.svg", 404),
            ("/fr/nobody.atom", 404),
            ("/fr/regions/XX-99.json", 404),
            ("/fr/verify.json?sha256=xyz", 400),
            ("/fr/search.json?sort=colour", 400),
            ("/sitemaps/99.xml", 404),
            ("/xx/search.json", 404),
        ],
    )
    def test_refuses_what_is_not_there(self, web: FlaskClient, path: str, status: int) -> None:
        answer = web.get(path)
        assert answer.status_code == status
        if path.startswith("/fr"):  # a program reads no page
            assert answer.content_type == "application/problem+json"


class TestJson:
    def test_search(self, web: FlaskClient) -> None:
        found = read(web, "/fr/search.json?q=darija&kind=model")
        assert found["total"] == 1
        assert found["hits"][0]["name"] == "darija-lid"
        assert found["hits"][0]["title"]["fr"] == "Identification de la langue"
        assert found["query"]["chosen"] == {"kind": ["model"]}
        assert {"value": "model", "count": 1, "chosen": True} in found["facets"]["kind"]

    def test_component_and_release(self, web: FlaskClient) -> None:
        found = read(web, f"{COMPONENT}.json")
        assert found["component"] == f"{ORG}/darija-lid"
        assert found["owner"]["display_name"] == "Minds Lab"
        assert found["versions"] == ["1.0.0"]
        assert (found["states"], found["usable"]) == ([], True)
        assert {text["language"] for text in found["texts"]} == {None, "ar", "fr"}
        release = read(web, f"{COMPONENT}/1.0.0.json")
        assert release["release"] == found["release"]
        assert {check["status"] for check in release["checks"]} <= {"passed", "not-checked"}
        assert release["checks"][0]["error"] is None

    def test_the_first_page_and_what_states_mean(self, web: FlaskClient) -> None:
        first = read(web, "/en/index.json")
        assert first["components"] == read(web, "/en/search.json")["total"]
        assert 0 < len(first["newest"]) <= 6
        page = web.get("/fr/trust").get_data(as_text=True)
        states = read(web, "/fr/trust.json")["states"]
        assert {"good", "reviewed", "approved", "quarantined"} <= {one["state"] for one in states}
        for one in states:
            assert str(escape(one["means"])) in page
        assert states != read(web, "/ar/trust.json")["states"]

    def test_a_withdrawn_release(self, web: FlaskClient) -> None:
        found = read(web, f"/en/{ORG}/sante-codes.json")
        assert (found["states"], found["usable"]) == (["yanked"], False)
        assert found["release"]["yanked"] == "wrong <codes>"
        (stone,) = read(web, "/en/tombstones.json")["tombstones"]
        assert (stone["component"], stone["state"]) == (f"{ORG}/sante-codes", "yanked")

    def test_verify_a_digest(self, web: FlaskClient) -> None:
        digest = sha256_hex(ITEMS[0].files()["weights.safetensors"])
        found = read(web, f"/en/verify.json?sha256=sha256:{digest.upper()}")
        assert found["sha256"] == digest
        assert f"{ORG}/darija-lid" in {each["component"] for each in found["found"]}

    def test_json_ld(self, web: FlaskClient) -> None:
        found = json.loads(web.get(f"{COMPONENT}.jsonld").data)
        assert found["@context"] == "https://schema.org"
        assert found["@type"] == "SoftwareApplication"
        assert found["license"] == "https://spdx.org/licenses/Apache-2.0.html"
        assert found["identifier"].startswith("sha256:")
        assert found["publisher"]["name"] == "Minds Lab"
        assert "areaServed" not in found["publisher"]  # nobody stated a region
        assert found["url"] == f"http://localhost{COMPONENT}"


class TestTensors:
    def test_of_a_good_header(self, web: FlaskClient) -> None:
        found = read(web, f"/en/{ORG}/tensors/tensors.json?path=model.safetensors")
        assert (found["format"], found["refused"]) == ("safetensors", None)
        assert (found["parameters"], found["total"]) == (15, 2)
        assert found["metadata"] == {"note": "hello"}
        assert found["tensors"][0] == {
            "name": "a", "kind": "U8", "shape": [12], "start": 167, "stop": 179,
        }  # fmt: skip
        found = read(web, f"/en/{ORG}/tensors/tensors.json?path=model.safetensors&first=1")
        assert [each["name"] for each in found["tensors"]] == ["b"]

    def test_of_a_bad_one_says_why_not(self, web: FlaskClient) -> None:
        found = read(web, f"{COMPONENT}/tensors.json?path=weights.safetensors")
        assert "a header of" in found["refused"]
        assert "tensors" not in found
        found = read(web, f"{COMPONENT}/tensors.json?path=README.md")
        assert ".gguf" in found["refused"]

    def test_of_no_file(self, web: FlaskClient) -> None:
        for path in ("", "nothing.gguf", "../../etc/passwd", "\x00"):
            answer = web.get(f"{COMPONENT}/tensors.json", query_string={"path": path})
            assert answer.status_code in (400, 404), path


class TestFeeds:
    def entries(self, web: FlaskClient, path: str) -> list[ElementTree.Element]:
        root = ElementTree.fromstring(web.get(path).data)
        for name in ("id", "title", "updated"):  # RFC 4287 §4.1.1
            assert root.findtext(f"{ATOM}{name}")
        entries = root.findall(f"{ATOM}entry")
        ids = [entry.findtext(f"{ATOM}id") for entry in entries]
        assert len(set(ids)) == len(ids)
        for entry in entries:
            for name in ("id", "title", "updated", "author/{http://www.w3.org/2005/Atom}name"):
                assert entry.findtext(f"{ATOM}{name}"), name
        return entries

    def test_of_a_component(self, web: FlaskClient) -> None:
        (entry,) = self.entries(web, f"/en/{ORG}/darija-lid.atom")
        assert entry.findtext(f"{ATOM}title") == f"{ORG}/darija-lid 1.0.0: Published"

    def test_of_an_organisation(self, web: FlaskClient) -> None:
        entries = self.entries(web, f"/en/{ORG}.atom")
        assert len(entries) == 6
        assert entries[1].findtext(f"{ATOM}summary") == HOSTILE.summary

    def test_of_what_was_taken_back(self, web: FlaskClient) -> None:
        (entry,) = self.entries(web, "/en/tombstones.atom")
        assert entry.findtext(f"{ATOM}summary") == "wrong <codes>"
        assert "sante-codes 1.0.0" in (entry.findtext(f"{ATOM}title") or "")

    def test_of_nothing_yet_is_a_feed_all_the_same(self, world: World) -> None:
        web = create_app(world.registry).test_client()
        assert self.entries(web, "/en/tombstones.atom") == []


class TestPictures:
    def test_a_badge_says_what_is_so_and_since_when(self, web: FlaskClient) -> None:
        root = ElementTree.fromstring(web.get(f"/en/{ORG}/darija-lid/badge.svg").data)
        title = root.findtext("{http://www.w3.org/2000/svg}title") or ""
        assert re.fullmatch(rf"{ORG}/darija-lid: 1\.0\.0 · In force · \d{{4}}-\d\d-\d\d", title), (
            title
        )
        (link,) = root.iter("{http://www.w3.org/2000/svg}a")
        assert link.get("href") == f"http://localhost/en/{ORG}/darija-lid/1.0.0"

    def test_a_badge_of_what_was_withdrawn_says_so(self, web: FlaskClient) -> None:
        assert b"Withdrawn" in web.get(f"/en/{ORG}/sante-codes/badge.svg").data
        assert b'direction="rtl"' in web.get(f"/ar/{ORG}/sante-codes/badge.svg").data

    def test_a_date_is_not_read_backwards_beside_arabic(self, web: FlaskClient) -> None:
        root = ElementTree.fromstring(web.get(f"/ar/{ORG}/darija-lid/badge.svg").data)
        parts = list(root.iter("{http://www.w3.org/2000/svg}tspan"))
        assert {part.get("unicode-bidi") for part in parts} == {"isolate"}
        directions = {part.text or "": part.get("direction") for part in parts}
        assert directions["1.0.0"] == "ltr"
        assert [each for text, each in directions.items() if text.startswith("20")] == ["ltr"]

    def test_pictures_run_nothing(self, web: FlaskClient) -> None:
        for path in (f"/en/{ORG}/hostile/badge.svg", f"/en/{ORG}/hostile/1.0.0/qr.svg"):
            answer = web.get(path)
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert b"<script" not in answer.data

    def test_a_qr_code_holds_the_digest(self, web: FlaskClient) -> None:
        found = read(web, f"{COMPONENT}.json")["release"]["manifest_sha256"]
        svg = web.get(f"{COMPONENT}/1.0.0/qr.svg").data
        title = ElementTree.fromstring(svg).findtext("{http://www.w3.org/2000/svg}title")
        assert title == f"{ORG}/darija-lid==1.0.0 sha256:{found}"


class TestSitemap:
    def places(self, web: FlaskClient, path: str) -> list[str]:
        root = ElementTree.fromstring(web.get(path).data)
        return [each.text or "" for each in root.iter(f"{SITEMAP}loc")]

    def test_every_address_of_it_is_there(self, web: FlaskClient) -> None:
        parts = self.places(web, "/sitemap.xml")
        assert parts == ["http://localhost/sitemaps/0.xml", "http://localhost/sitemaps/1.xml"]
        addresses = [each for part in parts for each in self.places(web, part)]
        assert len(addresses) == len(set(addresses))
        assert f"http://localhost{COMPONENT}" in addresses
        for address in addresses:
            assert web.get(address.removeprefix("http://localhost")).status_code == 200, address

    def test_a_part_never_holds_more_than_it_may(self) -> None:
        from forge_server.web.languages import LANGUAGES

        assert PER_PART * len(LANGUAGES) == 50_000

    def test_robots_are_told_where(self, web: FlaskClient) -> None:
        assert b"Sitemap: http://localhost/sitemap.xml" in web.get("/robots.txt").data

    def test_opensearch_searches(self, web: FlaskClient) -> None:
        root = ElementTree.fromstring(web.get("/ar/opensearch.xml").data)
        (template, *_) = [each.get("template") or "" for each in root if "template" in each.attrib]
        assert template == "http://localhost/ar/search?q={searchTerms}"
        assert web.get("/ar/search?q=darija").status_code == 200


class TestDownloads:
    def test_an_install_is_counted_once_and_written_down_later(
        self, filled: World, web: FlaskClient
    ) -> None:
        counter = filled.registry.downloads
        counter.write()
        before = counter.recent().total
        toml = sha256_hex(ITEMS[0].toml(ORG))
        weights = sha256_hex(ITEMS[0].files()["weights.safetensors"])
        for digest in (toml, weights, toml):
            web.get(f"/blobs/{digest}").close()
        web.head(f"/blobs/{toml}")
        web.get(f"/blobs/{'0' * 64}")
        assert counter.recent().total == before
        assert counter.write() == 2
        assert counter.recent().total == before + 2
        assert counter.recent((ORG, "darija-lid")).total == before + 2
        assert counter.recent((ORG, "tarjama-amz")).total == 0
        assert read(web, "/en/statistics.json")["downloads"]["total"] == before + 2
        assert counter.write() == 0

    def test_it_writes_by_itself_after_a_while(self, filled: World, web: FlaskClient) -> None:
        counter = filled.registry.downloads
        toml = sha256_hex(ITEMS[1].toml(ORG))
        web.get(f"/blobs/{toml}").close()
        before = counter.recent((ORG, "tarjama-amz")).total
        filled.clock.ahead += timedelta(seconds=61)
        try:
            web.get(f"/blobs/{toml}").close()
            assert counter.recent((ORG, "tarjama-amz")).total == before + 2
        finally:
            filled.clock.ahead = timedelta()

    def test_a_database_that_fails_costs_no_download(
        self, filled: World, web: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from forge_server.errors import RegistryError

        def fail(_: object) -> int:
            raise RegistryError("busy", "the database is in use")

        monkeypatch.setattr(type(filled.registry.downloads), "write", fail)
        filled.clock.ahead += timedelta(seconds=61)
        try:
            with web.get(f"/blobs/{sha256_hex(ITEMS[0].toml(ORG))}") as answer:
                assert answer.status_code == 200
        finally:
            filled.clock.ahead = timedelta()
