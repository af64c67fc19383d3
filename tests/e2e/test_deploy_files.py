"""The compose file and the Kubernetes manifests: valid by schemas that others made, shut in, and
naming only what the program has. Nothing here runs a container."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forge_server.manage import cli
from forge_server.settings import parse_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
_READ = """
import json, sys, yaml
print(json.dumps([list(yaml.safe_load_all(open(path))) for path in sys.argv[1:]]))
"""
_COMPOSE = """
import sys
from compose_spec import PyOptions
options = PyOptions()
options.apply_merge = True
options.from_yaml(open(sys.argv[1]).read()).validate()
"""


@pytest.fixture(scope="module")
def judge() -> Path:
    """The Python of the environment with the schemas; made by `make test`."""
    named = os.environ.get("FORGE_JUDGE_DEPLOYMENT")
    if named is None:
        if os.environ.get("CI"):
            pytest.fail("FORGE_JUDGE_DEPLOYMENT is required in CI: make test")
        pytest.skip("the schemas are not installed here: make test installs them")
    return Path(named)


def ask(judge: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(judge), "-I", *arguments], capture_output=True, text=True, check=False
    )


def read(judge: Path, *paths: Path) -> list[Any]:
    done = ask(judge, "-c", _READ, *map(str, paths))
    assert done.returncode == 0, done.stderr
    return [document for file in json.loads(done.stdout) for document in file]


@pytest.mark.parametrize("version", ["1.29.1", "1.37.0"])
def test_the_manifests_by_the_schemas_of_kubernetes(judge: Path, version: str) -> None:
    options = ["-m", "kubernetes_validate", "--strict", "-k", version]
    done = ask(judge, *options, *map(str, KUBERNETES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") + done.stderr.count("passed") >= 12


def test_the_judge_refuses_what_is_wrong(judge: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(KUBERNETES[0].read_text().replace("spec:", "specs:", 1))
    done = ask(judge, "-m", "kubernetes_validate", "--strict", str(wrong))
    assert done.returncode != 0
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("read_only:", "readonly:"))
    assert ask(judge, "-c", _COMPOSE, str(wrong)).returncode != 0


def test_the_compose_file_by_its_specification(judge: Path) -> None:
    done = ask(judge, "-c", _COMPOSE, str(DEPLOY / "compose.yaml"))
    assert done.returncode == 0, done.stderr


def test_containers_are_shut_in(judge: Path) -> None:
    (compose,) = read(judge, DEPLOY / "compose.yaml")
    assert {"server", "worker", "postgresql", "nginx", "witness"} == set(compose["services"])
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0"), name
    pods = [each for each in read(judge, *KUBERNETES) if "template" in each.get("spec", {})]
    assert len(pods) == 5
    for pod in pods:
        spec = pod["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}


def test_the_probes_and_the_three_keys(judge: Path) -> None:
    (server,) = (
        each
        for each in read(judge, DEPLOY / "kubernetes" / "server.yaml")
        if each["kind"] == "Deployment"
    )
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    (compose,) = read(judge, DEPLOY / "compose.yaml")
    targets = {each.get("target") for each in compose["services"]["server"]["secrets"]}
    folder = "/var/lib/forge/reg/keys"
    assert {f"{folder}/{name}.pem" for name in ("snapshot", "timestamp", "log")} <= targets


def test_commands_and_settings_exist(judge: Path) -> None:
    documents = read(judge, *KUBERNETES)
    names = {each["metadata"]["name"]: each for each in documents if each["kind"] != "Service"}
    for name in ("forge-server", "forge-worker"):
        deployment = next(
            each
            for each in documents
            if each["kind"] == "Deployment" and each["metadata"]["name"] == name
        )
        command = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        helped = CliRunner().invoke(cli, [command[0], "--help"])
        assert helped.exit_code == 0, command
        for option in command:
            assert not option.startswith("--") or option in helped.output
    text = names["forge-settings"]["data"]["server.toml"]
    settings = parse_settings(tomllib.loads(text), Path("server.toml"))
    assert (settings.trusted_proxies, settings.accel_redirect) == (1, "/internal-blobs/")
