"""What the client says when somebody mistypes, comes too early or brings the wrong thing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, new_world
from policies import name_body, review
from static_server import StaticServer

from forge_cli.errors import ForgeError
from forge_cli.remote.http import lost
from forge_cli.truststore import TrustStore
from signing.names import ComponentName


@pytest.fixture
def server() -> Iterator[StaticServer]:
    world = new_world()
    world.publish(tree())
    with StaticServer(dict(world.files())) as made:
        made.world = world  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def forge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: StaticServer,
) -> Forge:
    """A client that trusts a registry with one component."""
    made = Forge(tmp_path, monkeypatch, capsys)
    world: World = server.world  # type: ignore[attr-defined]
    made.trust(server, world)
    return made


def test_a_folder_of_components_is_verified_by_component(forge: Forge) -> None:
    forge.ok("install", str(NAME), "--into", "out")
    ran = forge("verify", "out")
    assert ran.code == 5
    assert f"hint: forge verify out/forge_components/{NAME}" in ran.err


def test_a_plan_for_what_is_in_place_says_so(forge: Forge) -> None:
    forge.ok("install", str(NAME), "--into", "out")
    for more in ((), ("--offline",)):
        ran = forge.ok("install", str(NAME), "--into", "out", "--plan", *more)
        assert ran.out == ""
        assert "nothing to do: 1 component in place" in ran.err
    ran = forge.ok("install", str(NAME), "--into", "second", "--plan")
    assert "time       none\n" in ran.out, "all of it is in the cache"


@pytest.mark.parametrize("command", [("info",), ("verify",), ("install", "--into", "out")])
def test_who_has_no_line_is_told_what_needs_none(
    forge: Forge,
    server: StaticServer,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    world: World = server.world  # type: ignore[attr-defined]
    nobody = "http://127.0.0.1:1"
    forge.ok("install", str(NAME), "--into", "before")
    monkeypatch.setattr("forge_cli.remote.http.pause_seconds", lambda _: 0.0)
    TrustStore(forge.home / "trust").add(nobody, world.fingerprint, world.root)
    monkeypatch.setenv("FORGE_URL", nobody)
    ran = forge(command[0], str(NAME), *command[1:])
    assert ran.code == 8, ran.err
    assert "--offline uses what was verified on this machine" in ran.err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("organisation-pending", "when the authority has approved it"),
        ("organisation-refused", "said no"),
    ],
)
def test_who_publishes_too_early_is_told_what_they_wait_for(
    forge: Forge, server: StaticServer, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    """Somebody who applied already is not told to apply."""

    def refuse(handler: Any) -> None:
        problem = {"code": code, "title": "no", "status": 409, "detail": f"atlas: {words}"}
        handler.reply(409, json.dumps(problem).encode(), Content_Type="application/problem+json")

    monkeypatch.setenv("FORGE_TOKEN", "forge_x")
    server.files["/api/v1/organisations/atlas"] = refuse
    forge.ok("key", "new", "--insecure-unencrypted")
    forge.ok("init", "atlas", "--org", "atlas", "--name", "thing", "--kind", "model")
    ran = forge("publish", "atlas")
    assert ran.code == 6, ran.err
    assert words in ran.err
    assert "forge org create" not in ran.err


@pytest.mark.parametrize("command", [("info",), ("verify",), ("install", "--into", "out")])
@pytest.mark.parametrize(
    ("name", "meant"), [("minds-lab/darija-lidd", str(NAME)), ("mind-lab/x", "minds-lab")]
)
def test_a_mistyped_name_is_met_with_the_nearest(
    forge: Forge, command: tuple[str, ...], name: str, meant: str
) -> None:
    ran = forge(command[0], name, *command[1:])
    assert ran.code == 5
    assert f"did you mean {meant}?" in ran.err


@pytest.mark.parametrize("command", [("info",), ("install", "--into", "out")])
def test_of_what_is_near_it_is_said_whose_it_is_and_what_is_known_of_it(
    forge: Forge, server: StaticServer, command: tuple[str, ...]
) -> None:
    """A name may have been made to be taken for another: who publishes it tells them apart."""
    world: World = server.world  # type: ignore[attr-defined]
    theirs, ours = ComponentName.parse("mind-lab/darija-lid"), NAME
    genuine = world.releases[f"{ours}==1.0.0"]
    world.publish(tree(theirs, "9.9.9"))
    review(world, "cert-ma", name_body(world, "cert-ma"), genuine)
    world.publish_metadata()
    server.files.update(world.files())
    for asked in ("mindslab/darija-lid", "minds-lab/darja-lid"):
        ran = forge(command[0], asked, *command[1:])
        assert ran.code == 5, ran.err
        said = [line.strip().removeprefix("hint: ") for line in ran.err.splitlines()]
        assert f"did you mean {ours}? by Minds-Lab (startup), reviewed" in said
        assert f"did you mean {theirs}? by Mind-Lab (startup), not reviewed" in said
        assert "these may be different people's: look at whose it is" in said


def test_what_is_near_and_cannot_be_looked_at_does_not_hide_the_answer(
    forge: Forge, server: StaticServer
) -> None:
    world: World = server.world  # type: ignore[attr-defined]
    digest = world.releases[f"{NAME}==1.0.0"].manifest.digest
    server.files = {path: data for path, data in server.files.items() if digest not in path}
    ran = forge("info", "mindslab/darija-lid")
    assert ran.code == 5, "what was asked for is not there, whatever is wrong with another"
    assert f"did you mean {NAME}? by Minds-Lab (startup), which does not verify" in ran.err


def test_a_search_without_a_hit_says_what_is_near_and_whose_that_is(
    forge: Forge, server: StaticServer
) -> None:
    near = [
        {
            "component": "minds-lab/darija-lid",
            "latest": "1.2.0",
            "organisation_display_name": "MINDS Lab \u202e",
            "review": "approved",
            "states": [],
        },
        {
            "component": "mind-lab/darija-lid",
            "latest": None,
            "organisation_display_name": "Somebody",
            "review": "community",
            "states": ["quarantined"],
        },
    ]
    answer = {"total": 0, "items": [], "near": near}
    server.files["/api/v1/components"] = json.dumps(answer).encode()
    ran = forge.ok("search", "darja-lid")
    assert ran.out == "", "what was not asked for is no answer"
    said = [" ".join(line.split()) for line in ran.err.splitlines()]
    assert said[0] == "nothing matches 'darja-lid'"
    assert said[2] == "minds-lab/darija-lid 1.2.0 by MINDS Lab \\u202e approved by reviewers"
    assert said[3] == "mind-lab/darija-lid - by Somebody not reviewed, quarantined"
    assert "forge info" in said[-1]
    assert json.loads(forge.ok("search", "darja-lid", "--json").out) == answer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "my-model"), "ORG/NAME"),
        (("install", "my-model"), "forge search my-model"),
        (("lock", "my-model"), "forge search my-model"),
        (("trust", "add", "http://127.0.0.1:1", "--fingerprint", "abc"), "--fingerprint"),
        (("login", "127.0.0.1:8080"), "http://127.0.0.1:8080"),
        (("init", "x", "--org", "o", "--kind", "model", "--license", "nope"), "--license"),
        (("init", "x", "--org", "o", "--kind", "model", "--version", "1.0-x"), "--version"),
        (("init", "x", "--org", "o", "--kind", "model", "--language", "Darija"), "--language"),
        (("init", "x", "--org", "Bad Org", "--kind", "model"), "--org"),
        (("token", "create", "t", "--component", "foo"), "--component"),
        (("token", "create", ""), "NAME"),
        (("token", "create", "t", "--days", "367"), "--days"),
        (("token", "revoke", "foo"), "ID"),
        (("config", "set", "key", "nope"), "nope"),
        (("authority", "init", "a", "--online-keys", "nope.json"), "nope.json"),
    ],
)
def test_a_wrong_value_is_named_by_its_option_with_exit_code_2(
    forge: Forge, arguments: tuple[str, ...], words: str
) -> None:
    ran = forge(*arguments)
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert not (forge.place / "x").exists()


def test_a_missing_option_shows_its_choices_readably(forge: Forge) -> None:
    ran = forge("org", "create", "a", "--display-name", "A")
    assert "\\t" not in ran.err
    assert "government" in ran.err


def test_a_file_that_is_no_token_is_never_sent(forge: Forge, server: StaticServer) -> None:
    for text in ("my-hostname", "forge_" + "a" * 57 + "b"):
        (forge.place / "file").write_text(text + "\n")
        ran = forge("login", server.url, "--token-file", "file")
        assert ran.code == 1
        assert "not sent" in ran.err
    assert server.requests == []


def test_a_card_that_is_not_there_is_named_as_forge_toml_names_it(forge: Forge) -> None:
    forge.ok("init", "c", "--org", "o", "--kind", "model")
    (forge.place / "c" / "README.md").unlink()
    ran = forge("check", "c")
    assert ran.code == 1
    assert "c/forge.toml, line " in ran.err
    assert "component.card" in ran.err
    assert "c/README.md" in ran.err


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [("license =", "licence =", "license"), ('"model"', '"modle"', "model")],
)
def test_a_misspelt_key_or_value_of_forge_toml_is_guessed(
    forge: Forge, old: str, new: str, meant: str
) -> None:
    forge.ok("init", "c", "--org", "o", "--kind", "model")
    path = forge.place / "c" / "forge.toml"
    path.write_text(path.read_text().replace(old, new))
    assert f"did you mean {meant!r}?" in forge("check", "c").err


def test_the_doctor_complains_once_about_a_server_that_is_down(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, server: StaticServer
) -> None:
    world: World = server.world  # type: ignore[attr-defined]
    with StaticServer(dict(world.files())) as other:
        url = other.url
        forge.ok("trust", "add", url, "--fingerprint", world.fingerprint)
    monkeypatch.setenv("FORGE_URL", url)
    ran = forge("doctor")
    assert ran.code == 8
    assert ran.out.count("refused") == 1
    assert "forge doctor" not in ran.out


def test_tls_against_plain_http_suggests_http() -> None:
    failure = lost("https://a.example:8080/x", ValueError("[SSL: WRONG_VERSION_NUMBER] wrong"))
    assert isinstance(failure, ForgeError)
    assert "http://a.example:8080" in str(failure.hint)
    assert "SSL:" not in failure.message


def test_a_file_that_stops_coming_is_named() -> None:
    failure = lost("minds-lab/model 1.0.0: weights.bin", TimeoutError("timed out"))
    assert failure.message == "minds-lab/model 1.0.0: weights.bin: no answer in time"


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("forge_cli.flows.installed.os.listdir", refuse)
    ran = forge("list", "--into", "out")
    assert ran.code == 1
    assert "Permission denied" in ran.err


def test_a_file_that_is_no_role_is_named(forge: Forge) -> None:
    (forge.place / "notes.txt").write_text("hello")
    ran = forge("org", "sign", "notes.txt")
    assert ran.code == 1
    assert ran.err.startswith("error: notes.txt: ")
