"""`--offline`: what is on this machine will do, nobody is asked, and it is said how old that is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, Ran
from packaging.version import Version
from reading import FILES, WEIGHTS, server, world
from static_server import StaticServer

from signing.role_edits import set_yanked

__all__ = ["server", "world"]

TREE = f"out/forge_components/{NAME}"


@pytest.fixture
def forge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    world: World,
    server: StaticServer,
) -> Forge:
    """A machine that installed 1.0.0 once, and whose line is cut since."""
    made = Forge(tmp_path, monkeypatch, capsys)
    made.trust(server, world)
    made.ok("install", f"{NAME}==1.0.0", "--into", "before")
    server.requests.clear()
    return made


@pytest.fixture(autouse=True)
def nobody_is_asked(forge: Forge, server: StaticServer) -> Iterator[None]:
    yield
    assert server.requests == []


def days_later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    class Later:
        @staticmethod
        def now(zone: object) -> datetime:
            return datetime.now(UTC) + timedelta(days=days)

    monkeypatch.setattr("forge_cli.context.datetime", Later)


def refused(ran: Ran) -> str:
    assert (ran.code, ran.out) == (8, ""), ran.err
    assert "nobody is asked (offline)" in ran.err
    return ran.err


def test_what_is_here_is_installed_and_its_age_is_told(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = forge.ok("install", str(NAME), "--into", "out", "--offline")
    assert f"{NAME}==1.0.0" in ran.out, "the newest that was verified here, though 1.1.0 is there"
    assert (forge.place / TREE / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert "moments ago, is not known here" in ran.err
    assert "last heard" not in ran.err, "nobody is frightened of a word that is in date"
    days_later(monkeypatch, 5)
    for command in (
        ("sync", "--into", "out", "--offline"),
        ("install", str(NAME), "--into", "new", "--offline"),
        ("install", str(NAME), "--into", "other", "--offline", "--plan"),
    ):
        ran = forge.ok(*command)
        assert "5 days ago, is not known here" in ran.err
        assert "what is quarantined or revoked was last heard" in ran.err
    assert "nothing was fetched or changed" in ran.err


def test_a_lock_of_what_is_here_says_so(forge: Forge) -> None:
    ran = forge.ok("lock", str(NAME), "--into", "out", "--offline")
    assert f"{NAME}  1.0.0" in ran.out
    assert "it is the newest of what was verified on this machine" in ran.err
    assert "forge sync --into out --offline" in ran.err


def test_programs_are_told_the_age_as_well(forge: Forge) -> None:
    told = forge.ok("install", str(NAME), "--into", "out", "--offline", "--json").json
    kept = json.loads((forge.place / "out/forge_components/.forge" / f"{NAME}.json").read_bytes())
    assert told["known_at"] == kept["verified_at"]


def test_without_the_option_the_registry_is_asked(forge: Forge, server: StaticServer) -> None:
    assert f"{NAME}==1.1.0" in forge.ok("install", str(NAME), "--into", "out").out
    assert server.requests
    server.requests.clear()


def test_a_component_that_was_never_here_is_named_with_what_to_do(forge: Forge) -> None:
    for command in (
        ("install", "minds-lab/other", "--into", "out"),
        ("lock", "minds-lab/other", "--into", "out"),
        ("verify", "minds-lab/other"),
        ("info", "minds-lab/other"),
    ):
        said = refused(forge(*command, "--offline"))
        assert "minds-lab/other: nothing of it was verified on this machine" in said
        assert "ask once where there is a network" in said
    assert forge.nothing_installed()


def test_a_version_that_was_never_here_is_not_chosen(forge: Forge) -> None:
    ran = forge("install", f"{NAME}==1.1.0", "--into", "out", "--offline")
    assert ran.code == 6
    assert "only what was verified on this machine is known" in ran.err
    ran = forge("verify", f"{NAME}==1.1.0", "--offline")
    assert ran.code == 5
    assert "no such version was verified on this machine" in ran.err
    assert "there are: 1.0.0" in ran.err
    assert forge.nothing_installed()


def test_files_that_are_missing_are_counted(forge: Forge) -> None:
    for path in forge.cached():
        path.unlink()
    planned = forge.ok("install", str(NAME), "--into", "out", "--offline", "--plan")
    assert "so it cannot be installed" in planned.out
    for command in (("install", str(NAME), "--into", "out"), ("verify", str(NAME))):
        said = refused(forge(*command, "--offline"))
        assert f"{NAME}/" in said
        assert f"nor {len(FILES) - 1} other file" in said
        assert "run it once where there is a network" in said
    assert forge.nothing_installed()


def test_a_lock_of_what_was_never_here_is_named(forge: Forge, server: StaticServer) -> None:
    forge.ok("lock", f"{NAME}==1.1.0", "--into", "out")
    server.requests.clear()
    said = refused(forge("sync", "--into", "out", "--offline"))
    assert f"{NAME}==1.1.0: what proves it is not on this machine" in said
    assert "run it once where there is a network" in said


def test_a_release_is_verified_as_it_is_kept(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    days_later(monkeypatch, 5)
    ran = forge.ok("verify", str(NAME), "--offline")
    assert f"verified: {NAME} 1.0.0" in ran.out
    assert "the registry was last asked 5 days ago" in ran.err
    assert "longer than a word of the status host lasts" in ran.err
    (weights,) = (path for path in forge.cached() if path.read_bytes() == FILES[WEIGHTS])
    weights.chmod(0o644)
    weights.write_bytes(FILES[WEIGHTS][:-1] + b"\x00")
    refused(forge("verify", str(NAME), "--offline"))


def test_a_damaged_folder_is_repaired_from_the_cache(forge: Forge) -> None:
    forge.ok("install", str(NAME), "--into", "out", "--offline")
    damaged = forge.place / TREE / WEIGHTS
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    ran = forge.ok("verify", TREE, "--repair", "--offline")
    assert f"repaired {WEIGHTS}" in ran.err
    assert damaged.read_bytes() == FILES[WEIGHTS]
    damaged.unlink()
    for path in forge.cached():
        path.unlink()
    assert f"{NAME}/{WEIGHTS}: not on this machine" in refused(
        forge("verify", TREE, "--repair", "--offline")
    )


def test_info_shows_what_was_verified_here(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    days_later(monkeypatch, 5)
    ran = forge.ok("info", str(NAME), "--offline")
    assert ran.out.startswith(f"{NAME} 1.0.0\n")
    assert "versions   1.1.0, 1.0.0" in ran.out, "the signed index names what is not here as well"
    assert "the registry was last asked 5 days ago" in ran.err
    assert forge.ok("info", str(NAME), "--offline", "--json").json["version"] == "1.0.0"


def test_the_newest_index_that_still_verifies_counts(
    forge: Forge, world: World, server: StaticServer
) -> None:
    """Whoever writes into the cache can neither add to it nor hide a yank behind a made-up one."""
    key = world.project_keys[str(NAME)]
    role = set_yanked(world.roles[NAME.role], NAME, Version("1.0.0"), "wrong", [key], world.now)
    world.set_role(NAME.role, role)
    world.publish(tree(version="1.2.0"))
    world.say_status()
    server.files.update(world.files())
    forge.ok("install", f"{NAME}==1.2.0", "--into", "newer")
    server.requests.clear()
    assert "1.0.0 (yanked)" in forge.ok("info", str(NAME), "--offline").out
    for path in (forge.home / "cache" / "evidence").glob("*.json"):
        value = json.loads(path.read_bytes())
        evidence = json.loads(value["evidence"])
        if '"1.2.0"' not in evidence["manifest"]:
            project = json.loads(evidence["project"])
            project["signed"]["version"] = 1000
            evidence["project"] = json.dumps(project)
            value["evidence"] = json.dumps(evidence)
            path.write_text(json.dumps(value))
    assert "1.0.0 (yanked)" in forge.ok("info", str(NAME), "--offline").out


def test_what_was_withheld_when_the_registry_was_asked_last_is_refused(
    forge: Forge, world: World, server: StaticServer
) -> None:
    world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"]))
    server.files.update(world.files())
    forge.ok("info", f"{NAME}==1.1.0")
    server.requests.clear()
    for command in (("install", f"{NAME}==1.0.0", "--into", "out"), ("verify", f"{NAME}==1.0.0")):
        assert forge(*command, "--offline").code == 7
    assert "(quarantined)" in forge.ok("info", f"{NAME}==1.0.0", "--offline").out
    assert forge.nothing_installed()


@pytest.mark.parametrize(
    "options", [("--online",), ("--mirror", "http://127.0.0.1:1")], ids=["online", "mirror"]
)
def test_nobody_and_somebody_are_not_asked_at_once(forge: Forge, options: tuple[str, ...]) -> None:
    ran = forge("verify", str(NAME), "--offline", *options)
    assert ran.code == 2
    assert "leave one of them out" in ran.err
