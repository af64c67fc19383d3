"""What the making of clients costs, and what they take from settings. Nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from storage.s3 import S3Options, connect


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text("[default]\naws_access_key_id = AK\naws_secret_access_key = SK\n")
    return path


def test_models_are_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    connect(S3Options(endpoint="http://127.0.0.1:9", credentials=keys))
    read: list[str] = []
    original = JSONFileLoader.load_file

    def load_file(self: Any, path: str) -> Any:
        read.append(path)
        return original(self, path)

    monkeypatch.setattr(JSONFileLoader, "load_file", load_file)
    other = S3Options(
        endpoint="http://127.0.0.1:9", credentials=keys, public_endpoint="http://127.0.0.1:8"
    )
    connect(other)
    assert read == []


def test_a_connection_keeps_its_own_keys_and_region(keys: Path, tmp_path: Path) -> None:
    """Also a session token; what connections share is what Amazon wrote."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(keys.read_text().replace("AK", "OTHER") + "aws_session_token = ST\n")
    options = S3Options(endpoint="http://127.0.0.1:9", credentials=keys, region="af-south-1")
    first = connect(options).bucket("s3://bucket").presigned_get("key", 60)
    other = S3Options(endpoint="http://127.0.0.1:9", credentials=token, region="eu-west-1")
    second = connect(other).bucket("s3://bucket").presigned_get("key", 60)
    assert "AK%2F" in first
    assert "%2Faf-south-1%2F" in first
    assert "OTHER%2F" in second
    assert "%2Feu-west-1%2F" in second
    assert "X-Amz-Security-Token=ST" in second
    assert "Security-Token" not in first
