"""Publishing through the API: what is accepted, what is refused, and what a refusal leaves."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from markupsafe import escape
from offers import NAME, ROLE, assert_nothing_happened, offer
from server_fixtures import (
    ORG,
    Built,
    Client,
    World,
    _fresh_registry,
    client,
    entry,
    forge_toml,
    sara,
    world,
)
from sqlalchemy import update

from forge_server.db.models import Component, Organisation
from forge_server.domain.text import harmless
from forge_server.operate.check import check_registry
from forge_server.services.callers import OPERATOR
from signing.component import parse_forge_toml
from signing.keys import generate_key
from signing.manifest import build_manifest
from signing.oms import sign_bundle
from signing.role_edits import add_release, set_yanked

__all__ = ["_fresh_registry", "client", "sara", "world"]


class TestTheWay:
    def test_offer_upload_offer(self, world: World, sara: Client) -> None:
        built = world.release()
        answer = offer(sara, built, expect=200)
        assert answer["state"] == "missing"
        sizes = {item["sha256"]: item["size"] for item in answer["missing"]}
        assert sizes == {digest: len(data) for digest, data in built.blobs().items()}
        receipt = sara.publish(built)["receipt"]
        assert receipt.pop("published_at").endswith("Z")
        assert receipt == {
            "component": NAME,
            "version": "1.0.0",
            "manifest_sha256": built.manifest.digest,
            "role": ROLE,
            "role_version": 1,
            "snapshot_version": 3,
        }
        stranger = Client(sara.flask)
        path = f"/tuf/targets/{NAME}/1.0.0/{built.manifest.digest}.manifest.json"
        assert stranger.text(path) == built.manifest.raw
        for digest, data in built.blobs().items():
            assert stranger.get(f"/blobs/{digest}", expect=200) == data
        assert check_registry(world.registry, deep=True).problems == ()

    def test_signed_again_it_is_the_same_release(self, world: World, sara: Client) -> None:
        built = world.release()
        receipt = sara.publish(built)["receipt"]
        again = replace(built, bundle=sign_bundle(built.manifest.files, "x", world.key(ORG)))
        assert offer(sara, again, expect=200)["receipt"] == receipt

    def test_the_catalogue(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        sara.publish(world.release(version="1.1.0", summary="A better model"))
        sara.publish(world.release(version="2.0.0rc1", summary="Too early"))
        sara.publish(world.release("other", summary="Darija دارجة 100%_x"))
        page = sara.get("/api/v1/components?q=BETTER%20model", expect=200)
        assert page["total"] == 1
        assert page["items"][0]["latest"] == "1.1.0"
        assert page["items"][0]["versions"] == 3
        for text, total in (("دارجة", 1), ("%", 1), ("_", 1), ("%%", 0), ("", 2), ("zzz", 0)):
            assert sara.get("/api/v1/components", query={"q": text})["total"] == total, text
        shown = sara.get(f"/api/v1/components/{NAME}", expect=200)
        assert [item["version"] for item in shown["versions"]] == ["2.0.0rc1", "1.1.0", "1.0.0"]
        assert shown["summary"] == "A better model"
        assert shown["versions"][0]["publisher"] == "sara"
        assert shown["organisation"]["kind"] == "startup"
        page = sara.get("/api/v1/components?limit=1&offset=1")
        assert (page["total"], len(page["items"])) == (2, 1)

    @pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "offset=-1", "limit=٣"])
    def test_bad_pages(self, client: Client, query: str) -> None:
        client.get(f"/api/v1/components?{query}", expect=400, code="malformed")

    def test_components_that_are_not_there(self, client: Client) -> None:
        client.get("/api/v1/components/a/b", expect=404, code="component-not-found")
        client.get("/api/v1/components/A/b", expect=400, code="malformed")

    def test_describes_itself(self, world: World, client: Client) -> None:
        answer = client.get("/api/v1/", expect=200)
        assert answer["root_fingerprint"] == (world.root / "root.fingerprint").read_text().strip()
        assert answer["api"] == 1

    def test_a_yanked_release_stays_the_same_release(self, world: World, sara: Client) -> None:
        built = world.release()
        receipt = sara.publish(built)["receipt"]
        manifest, keys = built.manifest, [world.key(ORG)]
        role = set_yanked(
            world.current(ROLE) or b"", manifest.component, manifest.version, "wrong", keys,
            world.clock(),
        )  # fmt: skip
        sara.post("/api/v1/roles", {"roles": {ROLE: role.decode()}}, expect=200)
        assert offer(sara, built, expect=200)["receipt"] == receipt


class TestRefusedOffers:
    """Whatever is wrong, nothing of it becomes visible."""

    def test_a_role_that_moved_on(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        one, other = world.release(version="1.1.0"), world.release(version="1.2.0")
        sara.publish(one)
        sara.put_blobs(other)
        answer = offer(sara, other, expect=409, code="role-version")
        assert answer["current_version"] == 2
        sara.publish(world.release(version="1.2.0"))

    def test_by_strangers(self, world: World, sara: Client) -> None:
        other = Client(sara.flask, world.user("other"))
        offer(other, world.release(), expect=403, code="not-a-member")
        offer(Client(sara.flask), world.release(), expect=401, code="not-authenticated")

    def test_by_a_disabled_member(self, world: World, sara: Client) -> None:
        world.registry.accounts.disable_user(OPERATOR, "sara")
        offer(sara, world.release(), expect=403, code="account-disabled")

    def test_no_such_organisation(self, world: World, sara: Client) -> None:
        built = world.release(org="no-org")
        offer(sara, built, expect=404, code="organisation-not-found")

    def test_pending_organisation(self, world: World, sara: Client) -> None:
        sara.post("/api/v1/applications", world.application("new-org"), expect=201)
        built = world.release(org="new-org")
        offer(sara, built, expect=409, code="organisation-pending")

    def test_signed_by_an_unlisted_key(self, world: World, sara: Client) -> None:
        built = world.release()
        built.bundle = sign_bundle(built.manifest.files, "x", generate_key("p256"))
        built.roles[ROLE] = add_release(
            None, built.manifest, built.bundle, [world.key(ORG)], world.clock()
        )
        sara.put_blobs(built)
        answer = offer(sara, built, expect=422, code="verification-failed")
        assert answer["check"] == "key-unlisted"
        assert_nothing_happened(world)

    def test_role_by_another_key(self, world: World, sara: Client) -> None:
        built = world.release()
        built.roles[ROLE] = add_release(
            None, built.manifest, built.bundle, [generate_key("p256")], world.clock()
        )
        sara.put_blobs(built)
        answer = offer(sara, built, expect=422, code="verification-failed")
        assert answer["check"] == "threshold-not-met"
        assert_nothing_happened(world)

    def test_bundle_of_other_files(self, world: World, sara: Client) -> None:
        built = world.release()
        other = world.release(files={"weights.bin": b"other"})
        bundle = sign_bundle(other.manifest.files, "x", world.key(ORG))
        role = add_release(None, built.manifest, bundle, [world.key(ORG)], world.clock())
        built = replace(built, bundle=bundle, roles=built.roles | {ROLE: role})
        sara.put_blobs(built)
        offer(sara, built, expect=422, code="digest-mismatch")
        assert_nothing_happened(world)

    def test_description_other_than_forge_toml(self, world: World, sara: Client) -> None:
        toml = forge_toml(summary="What the file says")
        spec = parse_forge_toml(forge_toml(summary="What the manifest says"))
        manifest = build_manifest(spec, [entry("forge.toml", toml)])
        built = world.signed(manifest, {"forge.toml": toml}, world.key(ORG))
        sara.put_blobs(built)
        offer(sara, built, expect=422, code="metadata-mismatch")
        assert_nothing_happened(world)

    def test_a_wrong_size(self, world: World, sara: Client) -> None:
        data, toml = b"x" * 10, forge_toml()
        wrong = replace(entry("weights.bin", data), size=11)
        manifest = build_manifest(parse_forge_toml(toml), [entry("forge.toml", toml), wrong])
        built = world.signed(manifest, {"forge.toml": toml, "weights.bin": data}, world.key(ORG))
        sara.put_blobs(built)
        offer(sara, built, expect=422, code="length-mismatch")
        assert_nothing_happened(world)

    @pytest.mark.parametrize("extra", ["registrar", "other", f"{ORG}.other"])
    def test_roles_of_others(self, world: World, sara: Client, extra: str) -> None:
        built = world.release()
        built.roles[extra] = built.roles[ORG]
        answer = offer(sara, built, expect=400, code="malformed")
        assert extra in answer["detail"]

    def test_no_role_at_all(self, world: World, sara: Client) -> None:
        built = world.release()
        built.roles.clear()
        offer(sara, built, expect=400, code="malformed")

    def test_project_not_delegated(self, world: World, sara: Client) -> None:
        built = world.release()
        del built.roles[ORG]
        answer = offer(sara, built, expect=422, code="verification-failed")
        assert answer["check"] == "chain-broken"

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            ({"manifest": None}, "manifest"),
            ({"manifest": "{}"}, "manifest.json"),
            ({"bundle": 1}, "bundle"),
            ({"roles": {"x": 1}}, "roles.x"),
            ({"extra": 1}, "extra"),
        ],
    )
    def test_malformed(
        self, world: World, sara: Client, change: dict[str, Any], where: str
    ) -> None:
        body = world.release().body() | change
        answer = sara.post("/api/v1/releases", body, expect=400, code="malformed")
        assert where in answer["detail"]


def test_no_release_is_accepted_that_could_not_be_published(world: World, sara: Client) -> None:
    """An epoch is PEP 440, but its ``!`` cannot stand in a published path. Found only after the
    commit, it would block everything behind it."""
    built = world.release(version="1!1.0")
    sara.put_blobs(built)
    offer(sara, built, expect=400, code="malformed")
    assert_nothing_happened(world)


class TestBodies:
    @pytest.mark.parametrize(
        "data",
        [b"[]", b"{", b'{"roles":{},"roles":{}}', b"\xff", b"[" * 100_000, b'{"roles":NaN}',
         b'{"roles":{"a":' + b"1" * 400 + b"}}", b'\xef\xbb\xbf{"roles":{}}',
         b'{"roles":"\\ud800"}'],
    )  # fmt: skip
    def test_strict_json(self, client: Client, data: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        client.call(
            "POST", "/api/v1/roles", data=data, headers=headers, expect=400, code="malformed"
        )

    @pytest.mark.parametrize(
        "headers",
        [{"Content-Type": "text/plain"}, {}, {"Content-Type": "application/x-www-form-urlencoded"},
         {"Content-Type": "application/json", "Content-Encoding": "gzip"}],
    )  # fmt: skip
    def test_only_plain_json(self, client: Client, headers: dict[str, str]) -> None:
        client.call(
            "POST", "/api/v1/roles", data=b"{}", headers=headers, expect=415,
            code="unsupported-media-type",
        )  # fmt: skip

    def test_limits(self, world: World, sara: Client) -> None:
        limits = world.registry.settings
        headers = {"Content-Type": "application/json"}
        for method, path, limit in (
            ("POST", "/api/v1/tokens", limits.max_json_bytes),
            ("POST", "/api/v1/roles", limits.max_roles_bytes),
            ("POST", "/api/v1/releases", limits.max_offer_bytes),
            ("PUT", f"/api/v1/blobs/{'a' * 64}?component={NAME}", limits.max_blob_bytes),
        ):
            answer = sara.call(
                method, path, headers=headers, length=limit + 1, expect=413, code="too-large"
            )
            assert answer["limit_bytes"] == limit

    def test_a_body_without_length(self, sara: Client) -> None:
        path = f"/api/v1/blobs/{'a' * 64}?component={NAME}"
        headers = {"Transfer-Encoding": "chunked"}
        sara.call("PUT", path, headers=headers, expect=411, code="length-required")

    def test_a_body_that_ends_early(self, sara: Client) -> None:
        sara.call(
            "POST", "/api/v1/roles", data=b"{}", headers={"Content-Type": "application/json"},
            length=100, expect=400, code="upload-interrupted",
        )  # fmt: skip

    def test_methods_and_addresses(self, client: Client) -> None:
        client.call("PUT", "/api/v1/roles", expect=405, code="method-not-allowed")
        client.get("/api/v1/nothing", expect=404, code="not-found")
        client.get("/api/v1//roles", expect=404, code="not-found")
        assert client.flask.put("/api/v1/roles").headers["Allow"] == "OPTIONS, POST"


class TestUploads:
    def path(self, data: bytes) -> str:
        return f"/api/v1/blobs/{entry('x', data).sha256}?component={NAME}"

    def test_put_head_and_again(self, sara: Client) -> None:
        path = self.path(b"data")
        sara.call("HEAD", path, expect=404)
        sara.call("PUT", path, data=b"data", expect=201)
        sara.call("PUT", path, data=b"data", expect=200)
        answer = sara.flask.head(path, headers={"Authorization": f"Bearer {sara.token}"})
        assert (answer.status_code, answer.content_length) == (200, 4)

    def test_wrong_bytes_leave_no_trace(self, world: World, sara: Client) -> None:
        sara.call("PUT", self.path(b"data"), data=b"DATA", expect=422, code="digest-mismatch")
        assert list(world.registry.blobs.iter_digests()) == []
        sara.call("HEAD", self.path(b"data"), expect=404)

    def test_a_cut_upload_leaves_no_trace(self, world: World, sara: Client) -> None:
        sara.call(
            "PUT", self.path(b"data"), data=b"dat", length=4, expect=400, code="upload-interrupted"
        )
        assert list(world.registry.blobs.iter_digests()) == []

    @pytest.mark.parametrize(
        ("digest", "component"),
        [("A" * 64, NAME), ("a" * 63, NAME), ("..%2f" + "a" * 59, NAME), ("a" * 64, "x"),
         ("a" * 64, "../x"), ("a" * 64, "")],
    )  # fmt: skip
    def test_malformed(self, sara: Client, digest: str, component: str) -> None:
        path = f"/api/v1/blobs/{digest}?component={component}"
        assert sara.call("PUT", path, data=b"x")["status"] in (400, 404)

    def test_strangers(self, world: World, sara: Client) -> None:
        path = self.path(b"data")
        Client(sara.flask).call("PUT", path, data=b"data", expect=401, code="not-authenticated")
        other = Client(sara.flask, world.user("other"))
        other.call("PUT", path, data=b"data", expect=403, code="not-a-member")
        other.call("HEAD", path, expect=403)


class TestFilesThatComeAlong:
    """Small files travel with the offer, under the rules of those that are sent alone."""

    def offer(self, who: Client, built: Built, files: dict[str, bytes], **expected: Any) -> Any:
        encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
        return who.post("/api/v1/releases", {**built.body(), "files": encoded}, **expected)

    def test_one_request_publishes(self, world: World, sara: Client) -> None:
        built = world.release()
        answer = self.offer(sara, built, built.blobs(), expect=201)
        assert answer["taken"] == sorted(built.blobs())
        for digest, data in built.blobs().items():
            assert sara.get(f"/blobs/{digest}", expect=200) == data
        stored = world.registry.audit.newest(50, "blob.store")
        assert sorted(str(event.detail["sha256"]) for event in stored) == sorted(built.blobs())
        assert self.offer(sara, built, built.blobs(), expect=200)["receipt"] == answer["receipt"]
        assert check_registry(world.registry, deep=True).problems == ()

    def test_the_rest_is_asked_for(self, world: World, sara: Client) -> None:
        built = world.release()
        (first, data), *rest = sorted(built.blobs().items())
        answer = self.offer(sara, built, {first: data}, expect=200)
        assert answer["taken"] == [first]
        assert {each["sha256"] for each in answer["missing"]} == {name for name, _ in rest}
        again = self.offer(sara, built, built.blobs(), expect=201)
        assert again["taken"] == [name for name, _ in rest]

    def test_what_came_with_a_refused_release_has_its_events(
        self, world: World, sara: Client
    ) -> None:
        toml = forge_toml(summary="What the file says")
        spec = parse_forge_toml(forge_toml(summary="What the manifest says"))
        manifest = build_manifest(spec, [entry("forge.toml", toml)])
        built = world.signed(manifest, {"forge.toml": toml}, world.key(ORG))
        self.offer(sara, built, built.blobs(), expect=422, code="metadata-mismatch")
        stored = world.registry.audit.newest(50, "blob.store")
        assert [event.detail["sha256"] for event in stored] == list(built.blobs())

    def test_wrong_bytes_leave_no_trace(self, world: World, sara: Client) -> None:
        built = world.release()
        files = {digest: data[::-1] for digest, data in built.blobs().items()}
        self.offer(sara, built, files, expect=422, code="digest-mismatch")
        assert list(world.registry.blobs.iter_digests()) == []
        assert_nothing_happened(world)

    def test_files_of_no_release(self, world: World, sara: Client) -> None:
        built = world.release()
        files = {**built.blobs(), entry("x", b"stranger").sha256: b"stranger"}
        self.offer(sara, built, files, expect=400, code="malformed")
        assert_nothing_happened(world)

    def test_strangers_store_nothing(self, world: World, sara: Client) -> None:
        built = world.release()
        other = Client(sara.flask, world.user("other"))
        self.offer(other, built, built.blobs(), expect=403, code="not-a-member")
        assert list(world.registry.blobs.iter_digests()) == []

    def test_an_offer_that_does_not_hold_stores_nothing(self, world: World, sara: Client) -> None:
        built = replace(world.release(), bundle=b"{}")
        self.offer(sara, built, built.blobs(), expect=422, code="digest-mismatch")
        assert list(world.registry.blobs.iter_digests()) == []

    @pytest.mark.parametrize(
        "files",
        [
            {"A" * 64: ""}, {"a" * 64: "%"}, {"a" * 64: 1}, [],
            {f"{number:064x}": "" for number in range(101)},
        ],
        ids=["digest", "base64", "number", "list", "too many"],
    )  # fmt: skip
    def test_malformed(self, world: World, sara: Client, files: Any) -> None:
        body = {**world.release().body(), "files": files}
        sara.post("/api/v1/releases", body, expect=400, code="malformed")


class TestAudit:
    def test_changes_and_refusals(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        sara.call("DELETE", "/api/v1/tokens/999", code="token-not-found")
        Client(sara.flask).get("/api/v1/whoami", expect=401)
        events = world.registry.audit.newest(100)
        seen = {(event.action, event.outcome) for event in events}
        assert seen >= {
            ("user.add", "done"),
            ("token.create", "done"),
            ("organisation.apply", "done"),
            ("organisation.approve", "done"),
            ("role.accept", "done"),
            ("blob.store", "done"),
            ("release.publish", "done"),
            ("token.revoke", "token-not-found"),
            ("account.show", "not-authenticated"),
        }
        published = next(e for e in events if (e.action, e.outcome) == ("release.publish", "done"))
        assert published.actor == "sara"
        assert NAME in (published.subject or "")
        assert published.address == "127.0.0.1"
        assert published.request_id

    def test_no_token_in_the_log(self, world: World, sara: Client) -> None:
        sara.call("DELETE", f"/api/v1/tokens/{sara.token}", expect=400, code="token-in-url")
        events = world.registry.audit.newest(1000)
        assert not any((sara.token or "") in repr(event) for event in events)
        files = world.root.glob("registry.db*")
        assert not any((sara.token or "").encode() in path.read_bytes() for path in files)


EVIL = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' OR 1=1; DROP TABLE users --",
    "{{7*7}}", "=cmd|'/c calc'!A1", "\u202egnp.exe", "\x9b31m red", "[x](javascript:alert(1))",
]  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_what_publishers_write_is_shown_as_text(world: World, sara: Client, text: str) -> None:
    """Also what no publisher can send any more: the pages do not rely on it."""
    sara.publish(world.release())
    with world.registry.database.write() as session:
        session.execute(update(Component).values(summary=text, license=text))
        session.execute(update(Organisation).values(display_name=text))
    for path in (f"/en/{NAME}", f"/en/{ORG}"):
        page = sara.get(path, expect=200).decode()
        assert str(escape(harmless(text))) in page
        assert "<script" not in page
        assert "<img src=x" not in page
        assert not set("\u202e\x9b") & set(page)
    raw = sara.text(f"/api/v1/components/{NAME}")
    assert raw.isascii()
    assert json.loads(raw)["summary"] == text


@pytest.mark.parametrize("text", EVIL)
def test_what_is_searched_for_is_shown_as_text(client: Client, text: str) -> None:
    page = client.get("/en/search", query={"q": text}, expect=200).decode()
    assert str(escape(harmless(text))) in page
    assert "<script" not in page
    assert client.get("/api/v1/components", query={"q": text}, expect=200)["total"] == 0


def test_pages_have_no_script_and_every_header(world: World, sara: Client) -> None:
    sara.publish(world.release())
    for path in ("/en/", f"/en/{NAME}", f"/en/{ORG}", "/errors", "/nothing", "/en/a/b",
                 "/en/nobody", "/components/-/b"):  # fmt: skip
        answer = sara.flask.get(path)
        page = answer.get_data(as_text=True)
        assert "<script" not in page
        assert " style=" not in page
        assert "http://" not in page
        assert "https://" not in page
        assert 'lang="en"' in page
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Request-Id"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"  # codes stand in addresses
    sara.get("/nothing", expect=404)
    assert b"color-scheme" in sara.get("/static/style.css", expect=200)


def test_a_release_of_many_files(world: World, sara: Client) -> None:
    """Five thousand files that all hold the same bytes: one blob to send."""
    toml = forge_toml()
    entries = [entry("forge.toml", toml)]
    entries += [entry(f"d{number % 100}/f{number}.txt", b"same") for number in range(5_000)]
    manifest = build_manifest(parse_forge_toml(toml), entries)
    built = world.signed(manifest, {"forge.toml": toml, "x": b"same"}, world.key(ORG))
    assert len(offer(sara, built, expect=200)["missing"]) == 2
    sara.publish(built)
    assert sara.get(f"/api/v1/components/{NAME}")["versions"][0]["files"] == 5_001
