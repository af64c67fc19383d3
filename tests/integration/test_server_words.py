"""What operators and visitors read: the audit log by request, the pages, refusals of commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_fixtures import ORG, Client, World, _fresh_registry, client, sara, world

from forge_server.manage import cli
from forge_server.operate.initialise import initialise

__all__ = ["_fresh_registry", "client", "sara", "world"]


def server(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forge_server.manage", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_request_id_that_was_shown_finds_its_event(world: World, client: Client) -> None:
    refusal = client.call("DELETE", "/api/v1/tokens/1", expect=401)
    shown = refusal["request_id"]
    root = str(world.root)
    result = CliRunner().invoke(cli, ["audit", root, "--request", shown])
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert shown in result.stdout
    assert "token.revoke" in result.stdout
    nothing = CliRunner().invoke(cli, ["audit", root, "--action", "nosuch"])
    assert "no such event" in nothing.stderr


def test_a_component_whose_versions_were_all_yanked_is_marked(world: World, sara: Client) -> None:
    built = world.release("a-model")
    sara.publish(built)
    page = f"/en/{ORG}/a-model/use"
    assert "forge trust add" in sara.text(page).decode()
    assert "Withdrawn" not in sara.text("/en/search").decode()
    from sqlalchemy import update

    from forge_server.db.models import Release

    with world.registry.database.write() as session:
        session.execute(update(Release).values(yanked="wrong"))
    world.registry.index.rebuild()
    assert "Withdrawn" in sara.text("/en/search").decode()
    assert "forge install" not in sara.text(page).decode()
    assert sara.get("/api/v1/components")["items"][0]["yanked"] is True


def test_wrong_command_lines_are_refused_in_our_form() -> None:
    done = server("run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Missing argument")
    assert "hint: see forge-server run --help" in done.stderr
    assert server("--version").stdout.startswith("forge-server 0")


def test_a_place_that_cannot_be_written_is_named_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(13, "Permission denied", "/place/.reg.abc123")

    monkeypatch.setattr("forge_server.operate.initialise.tempfile.mkdtemp", refuse)
    with pytest.raises(OSError, match="Permission denied") as caught:
        initialise(tmp_path / "reg", dev=False)
    assert caught.value.filename == str(tmp_path / "reg")


def test_a_host_of_another_machine_is_not_answered_with_ports(world: World) -> None:
    done = server("run", str(world.root), "--host", "203.0.113.1", "--port", "0")
    assert done.returncode == 1
    assert "--host" in done.stderr
    assert "--port" not in done.stderr
