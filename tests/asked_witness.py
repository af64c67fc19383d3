"""A witness that is asked over HTTP, and a log that grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from log_builders import NamedKey
from witness_fixtures import GrowingLog, client_of, make_witness

from forge_server.witness.service import Witness

LOG_NAME = "forge.example/log"


@pytest.fixture
def log() -> GrowingLog:
    return GrowingLog(NamedKey(LOG_NAME))


@pytest.fixture
def witness(tmp_path: Path, log: GrowingLog) -> Witness:
    return make_witness(tmp_path / "w", log)


@pytest.fixture
def client(witness: Witness) -> FlaskClient:
    return client_of(witness)


def ask(client: FlaskClient, body: bytes) -> tuple[int, str]:
    answer = client.post("/add-checkpoint", data=body)
    assert "Traceback" not in answer.text
    return answer.status_code, answer.text


def size_seen(witness: Witness, log: GrowingLog) -> int:
    known = witness.folder.log(log.key.name)
    assert known is not None
    seen = known.seen()
    return seen.head.size if seen else 0


def evidence(witness: Witness) -> list[Path]:
    return sorted(witness.folder.evidence.iterdir())


def grown(client: FlaskClient, log: GrowingLog, size: int) -> None:
    assert ask(client, log.ask(0, size))[0] == 200
