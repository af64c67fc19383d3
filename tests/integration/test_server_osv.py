"""Advisories in the form of OSV: about what, under which names, and in what words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import ORG, Client, World, copied_world, forge_toml, new_database, now

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.services.advisories import Advisories, Advisory, Affected
from forge_server.services.callers import OPERATOR
from signing.keys import load_private_key
from signing.names import ComponentName, parse_version
from signing.role_edits import set_yanked

LIBRARY = ComponentName.parse(f"{ORG}/tokens-lib")
MODEL = ComponentName.parse(f"{ORG}/my-model")
OURS = "National Software Forge"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with its wheel and one that it brings along, twice, and a model."""
    root = tmp_path_factory.mktemp("osv") / "reg"
    initialise(root, dev=True, database=new_database(request, request.param))
    world = World(root)
    sara = Client(create_app(world.registry).test_client(), world.user("sara"))
    assert sara.token is not None
    world.organisation(sara.token)
    for version in ("1.0.0", "1.1.0"):
        files = {
            f"wheels/Tokens_Lib-{version}-py3-none-any.whl": f"own {version}".encode(),
            "wheels/six-1.16.0-py2.py3-none-any.whl": b"of others",
            "wheels/no-wheel.whl": b"no name",
        }
        toml = forge_toml("tokens-lib", version, kind="library")
        sara.publish(world.release(files=files, toml=toml))
    sara.publish(world.release())
    world.close()
    (root.parent / "key").write_bytes(world.key(ORG).to_pem(None))
    return root


@pytest.fixture
def world(_published: Path, tmp_path: Path) -> Iterator[World]:
    for copied in copied_world(_published, tmp_path):
        copied.keys[ORG] = load_private_key((_published.parent / "key").read_bytes())
        yield copied


@pytest.fixture
def client(world: World) -> Client:
    return Client(create_app(world.registry).test_client())


def ask(client: Client, name: str, version: str | None = None, ecosystem: str = "PyPI") -> Any:
    body: dict[str, Any] = {"package": {"name": name, "ecosystem": ecosystem}}
    if version is not None:
        body["version"] = version
    return client.post("/osv/v1/query", body, expect=200).get("vulns", [])


def yank(world: World, client: Client, name: ComponentName, reason: str) -> None:
    role = set_yanked(
        world.registry.roles.current(name.role), name, parse_version("1.0.0"), reason,
        [world.key(ORG)], now(),
    )  # fmt: skip
    client.post("/api/v1/roles", {"roles": {name.role: role.decode()}}, expect=200)


def test_a_held_library_by_the_name_of_its_wheel(world: World, client: Client) -> None:
    assert ask(client, "tokens-lib", "1.0.0") == []
    world.registry.quarantine.begin(OPERATOR, LIBRARY, "1.0.0", "phones home")
    (found,) = ask(client, "tokens_LIB", "1.0")
    assert found["summary"] == f"{LIBRARY}==1.0.0 is quarantined by the registry: phones home"
    assert found["details"] == "phones home"
    assert [each["package"]["name"] for each in found["affected"]] == [str(LIBRARY), "tokens-lib"]
    assert found["affected"][1]["versions"] == ["1.0.0"]
    events = [{"introduced": "1.0.0"}, {"fixed": "1.1.0"}]
    assert found["affected"][1]["ranges"] == [{"type": "ECOSYSTEM", "events": events}]
    assert found["references"][0]["url"].endswith(f"/en/{LIBRARY}/1.0.0")
    assert ask(client, "tokens-lib", "1.1.0") == []
    # What it brings along is somebody else's, and is not accused.
    assert ask(client, "six", "1.16.0") == []
    assert ask(client, str(LIBRARY), "1.0.0", OURS) == [found]
    assert ask(client, str(LIBRARY), None, OURS) == [found]
    assert client.get(f"/osv/v1/vulns/{found['id']}", expect=200) == found
    world.registry.quarantine.end(OPERATOR, LIBRARY, "1.0.0", "was nothing")
    assert ask(client, "tokens-lib", "1.0.0") == []
    client.get(f"/osv/v1/vulns/{found['id']}", expect=404, code="not-found")


def test_several_at_once_and_without_saying_that_it_is_json(world: World, client: Client) -> None:
    world.registry.quarantine.begin(OPERATOR, LIBRARY, "1.0.0", "x")
    queries = [
        {"package": {"purl": "pkg:pypi/tokens-lib@1.0.0"}},
        {"package": {"purl": "pkg:npm/tokens-lib"}, "version": "1.0.0"},
        {"package": {"name": "unknown", "ecosystem": "PyPI"}, "version": "no version"},
        {"package": {"name": "tokens-lib", "ecosystem": "PyPI"}, "version": "no version"},
    ]
    data = json.dumps({"queries": queries}).encode()
    answer = client.call("POST", "/osv/v1/querybatch", data=data, expect=200)
    first, *rest = answer["results"]
    assert [sorted(one) for one in first["vulns"]] == [["id", "modified"]]
    assert rest == [{}, {}, {}]


def test_a_yank_for_security_and_no_other(world: World, client: Client) -> None:
    yank(world, client, MODEL, "wrong tokenizer")
    assert ask(client, str(MODEL), "1.0.0", OURS) == []
    yank(world, client, MODEL, "Security: the template runs code")
    (found,) = ask(client, str(MODEL), "1.0.0", OURS)
    assert found["details"] == "the template runs code"
    assert found["database_specific"]["state"] == "yanked"
    events = [{"introduced": "1.0.0"}, {"last_affected": "1.0.0"}]
    assert found["affected"][0]["ranges"][0]["events"] == events


def test_what_was_removed_is_still_named(world: World, client: Client) -> None:
    world.registry.takedown.remove(OPERATOR, LIBRARY, "1.0.0", "x", "order 1")
    (found,) = ask(client, "tokens-lib", "1.0.0")
    assert found["database_specific"]["state"] == "removed"


@pytest.mark.parametrize(
    "body",
    [{}, {"package": "x"}, {"package": {"name": 1, "ecosystem": "PyPI"}},
     {"package": {"name": "x"}},
     {"package": {"name": "x" * 300, "ecosystem": "PyPI"}},
     {"package": {"name": "x", "ecosystem": "PyPI"}, "version": 1},
     {"package": {"purl": "pkg:pypi/tokens-lib"}, "version": 1},
     {"package": {"purl": "pkg:pypi/tokens-lib"}, "version": "1" * 61}],
)  # fmt: skip
def test_what_is_no_question(client: Client, body: dict[str, Any]) -> None:
    client.post("/osv/v1/query", body, expect=400, code="malformed")
    client.post("/osv/v1/querybatch", {"queries": [body]}, expect=400, code="malformed")


def test_many_questions_about_many_advisories_are_few_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counted(list[Affected]):
        walks = 0

        def __iter__(self) -> Iterator[Affected]:
            Counted.walks += 1
            return super().__iter__()

    def advisory(number: int) -> Advisory:
        affected = Affected(ecosystem=OURS, name=f"{ORG}/m{number}", version="1.0.0", fixed=None)
        at = now()
        return Advisory(
            id=f"FORGE-{number}", component=affected.name, version="1.0.0", manifest_sha256="",
            state="held", reason="x", published=at, modified=at, affected=Counted([affected]),
        )  # fmt: skip

    known = [advisory(number) for number in range(20)]
    monkeypatch.setattr(Advisories, "_all", lambda _: known)
    nowhere: Any = None
    queries = [(OURS, f"{ORG}/m{number}", "1.0.0") for number in range(30)]
    found = Advisories(nowhere, nowhere).several(queries)
    assert [len(each) for each in found] == [1] * 20 + [0] * 10
    assert Counted.walks == len(known)


def test_too_many_questions(client: Client) -> None:
    one = {"package": {"name": "x", "ecosystem": "PyPI"}}
    client.post("/osv/v1/querybatch", {"queries": [one] * 1001}, expect=400, code="malformed")
    client.post("/osv/v1/querybatch", {"queries": one}, expect=400, code="malformed")
