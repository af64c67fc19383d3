"""What is not handed out: nothing by deprecation, files by quarantine, revocation and takedown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_fixtures import ORG, Client, World, copied_world, new_database, now

from forge_server.app import create_app
from forge_server.compat.serving import stamp
from forge_server.db.recall_models import Withholding
from forge_server.errors import RegistryError
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from forge_server.services.withheld import STATUS, put
from signing.deprecation import Deprecation
from signing.names import ComponentName, parse_version
from signing.role_edits import set_deprecated, set_yanked
from signing.tlog.entries import parse_entry

NAME = ComponentName.parse(f"{ORG}/my-model")
SHARED = b"the licence that two releases share"
OWN = b"weights of 1.0.0 alone" * 100


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with 1.0.0 and 2.0.0, which share one file."""
    root = tmp_path_factory.mktemp("withheld") / "reg"
    initialise(root, dev=True, database=new_database(request, request.param))
    world = World(root)
    sara = Client(create_app(world.registry).test_client(), world.user("sara"))
    assert sara.token is not None
    world.organisation(sara.token)
    sara.publish(world.release(files={"LICENSE": SHARED, "weights.bin": OWN}))
    sara.publish(world.release(version="2.0.0", files={"LICENSE": SHARED}))
    world.close()
    (root.parent / "key").write_bytes(world.key(ORG).to_pem(None))
    return root


@pytest.fixture
def world(_published: Path, tmp_path: Path) -> Iterator[World]:
    from signing.keys import load_private_key

    for copied in copied_world(_published, tmp_path):
        copied.keys[ORG] = load_private_key((_published.parent / "key").read_bytes())
        yield copied


@pytest.fixture
def client(world: World) -> Client:
    return Client(create_app(world.registry).test_client())


def acts(world: World, *names: str) -> list[tuple[str, str | None]]:
    return [(e.action, e.subject) for e in world.registry.audit.newest(50) if e.action in names]


def logged(world: World) -> list[str]:
    from sqlalchemy import select

    from forge_server.db.models import LogEntry

    with world.registry.database.read() as session:
        return [parse_entry(data).act for data in session.scalars(select(LogEntry.entry))]


class TestDeprecation:
    def say(self, world: World, client: Client, said: Deprecation | None) -> None:
        role = set_deprecated(
            world.registry.roles.current(NAME.role), NAME, [parse_version("1.0.0")], said,
            [world.key(ORG)], now(),
        )  # fmt: skip
        client.post("/api/v1/roles", {"roles": {NAME.role: role.decode()}}, expect=200)

    def test_it_is_shown_everywhere_and_stops_nobody(self, world: World, client: Client) -> None:
        said = Deprecation(reason="old & slow", successor=f"{ORG}/other==3.0.0")
        self.say(world, client, said)
        versions = client.get(f"/api/v1/components/{NAME}")["versions"]
        assert [one["deprecated"] for one in versions] == [None, said.to_json()]
        for language, words in (
            ("en", "Deprecated"), ("fr", "Dépréciée"), ("ar", "متقادم"), ("zgh", "ⵉⵣⵔⵉ"),
        ):  # fmt: skip
            page = client.text(f"/{language}/{NAME}/1.0.0").decode()
            assert words in page
            assert "old &amp; slow" in page
            assert f'href="/{language}/{ORG}/other/3.0.0"' in page
            assert "forge install" in page
        twin = client.get(f"/en/{NAME}/1.0.0.json")
        assert (twin["states"], twin["usable"]) == (["deprecated"], True)
        assert twin["release"]["deprecated"] == said.to_json()
        assert "Deprecated by its publisher" in client.text("/en/tombstones.atom").decode()
        client.get(f"/blobs/{digest(OWN)}", expect=200)
        assert acts(world, "release.deprecate") == [("release.deprecate", f"{NAME}==1.0.0")]
        assert "release.deprecate" in logged(world)
        assert check_registry(world.registry, deep=False).problems == ()

    def test_it_is_taken_back_and_the_latest_one_marks_the_component(
        self, world: World, client: Client
    ) -> None:
        said = Deprecation(reason="old")
        role = set_deprecated(
            world.registry.roles.current(NAME.role), NAME,
            [parse_version(text) for text in ("1.0.0", "2.0.0")], said, [world.key(ORG)], now(),
        )  # fmt: skip
        client.post("/api/v1/roles", {"roles": {NAME.role: role.decode()}}, expect=200)
        assert client.get("/api/v1/components")["items"][0]["deprecated"] == {"reason": "old"}
        world.registry.index.refresh()
        assert ">Deprecated</span>" in client.text("/en/search").decode()
        self.say(world, client, None)
        versions = client.get(f"/api/v1/components/{NAME}")["versions"]
        assert [one["deprecated"] for one in versions] == [{"reason": "old"}, None]
        assert acts(world, "release.undeprecate") == [("release.undeprecate", f"{NAME}==1.0.0")]

    def test_a_yank_names_a_successor_too(self, world: World, client: Client) -> None:
        role = set_yanked(
            world.registry.roles.current(NAME.role), NAME, parse_version("1.0.0"), "broken",
            [world.key(ORG)], now(), successor=f"{NAME}==2.0.0",
        )  # fmt: skip
        client.post("/api/v1/roles", {"roles": {NAME.role: role.decode()}}, expect=200)
        shown = client.get(f"/api/v1/components/{NAME}")["versions"][-1]
        assert (shown["yanked"], shown["yanked_successor"]) == ("broken", f"{NAME}==2.0.0")
        page = client.text(f"/en/{NAME}/1.0.0").decode()
        assert f'href="/en/{NAME}/2.0.0"' in page.partition("Successor:")[2][:300]
        assert client.get("/en/tombstones.json")["tombstones"][0]["successor"] == f"{NAME}==2.0.0"


class TestQuarantine:
    def test_the_bytes_stop_and_come_back(self, world: World, client: Client) -> None:
        client.get(f"/blobs/{digest(OWN)}", expect=200)
        assert world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "looks odd")
        assert not world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "again")
        for method in ("GET", "HEAD"):
            answer = client.flask.open(f"/blobs/{digest(OWN)}", method=method)
            assert (answer.status_code, answer.headers["Cache-Control"]) == (451, "no-store")
            assert answer.content_type == "application/problem+json"
        refused = client.get(f"/blobs/{digest(OWN)}", expect=451, code="withheld")
        assert (refused["release"], refused["state"]) == (f"{NAME}==1.0.0", "held")
        assert refused["reason"] == "looks odd"
        assert "quarantined by the registry" in refused["detail"]
        # What another release in force holds as well goes on being that one's.
        client.get(f"/blobs/{digest(SHARED)}", expect=200)
        # The evidence stays: what was signed, and by whom.
        shown = client.get(f"/api/v1/components/{NAME}")["versions"][-1]
        client.get(f"/blobs/{shown['manifest_sha256']}", expect=200)
        place = f"/tuf/targets/{NAME}/1.0.0/{shown['manifest_sha256']}.manifest.json"
        client.get(place, expect=200)
        assert world.registry.quarantine.end(OPERATOR, NAME, "1.0.0", "was nothing")
        assert not world.registry.quarantine.end(OPERATOR, NAME, "1.0.0", "was nothing")
        client.get(f"/blobs/{digest(OWN)}", expect=200)
        names = ("release.hold", "release.unhold")
        assert acts(world, *names) == [(name, f"{NAME}==1.0.0") for name in names]
        assert set(names) <= set(logged(world))

    def test_it_is_shown_where_people_look(self, world: World, client: Client) -> None:
        world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "looks <odd>")
        page = client.text(f"/en/{NAME}/1.0.0").decode()
        assert "the registry holds it back while reports about it are looked into" in page
        assert "looks &lt;odd&gt;" in page
        assert "forge install" not in page
        assert "محجوز من المستودع" in client.text(f"/ar/{NAME}/1.0.0").decode()
        assert "looks &lt;odd&gt;" in client.text("/en/tombstones").decode()
        assert "Held by the registry" in client.text("/en/tombstones.atom").decode()
        svg = client.text(f"/en/{NAME}/badge.svg").decode()
        assert "2.0.0" in svg  # the latest that may be used
        shown = client.get(f"/api/v1/components/{NAME}")["versions"]
        assert [one["withheld"] and one["withheld"]["state"] for one in shown] == [None, "held"]

    @pytest.mark.parametrize("settings", ["redirect", "proxy"])
    def test_nobody_is_sent_elsewhere_for_it(
        self, world: World, client: Client, settings: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither a presigned address of the store nor nginx gets to know the file."""
        if settings == "redirect":
            monkeypatch.setattr(
                type(world.registry.blobs), "redirect_url", lambda *_: "https://store.example/x"
            )
            headers = {}
        else:
            object.__setattr__(world.registry.settings, "accel_redirect", "/internal-blobs/")
            headers = {"X-Forwarded-For": "192.0.2.1"}
        before = client.flask.get(f"/blobs/{digest(OWN)}", headers=headers)
        assert {"Location", "X-Accel-Redirect"} & set(before.headers.keys())
        world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "odd")
        after = client.flask.get(f"/blobs/{digest(OWN)}", headers=headers)
        assert after.status_code == 451
        assert not {"Location", "X-Accel-Redirect"} & set(after.headers.keys())

    def test_mirrors_hear_of_it(self, world: World, client: Client) -> None:
        first = client.flask.get("/api/v1/withheld")
        assert first.get_json() == {"withheld": [], "blobs": []}
        again = {"If-None-Match": first.headers["ETag"]}
        assert client.flask.get("/api/v1/withheld", headers=again).status_code == 304
        world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "odd")
        second = client.flask.get("/api/v1/withheld", headers=again)
        assert second.status_code == 200
        found = second.get_json()
        assert digest(OWN) in found["blobs"]
        assert digest(SHARED) not in found["blobs"]
        (row,) = found["withheld"]
        assert (row["component"], row["version"], row["source"]) == (str(NAME), "1.0.0", "registry")
        lines = client.text("/api/v1/withheld?as=nginx").decode().splitlines()
        assert lines == [f"{each} 1;" for each in found["blobs"]]
        client.get("/api/v1/withheld?as=csv", expect=400, code="malformed")

    def test_a_withheld_file_is_no_source_for_another(self, world: World, client: Client) -> None:
        world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "odd")
        assert not world.registry.handed_out.is_public(digest(OWN))
        assert world.registry.handed_out.is_public(digest(SHARED))

    def test_what_the_facades_keep_is_made_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the registry cannot sign, and so announces nothing."""
        monkeypatch.setattr(type(world.registry.publication), "can_sign", lambda *_: False)
        seen = []
        for step in (None, world.registry.quarantine.begin, world.registry.quarantine.end):
            if step is not None:
                assert step(OPERATOR, NAME, "1.0.0", "odd")
            seen.append(stamp(world.registry.database))
        assert seen[0] != seen[1] != seen[2]

    def test_only_what_is_published_can_be_held(self, world: World) -> None:
        with pytest.raises(RegistryError, match=r"found '9.0.0'"):
            world.registry.quarantine.begin(OPERATOR, NAME, "9.0.0", "odd")

    def test_a_row_that_the_status_host_did_not_sign_is_noticed(self, world: World) -> None:
        with world.registry.database.write() as session:
            put(session, STATUS, NAME, "1.0.0", "a" * 64, "revoked", "made up", now())
        problems = check_registry(world.registry, deep=False).problems
        assert problems == (f"manifest {'a' * 64}: revoked only in the list of what to refuse",)


class TestTakedown:
    def take(self, world: World) -> tuple[int, int]:
        done = world.registry.takedown.remove(
            OPERATOR, NAME, "1.0.0", "personal data", "Tribunal de Rabat 12/2026"
        )
        return done.deleted, done.blobs

    def test_files_go_and_a_tombstone_stays(self, world: World, client: Client) -> None:
        assert self.take(world) == (2, 3)  # LICENSE belongs to 2.0.0 as well
        assert world.registry.blobs.missing([digest(OWN)]) == {digest(OWN)}
        refused = client.get(f"/blobs/{digest(OWN)}", expect=451, code="taken-down")
        assert refused["reference"] == "Tribunal de Rabat 12/2026"
        assert refused["release"] == f"{NAME}==1.0.0"
        client.get(f"/blobs/{digest(SHARED)}", expect=200)
        assert digest(OWN) in client.get("/api/v1/withheld")["blobs"]
        stone = client.get("/en/tombstones.json")["tombstones"][0]
        assert (stone["state"], stone["reference"]) == ("removed", "Tribunal de Rabat 12/2026")
        page = client.text("/fr/tombstones").decode()
        assert "Supprimée sur ordre" in page
        assert "Tribunal de Rabat 12/2026" in page
        assert "removed by order" in client.text(f"/en/{NAME}/1.0.0").decode()
        shown = client.get(f"/api/v1/components/{NAME}")["versions"][-1]
        client.get(f"/blobs/{shown['manifest_sha256']}", expect=200)
        assert acts(world, "release.takedown") == [("release.takedown", f"{NAME}==1.0.0")]
        assert "release.takedown" in logged(world)
        assert check_registry(world.registry, deep=True).problems == ()

    def test_the_version_never_comes_back(self, world: World, client: Client) -> None:
        self.take(world)
        sara = Client(client.flask, world.token("sara"))
        again = world.release(version="1.0.1", files={"LICENSE": SHARED})
        sara.publish(again)
        for version in ("1.0.0", "1.0.1"):
            with pytest.raises(Exception, match="published already"):
                world.release(version=version, files={"weights.bin": OWN})
        with pytest.raises(RegistryError, match="taken down already"):
            self.take(world)

    def test_a_deletion_that_was_cut_off_is_finished(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before the deletion comes the word: a crash leaves nothing that is still handed out."""

        def crash(*_: object) -> None:
            raise OSError("power cut")

        kind = type(world.registry.takedown.leases)
        with monkeypatch.context() as patch:
            patch.setattr(kind, "delete_doomed", crash)
            with pytest.raises(OSError, match="power cut"):
                self.take(world)
        assert world.registry.blobs.missing([digest(OWN)]) == set()
        client.get(f"/blobs/{digest(OWN)}", expect=451, code="taken-down")
        world.registry.collection.collect(OPERATOR)
        assert world.registry.blobs.missing([digest(OWN)]) == {digest(OWN)}
        client.get(f"/blobs/{digest(OWN)}", expect=451, code="taken-down")


def test_the_gravest_word_is_shown(world: World, client: Client) -> None:
    world.registry.quarantine.begin(OPERATOR, NAME, "1.0.0", "odd")
    shown = client.get(f"/api/v1/components/{NAME}")["versions"][-1]
    with world.registry.database.write() as session:
        session.add(
            Withholding(
                manifest_sha256=shown["manifest_sha256"], source=STATUS, component=str(NAME),
                version="1.0.0", state="revoked", reason="worse", reference=None, since=now(),
            )
        )  # fmt: skip
    shown = client.get(f"/api/v1/components/{NAME}")["versions"][-1]
    assert shown["withheld"]["state"] == "revoked"
    assert client.get(f"/blobs/{digest(OWN)}", expect=451)["state"] == "revoked"
