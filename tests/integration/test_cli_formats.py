"""What executes code when it is loaded is refused by the client, before a key is asked for or a
byte is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_fixtures import Forge
from hostile_models import MARKER, PICKLES, keras

TOML = (
    '[component]\norg = "minds-lab"\nname = "m"\nversion = "1.0.0"\nkind = "model"\n'
    'summary = "s"\nlicense = "MIT"\n'
)


@pytest.fixture
def forge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Forge:
    made = Forge(tmp_path, monkeypatch, capsys)
    (made.place / "m").mkdir()
    (made.place / "m/forge.toml").write_text(TOML)
    return made


@pytest.mark.parametrize("command", [("check", "m"), ("publish", "m", "--dry-run")])
def test_a_pickle_is_refused_with_the_way_out(
    forge: Forge, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_URL", "http://127.0.0.1:9")
    (forge.place / "m/model.safetensors").write_bytes(PICKLES["torch-zip"])
    ran = forge(*command)
    assert ran.code == 1
    assert "model.safetensors (in archive/data.pkl)" in ran.err
    assert "found pickle" in ran.err
    assert "safetensors.torch.save_file" in ran.err
    assert not MARKER.exists()


def test_a_lambda_layer_is_refused(forge: Forge) -> None:
    (forge.place / "m/m.keras").write_bytes(keras())
    ran = forge("check", "m", "--json")
    assert ran.code == 1
    assert (ran.json["error"]["code"], ran.json["error"]["format"]) == (
        "unsafe-format",
        "keras-lambda",
    )


def test_the_question_can_be_left_to_the_registry(forge: Forge) -> None:
    (forge.place / "m/model.pt").write_bytes(PICKLES["torch-zip"])
    assert forge("check", "m", "--waived").code == 0
