"""`forge config pip|uv|hf|…`: what is printed, and that nobody's file is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_fixtures import Forge

from forge_cli.errors import ForgeError, UsageError
from forge_cli.flows.client_settings import CLIENTS, settings_of, write_settings

URL = "https://forge.example"


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_the_address_is_the_registrys(client: str) -> None:
    assert "forge.example" in settings_of(client, URL, None).text


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_one_organisation_alone(client: str) -> None:
    assert f"{URL}/simple/-/minds-lab/" in settings_of(client, URL, "minds-lab").text


def test_other_clients_cannot_be_told_to_see_one() -> None:
    with pytest.raises(UsageError, match="--org"):
        settings_of("hf", URL, "minds-lab")


def test_a_file_of_yours_is_left_alone(tmp_path: Path) -> None:
    settings = settings_of("pip", URL, None)
    path = write_settings(settings, "pip", tmp_path, tmp_path / "config")
    assert path == tmp_path / "config" / "pip" / "pip.conf"
    assert path.read_text() == settings.text
    path.write_text("[global]\ntimeout = 5\n")
    with pytest.raises(ForgeError, match="settings of yours") as caught:
        write_settings(settings, "pip", tmp_path, tmp_path / "config")
    assert caught.value.code == "already-exists"
    assert path.read_text() == "[global]\ntimeout = 5\n"


def test_what_is_told_by_its_environment_has_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="environment"):
        write_settings(settings_of("hf", URL, None), "hf", tmp_path, tmp_path)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forge = Forge(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("FORGE_URL", f"{URL}/")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert forge.ok("config", "hf").out == f"export HF_ENDPOINT={URL}/hf\n"
    assert "simple/-/minds-lab/" in forge.ok("config", "uv", "--org", "minds-lab").out
    assert forge("config", "pip", "--org", "Minds Lab").code == 2
    assert forge("config", "hf", "--write").code == 2
    written = tmp_path / "xdg" / "uv" / "uv.toml"
    assert forge.ok("config", "uv", "--write").out == f"{written}\n"
    assert f"{URL}/simple/" in written.read_text()
