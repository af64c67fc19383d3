"""pip-audit, uv and the validator of CycloneDX, in an environment of theirs, read what we say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import ORG, Client, World, forge_toml, start_server

from forge_cli.vex import Release, export
from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.services.callers import OPERATOR
from signing.names import ComponentName

LIBRARY = ComponentName.parse(f"{ORG}/tokens-lib")
PYPROJECT = """\
[project]
name = "demo"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["tokens-lib"]
"""
UV_LOCK = """\
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "demo"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "tokens-lib" }]

[package.metadata]
requires-dist = [{ name = "tokens-lib" }]

[[package]]
name = "tokens-lib"
version = "1.0.0"
source = { registry = "https://index.example/simple" }
wheels = [
    { url = "https://index.example/tokens_lib-1.0.0-py3-none-any.whl", hash = "sha256:%s" },
]
"""


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the tools. `make test` installs them and names it in the environment."""
    folder = os.environ.get("FORGE_JUDGE_ADVISORIES")
    if folder is None or not (Path(folder) / "pip-audit").exists():
        if os.environ.get("CI"):
            pytest.fail("pip-audit and uv are required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_ADVISORIES does not name a folder with pip-audit; use make test")
    return Path(folder).absolute()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with two versions of a library, the first of which is held back."""
    root = tmp_path_factory.mktemp("advisories") / "reg"
    initialise(root, dev=True)
    world = World(root)
    sara = Client(create_app(world.registry).test_client(), world.user("sara"))
    assert sara.token is not None
    world.organisation(sara.token)
    for version in ("1.0.0", "1.1.0"):
        files = {f"tokens_lib-{version}-py3-none-any.whl": f"own {version}".encode()}
        sara.publish(
            world.release(files=files, toml=forge_toml("tokens-lib", version, kind="library"))
        )
    world.registry.quarantine.begin(OPERATOR, LIBRARY, "1.0.0", "phones home")
    world.close()
    server = start_server(root)
    yield server.url
    server.kill()


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *arguments], cwd=cwd, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "UV_CACHE_DIR": str(cwd / "cache")},
    )  # fmt: skip


@pytest.mark.parametrize(("version", "code"), [("1.0.0", 1), ("1.1.0", 0)])
def test_pip_audit(programs: Path, url: str, tmp_path: Path, version: str, code: int) -> None:
    (tmp_path / "requirements.txt").write_text(f"Tokens_Lib=={version}\n")
    done = run(
        programs / "pip-audit", "-s", "osv", "--osv-url", f"{url}/osv/v1/query", "--no-deps",
        "--disable-pip", "-r", "requirements.txt", "-f", "json", "--progress-spinner", "off",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    (found,) = json.loads(done.stdout)["dependencies"]
    if code:
        (vulnerability,) = found["vulns"]
        assert vulnerability["id"].startswith("FORGE-")
        assert vulnerability["fix_versions"] == ["1.1.0"]
        assert "phones home" in vulnerability["description"]
    else:
        assert found["vulns"] == []


def test_uv_audit(programs: Path, url: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "uv.lock").write_text(UV_LOCK % ("0" * 64))
    done = run(programs / "uv", "audit", "--frozen", "--service-url", f"{url}/osv/", cwd=tmp_path)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "tokens-lib 1.0.0 has 1 known vulnerability" in done.stdout + done.stderr
    assert "1.1.0" in done.stdout + done.stderr


VALIDATE = """\
import sys
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(str(error) if error else 0)
"""


def test_cyclonedx_finds_our_vex_valid(programs: Path) -> None:
    kinds: list[str | None] = [
        "false-positive", "mitigated", "not-affected", "no-fix-available", "wont-fix", "pending",
        None,
    ]  # fmt: skip
    findings: list[dict[str, Any]] = [
        {
            "id": f"scanner:rule:{number:012x}", "scanner": "scanner", "severity": severity,
            "title": "what was found", "gone_at": None if number else "2026-01-01T00:00:00Z",
            "answer": None if kind is None else {"type": kind, "text": "because"},
        }
        for number, kind in enumerate(kinds)
        for severity in ("low", "medium", "high", "critical")
    ]  # fmt: skip
    release = Release(
        component="lab/model", version="1.0.0", manifest_sha256="a" * 64, findings=findings
    )
    document = export("cyclonedx", release, "lab", datetime(2026, 1, 1, tzinfo=UTC))
    for change, valid in (
        ({}, True),
        ({"specVersion": "1.6", "vulnerabilities": [{"x": 1}]}, False),
    ):
        done = subprocess.run(
            [str(programs / "python"), "-c", VALIDATE], input=json.dumps(document | change),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is valid, done.stderr
