"""Judges written by others look at the interface: a validator of OpenAPI documents, and
schemathesis, which makes requests from the document and holds the answers against it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from server_fixtures import Client, World, set_settings, start_server

from forge_server.app import create_app
from forge_server.operate.initialise import initialise

ROOT = Path(__file__).parents[2]
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "negative_data_rejection",
    "missing_required_header", "unsupported_method", "ignored_auth",
)  # fmt: skip
"""Not among them: that whatever has the right shape is accepted (no generator signs a manifest),
and that OPTIONS names the methods of one path alone (a host may be called `recalls`)."""


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the judges. `make test` installs them and names it in the environment."""
    folder = os.environ.get("FORGE_JUDGE_INTERFACE")
    if folder is None or not (Path(folder) / "schemathesis").exists():
        if os.environ.get("CI"):
            pytest.fail("schemathesis is required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_INTERFACE does not name a folder with schemathesis; use make test")
    return Path(folder).absolute()


@dataclass(frozen=True)
class Served:
    url: str
    token: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the component that the examples of the document name."""
    root = tmp_path_factory.mktemp("interface") / "reg"
    initialise(root, dev=True)
    # A stranger who makes requests by the hundred is what the limits are for.
    set_settings(
        root, "scan = false\nmax_requests_per_minute = 0\nmax_failures_per_minute = 0\n"
    )  # fmt: skip
    world = World(root)
    owner = world.user("sara")
    world.organisation(owner)
    Client(create_app(world.registry).test_client(), owner).publish(world.release("darija-lid"))
    token = world.token("sara")  # the first one is there to be revoked
    world.close()
    server = start_server(root)
    yield Served(server.url, token)
    server.kill()


def test_the_document_is_valid(programs: Path) -> None:
    page = ROOT / "docs" / "reference" / "openapi.json"
    done = _run([str(programs / "openapi-spec-validator"), str(page)], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("who", ["stranger", "sara"])
def test_answers_are_what_the_document_promises(
    programs: Path, served: Served, who: str, tmp_path: Path
) -> None:
    """The same requests every time. With a token what each constraint gives by itself comes first;
    a stranger hears little but that a token is needed, so a few generated ones are enough."""
    if who == "sara":
        phases, token = "coverage,fuzzing", ["--header", f"Authorization: Bearer {served.token}"]
    else:
        phases, token = "fuzzing", []
    done = _run(
        [
            str(programs / "schemathesis"), "run", f"{served.url}/api/v1/openapi.json",
            "--phases", phases, "--max-examples", "1", "--generation-deterministic",
            "--checks", ",".join(CHECKS), "--no-shrink", "--no-color", *token,
        ],
        tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
