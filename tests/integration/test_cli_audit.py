"""`forge audit` and `forge status`: what speaks against the releases that a folder uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import NAME, World
from cli_fixtures import Forge
from forge_client import forge
from policies import BASELINE, PICKLE, days_ago, publish_policy, said, with_file
from static_server import Answer, StaticServer

from forge_cli.commands.status import keep_watching
from forge_cli.context import Context
from forge_cli.flows.audit import CODES, LEVELS
from signing.deprecation import Deprecation
from signing.role_edits import set_deprecated, set_yanked

__all__ = ["forge"]


OUT = ("--into", "out")
LEVEL_WORDS = ("none", "note", "warning", "error")


@pytest.fixture
def world() -> World:
    made = World(now=datetime.now(UTC).replace(microsecond=0), with_status=True)
    made.add_org("gov-ma", kind="government")
    publish_policy(made, PICKLE)
    made.publish(with_file("model.safetensors"))
    made.say_status()
    return made


@contextmanager
def served(
    forge: Forge, world: World, more: dict[str, Answer] | None = None
) -> Iterator[StaticServer]:
    with StaticServer({**world.files(), **(more or {})}) as server:
        forge.trust(server, world)
        forge.ok("install", str(NAME), *OUT)
        yield server


def codes(forge: Forge, *args: str, code: int = 0) -> list[str]:
    ran = forge("audit", *(args or ("out",)), "--json")
    assert ran.code == code, ran.out + ran.err
    value = ran.json
    assert value["permits"] is (code == 0)
    return [issue["code"] for each in value["releases"] for issue in each["issues"]]


def yank(world: World) -> None:
    version = world.releases[f"{NAME}==1.0.0"].manifest.version
    key = world.project_keys[str(NAME)]
    role = set_yanked(world.roles[NAME.role], NAME, version, "wrong", [key], world.now)
    world.set_role(NAME.role, role)
    world.publish_metadata()


def test_where_nothing_speaks_against_it_that_is_said(forge: Forge, world: World) -> None:
    with served(forge, world):
        ran = forge.ok("audit", "out")
        assert f"{NAME}==1.0.0  nothing against it" in ran.out
        assert "asked the registry just now; no file was looked at" in ran.err
        assert codes(forge, "out/forge.lock") == []


def test_a_newer_version_and_a_yank_are_told(forge: Forge, world: World) -> None:
    with served(forge, world) as server:
        world.publish(with_file("model.safetensors", "1.1.0"))
        server.files.update(world.files())
        assert codes(forge) == ["outdated"]
        yank(world)
        server.files.update(world.files())
        ran = forge.ok("audit", "out")
        assert "yanked: wrong" in ran.out
        assert f"forge install {NAME} --upgrade --into out" in ran.out
    # It stays known without a network, where nobody asks and where nobody answers.
    for words in (("out", "--offline"), ("out",)):
        assert "yanked" in codes(forge, *words)


def test_a_deprecation_names_what_takes_its_place(forge: Forge, world: World) -> None:
    with served(forge, world) as server:
        said_of_it = Deprecation(reason="nobody keeps it up", successor="minds-lab/other")
        versions = [world.releases[f"{NAME}==1.0.0"].manifest.version]
        key = world.project_keys[str(NAME)]
        current = world.roles[NAME.role]
        role = set_deprecated(current, NAME, versions, said_of_it, [key], world.now)
        world.set_role(NAME.role, role)
        world.publish_metadata()
        server.files.update(world.files())
        ran = forge.ok("audit", "out")
        assert "deprecated: nobody keeps it up; use minds-lab/other" in ran.out


@pytest.mark.parametrize("state", ["quarantined", "revoked"])
def test_what_is_withheld_must_be_stopped(forge: Forge, world: World, state: str) -> None:
    with served(forge, world) as server:
        world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"], state))
        server.files.update(world.files())
        assert codes(forge, code=7) == [f"release-{state}"]
    # And it stays known without a network.
    assert codes(forge, code=7) == [f"release-{state}"]
    assert codes(forge, "out", "--offline", code=7) == [f"release-{state}"]


def test_open_findings_are_told_as_the_registrys_word(forge: Forge, world: World) -> None:
    found = [
        {"id": "a:low:1", "severity": "low"},
        {"id": "a:bad:2", "severity": "critical", "title": "runs code\x1b[31m"},
        {"id": "a:gone:3", "severity": "high", "gone_at": "2026-01-01T00:00:00Z"},
        {"id": "a:answered:4", "severity": "high", "open": False},
    ]
    with served(forge, world, {**said({"1.0.0": days_ago(world, 3)}, findings=found)}):
        ran = forge.ok("audit", "out")  # bad news, and no policy that forbids it
        assert "✗ vulnerable: critical: a:bad:2 runs code\\x1b[31m" in ran.out
        assert "the registry's word, unsigned" in ran.out
        assert "gone" not in ran.out
        assert "answered" not in ran.out
        assert codes(forge) == ["vulnerable", "vulnerable"]


@pytest.mark.parametrize("answer", [b"[]", b"nonsense", b'{"findings": 5}', b'{"findings": [1]}'])
def test_an_answer_that_is_none_says_nothing(forge: Forge, world: World, answer: bytes) -> None:
    with served(forge, world, {f"/api/v1/components/{NAME}/1.0.0/findings": answer}):
        assert codes(forge) == []


def test_a_broken_policy_ends_in_seven_and_an_override_is_printed(
    forge: Forge, world: World
) -> None:
    world.publish(with_file("model.pkl", "1.1.0"))
    world.say_status()
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        assert codes(forge, code=7) == ["policy-refused"]
        ran = forge("audit", "out")
        assert f"policy-refused: {BASELINE}==1.0.0: formats-denied: wants no pickle" in ran.out
        assert "would satisfy it" in ran.out
        assert forge("status", "out").code == 7
        aside = ("--override", "formats-denied", "--reason", "read by hand")
        forge.ok("install", str(NAME), *OUT, *aside)
        assert codes(forge) == ["overridden"]
        assert "read by hand" in forge.ok("audit", "out").out
        assert "read by hand" in forge.ok("status", "out").out


def test_a_policy_that_cannot_be_read_ends_in_seven(forge: Forge, world: World) -> None:
    with served(forge, world):
        (forge.place / "out" / "forge-policy.toml").write_text("")
        ran = forge("audit", "out", "--json")
        assert ran.code == 7
        assert [issue["code"] for issue in ran.json["issues"]] == ["policy-unusable"]


def test_a_release_that_the_registry_shows_otherwise_is_an_error(
    forge: Forge, world: World
) -> None:
    with served(forge, world):
        lock = forge.place / "out" / "forge.lock"
        digest = world.releases[f"{NAME}==1.0.0"].manifest.digest
        lock.write_text(lock.read_text().replace(digest, "ab" * 32))
        assert codes(forge) == ["not-verified"]


def test_without_a_network_it_is_said_how_old_the_answer_is(forge: Forge, world: World) -> None:
    with served(forge, world, {**said({"1.0.0": world.now}, findings=[])}):
        forge.ok("audit", "out")
    ran = forge.ok("audit", "out")
    assert "this is what was known here last" in ran.err
    assert "the registry was not asked; findings and reviews as of" in ran.err
    ran = forge.ok("audit", "out", "--offline", "--json")
    assert ran.json["asked"] is False


def test_a_folder_without_a_lock_is_audited_by_its_records(forge: Forge, world: World) -> None:
    with served(forge, world):
        (forge.place / "out" / "forge.lock").unlink()
        assert f"{NAME}==1.0.0  nothing against it" in forge.ok("audit", "out").out


@pytest.mark.parametrize("target", ["nothing", "place", "out/forge_components/README"])
def test_what_cannot_be_audited_is_called_that(forge: Forge, world: World, target: str) -> None:
    (forge.place / "place").mkdir()
    with served(forge, world):
        assert forge("audit", target).code == 5


# --- SARIF ---------------------------------------------------------------------------------------


def check_sarif(log: dict[str, object]) -> list[dict[str, object]]:
    """The results of a log, after holding it to what SARIF 2.1.0 demands of what stands in it."""
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"  # §3.13.2
    (run,) = log["runs"]  # type: ignore[misc]
    assert set(run) == {"tool", "columnKind", "results"}
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")  # §3.14.17
    driver = run["tool"]["driver"]  # §3.18.2
    assert set(driver) == {"name", "version", "rules"}
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:  # §3.49
        assert set(rule) == {"id", "name", "shortDescription"}
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["name"].isalnum()  # §3.49.7
    for result in run["results"]:  # §3.27
        assert set(result) == {
            "ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints",
            "properties",
        }  # fmt: skip
        assert ids[result["ruleIndex"]] == result["ruleId"]  # §3.27.6
        assert result["level"] in LEVEL_WORDS  # §3.27.10
        assert result["message"]["text"]  # §3.11.8
        for location in result["locations"]:  # §3.28
            place = location["physicalLocation"]
            assert set(place) <= {"artifactLocation", "region"}
            assert " " not in place["artifactLocation"]["uri"]  # §3.4.3, RFC 3986
            assert place.get("region", {"startLine": 1})["startLine"] >= 1  # §3.30.5
        assert all(isinstance(v, str) for v in result["partialFingerprints"].values())
    return run["results"]  # type: ignore[no-any-return]


def test_sarif_is_what_the_standard_demands(forge: Forge, world: World) -> None:
    world.publish(with_file("model.pkl", "1.1.0"))
    world.say_status()
    found = [{"id": "a:bad:2", "severity": "high", "title": "runs code"}]
    with served(forge, world, {**said({"1.1.0": world.now}, findings=found)}):
        forge.ok("policy", "use", str(BASELINE))
        assert forge("audit", "out", "--sarif", "found.sarif").code == 7
        (forge.place / "a folder").mkdir()
        results = check_sarif(json.loads((forge.place / "found.sarif").read_text()))
        assert [result["ruleId"] for result in results] == ["policy-refused", "vulnerable"]
        place = results[0]["locations"][0]["physicalLocation"]  # type: ignore[index]
        assert place["artifactLocation"]["uri"] == "out/forge.lock"
        line = (forge.place / "out" / "forge.lock").read_text().splitlines()
        assert line[place["region"]["startLine"] - 1] == f'name = "{NAME}"'
        first = [result["partialFingerprints"] for result in results]
        forge("audit", "out", "--sarif", "again.sarif")
        again = check_sarif(json.loads((forge.place / "again.sarif").read_text()))
        assert [result["partialFingerprints"] for result in again] == first
        assert first[0] != first[1]


def test_every_level_is_one_of_sarifs_and_every_code_is_explained() -> None:
    assert set(LEVELS) < set(LEVEL_WORDS)
    assert all(text.endswith(".") for text in CODES.values())


# --- forge status --------------------------------------------------------------------------------


def test_status_knows_where_things_were_installed(forge: Forge, world: World) -> None:
    with served(forge, world) as server:
        forge.ok("install", str(NAME), "--into", "other")
        value = forge.ok("status", "--json").json
        paths = [Path(each["path"]).parent.name for each in value["folders"]]
        assert paths == ["other", "out"]
        world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"]))
        server.files.update(world.files())
        ran = forge("status")
        assert ran.code == 7
        assert ran.out.count("release-quarantined") == 2
        forge("status", "out")


def test_a_folder_whose_lock_is_broken_does_not_hide_the_others(forge: Forge, world: World) -> None:
    with served(forge, world):
        forge.ok("install", f"{NAME}==1.0.0", "--into", "broken")
        (forge.place / "broken" / "forge.lock").write_text("broken")
        ran = forge("status")
        assert ran.code == 1, "what could not be looked at is not well"
        assert "out/forge.lock  1 component: nothing against it" in ran.out
        assert "broken/forge.lock: expected TOML" in ran.err
        assert forge("status", "broken").code == 1


def test_status_of_an_empty_machine_is_no_failure(forge: Forge) -> None:
    assert "nothing was installed on this machine yet" in forge.ok("status").err


class _Enough(Exception):
    pass


def test_watching_tells_what_has_changed_and_nothing_else(
    forge: Forge, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    said_by_now: list[str] = []
    with served(forge, world) as server:

        def sleep(seconds: float) -> None:
            assert seconds == 5
            said_by_now.append(capsys.readouterr().out)
            if len(said_by_now) == 3:
                world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"]))
                server.files.update(world.files())
            if len(said_by_now) == 4:
                server.files.clear()  # away: no news, and no end of the watching either
            if len(said_by_now) == 6:
                raise _Enough

        context = Context.create(as_json=False, quiet=False, registry=None, passphrase_fd=None)
        with pytest.raises(_Enough):
            keep_watching(context, (Path("out"),), 5, offline=False, sleep=sleep)
    first, second, third, fourth, *_ = said_by_now
    assert "nothing against it" in first
    assert second == third == ""
    assert "release-quarantined" in fourth
