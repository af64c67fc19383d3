"""`forge verify` and its options: what is asked for is used or refused, never quietly ignored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import NAME, World, tree
from cli_fixtures import Forge, new_world
from static_server import StaticServer

from forge_cli.output import Output

OTHER = "sha256:" + "ab" * 32


@pytest.fixture
def world() -> World:
    made = new_world()
    made.publish(tree())
    return made


@pytest.fixture
def forge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    world: World,
) -> Iterator[Forge]:
    """A client that trusts ``world``."""
    made = Forge(tmp_path, monkeypatch, capsys)
    with StaticServer(dict(world.files())) as server:
        made.trust(server, world)
        yield made


def test_another_fingerprint_than_the_pinned_one_fails(forge: Forge, world: World) -> None:
    ran = forge("verify", str(NAME), "--fingerprint", OTHER)
    assert ran.code == 3
    assert OTHER in ran.err
    assert "verified" not in ran.out
    forge.ok("verify", str(NAME), "--fingerprint", world.fingerprint)


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--manifest", ("FOLDER", "--manifest", "manifest.json")),
        ("--metadata-only", ("FOLDER", "--metadata-only")),
        ("--fingerprint", ("FOLDER", "--bundle", "b", "--key", "k", "--fingerprint", OTHER)),
        ("--online", ("FOLDER", "--bundle", "b", "--key", "k", "--online")),
        ("--fingerprint", ("FOLDER", "--fingerprint", "abc")),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    forge: Forge, option: str, arguments: tuple[str, ...]
) -> None:
    ran = forge("verify", *arguments)
    assert ran.code == 2, ran.err
    assert option in ran.err


def test_a_folder_that_is_not_there_is_called_that(forge: Forge) -> None:
    ran = forge("verify", "nosuchfolder")
    assert ran.code == 5
    assert ran.err.startswith("error: nosuchfolder: no such folder")
    assert "ORG/NAME" in ran.err


def test_an_exported_folder_verifies_without_a_network(
    forge: Forge, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.ok("export-bundle", str(NAME), "--into", "third-party")
    monkeypatch.setenv("FORGE_URL", "http://127.0.0.1:1")
    assert f"verified: {NAME} 1.0.0" in forge.ok("verify", "third-party").out
    # On a machine that pinned nothing, the fingerprint takes the place of the pin.
    monkeypatch.setenv("FORGE_HOME", str(forge.place / "elsewhere"))
    assert "not trusted here" in forge("verify", "third-party").err
    forge.ok("verify", "third-party", "--fingerprint", world.fingerprint)
    assert forge("verify", "third-party", "--fingerprint", OTHER).code == 3


@pytest.mark.parametrize("file", ["files/forge.toml", "files/extra", "manifest.json"])
def test_an_exported_folder_that_was_touched_fails(forge: Forge, file: str) -> None:
    forge.ok("export-bundle", str(NAME), "--into", "third-party")
    path = forge.place / "third-party" / file
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    ran = forge("verify", "third-party")
    assert ran.code == 3, ran.out
    assert "verified" not in ran.out


def test_quiet_prints_the_answer_alone(forge: Forge) -> None:
    assert forge.ok("verify", str(NAME), "-q").out == f"verified: {NAME} 1.0.0\n"


def test_a_touched_folder_is_told_how_to_mend_it(forge: Forge) -> None:
    forge.ok("install", str(NAME), "--into", "out")
    folder = forge.place / "out" / "forge_components" / str(NAME)
    (folder / "extra").write_text("x")
    ran = forge("verify", str(folder), "-q")
    assert ran.code == 3
    assert len(ran.out.splitlines()) == 2
    assert "extra" in ran.out
    assert "forge sync --into out " in forge("verify", str(folder)).err


def test_the_export_names_an_option_that_the_stock_verifier_has(forge: Forge) -> None:
    """model_signing 1.1.1 spells it with an underscore."""
    ran = forge.ok("export-bundle", str(NAME), "--into", "third-party")
    assert "--public_key third-party/publisher.pem" in ran.err


def test_long_lines_hang_under_their_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Output.standard()
    monkeypatch.setattr(Output, "_columns", lambda _: 40)
    out.hanging(" 1 \x1b[32m✓\x1b[0m title  ", "one two three four five six seven eight nine")
    first, *others = capsys.readouterr().out.splitlines()
    assert first.endswith("title  one two three four five six")
    assert others == ["            seven eight nine"]
