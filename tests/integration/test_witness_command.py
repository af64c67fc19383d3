"""``forge-witness`` as its operator uses it: on a terminal, and as a process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from log_builders import NamedKey
from witness_fixtures import BIN, FORK, NAME, GrowingLog, LiveWitness, client_of, reopened

from forge_server.witness.main import cli
from signing.tlog.note import NoteKey

LOG = GrowingLog(NamedKey("forge.example/log"))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def must(*arguments: str) -> Result:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> str:
    path = str(tmp_path / "w")
    must("init", path, "--name", NAME, "--insecure-unencrypted")
    must("add-log", path, LOG.key.as_log.vkey)
    return path


def grown(folder: str, old: int, size: int, log: GrowingLog = LOG) -> int:
    client = client_of(reopened(Path(folder)))
    return client.post("/add-checkpoint", data=log.ask(old, size)).status_code


def test_init_prints_the_verifier_key_alone(tmp_path: Path) -> None:
    made = must("init", str(tmp_path / "w"), "--name", NAME, "--insecure-unencrypted")
    key = NoteKey.parse(made.stdout.rstrip("\n"))
    assert (key.name, key.kind) == (NAME, 4)
    assert "NOT protected" in made.stderr


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "line\nbreak"])
def test_a_name_that_cannot_sign_is_refused(tmp_path: Path, name: str) -> None:
    made = command("init", str(tmp_path / "w"), "--name", name, "--insecure-unencrypted")
    assert made.exit_code == 1
    assert "without spaces or plus" in made.stderr
    assert not (tmp_path / "w").exists()


def test_a_key_is_never_replaced(folder: str) -> None:
    again = command("init", folder, "--name", NAME, "--insecure-unencrypted")
    assert again.exit_code == 1
    assert "never replaced" in again.stderr


def test_nobody_to_ask_for_a_passphrase(tmp_path: Path) -> None:
    made = command("init", str(tmp_path / "w"), "--name", NAME)
    assert made.exit_code == 1
    assert "--insecure-unencrypted" in made.stderr
    assert not (tmp_path / "w").exists()


def test_list_and_show(folder: str) -> None:
    assert must("list", folder).stdout == "forge.example/log  nothing cosigned yet\n"
    assert grown(folder, 0, 20) == 200
    assert must("list", folder).stdout == "forge.example/log  20\n"
    text = must("show", folder).stdout
    assert LOG.key.as_log.vkey in text
    assert f"/{LOG.hash}/checkpoint" in text
    assert "EVIDENCE" not in text
    assert grown(folder, 20, 20, GrowingLog(LOG.key, FORK)) == 422
    assert "EVIDENCE" in must("show", folder).stdout
    told = json.loads(must("show", folder, "--json").stdout)
    assert told["logs"][0]["size"] == 20
    assert told["logs"][0]["root"] == LOG.tree.root(20).hex()
    assert len(told["evidence"]) == 1


def test_recover_after_a_loss(folder: str, tmp_path: Path) -> None:
    assert grown(folder, 0, 20) == 200
    checkpoint = Path(folder) / "logs" / LOG.hash / "checkpoint"
    kept = tmp_path / "kept"
    checkpoint.rename(kept)
    assert "although one was cosigned" in must("list", folder).stdout
    started = command("run", folder, "--port", "0")
    assert started.exit_code == 1
    assert "forge-witness recover" in started.stderr
    must("recover", folder, str(kept))
    assert must("list", folder).stdout == "forge.example/log  20\n"


def test_recover_refuses_another_log(folder: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(GrowingLog(NamedKey("other.example")).checkpoint(5))
    result = command("recover", folder, str(other))
    assert result.exit_code == 1
    assert "add-log" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("show",), ("run", "--port", "0"), ("add-log", LOG.key.as_log.vkey)],
    ids=lambda arguments: arguments[0],
)
def test_no_witness_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = command(arguments[0], str(tmp_path), *arguments[1:])
    assert result.exit_code == 1
    assert "forge-witness init" in result.stderr


def with_passphrase(passphrase: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    read, write = os.pipe()
    os.write(write, passphrase + b"\n")
    os.close(write)
    try:
        return subprocess.run(
            [str(BIN / "forge-witness"), *arguments, "--passphrase-fd", str(read)],
            pass_fds=[read], stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
    finally:
        os.close(read)


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "w"
    made = with_passphrase(b"a long one", "init", str(path), "--name", NAME)
    assert made.returncode == 0, made.stderr
    assert (path / "key.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    wrong = with_passphrase(b"another", "run", str(path), "--port", "0")
    assert wrong.returncode == 1
    assert b"the passphrase does not open the key" in wrong.stderr
    nobody = command("run", str(path), "--port", "0")
    assert nobody.exit_code == 1
    assert "--passphrase-fd" in nobody.stderr
    assert with_passphrase(b"", "init", str(tmp_path / "v"), "--name", NAME).returncode == 1


def test_a_running_witness(folder: str) -> None:
    """Notices a log that is added while it runs, keeps connections, and stops when told."""
    later = GrowingLog(NamedKey("later.example/log"))
    with LiveWitness(Path(folder)) as live:
        url = f"http://127.0.0.1:{live.port}"
        must("add-log", folder, later.key.as_log.vkey)
        for log in (LOG, later):
            request = urllib.request.Request(f"{url}/add-checkpoint", data=log.ask(0, 20))
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 200
                line = answer.read()
            with urllib.request.urlopen(f"{url}/{log.hash}/checkpoint") as answer:
                assert line in answer.read()
        live.process.terminate()
        assert live.process.wait() == 0
    assert "Traceback" not in live.log.read_text()


def test_the_service_file_starts_what_there_is(folder: str) -> None:
    """Its command line, with the folder of this test, starts a witness."""
    unit = Path(__file__).parents[2] / "deploy" / "forge-witness.service"
    (line,) = (
        line.removeprefix("ExecStart=")
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    path = Path(folder).with_name("p")
    made = with_passphrase(b"a long one", "init", str(path), "--name", NAME)
    assert made.returncode == 0, made.stderr
    path.with_name("passphrase").write_text("a long one\n")
    replaced = {
        "/opt/forge/bin/forge-witness": str(BIN / "forge-witness"),
        "/var/lib/forge-witness/witness": str(path),
        "%d": str(path.parent),
        "8090": "0",
    }
    for old, new in replaced.items():
        assert old in line
        line = line.replace(old, new)
    with subprocess.Popen(shlex.split(line), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"{NAME}+")
        process.terminate()


def test_a_port_that_is_taken(folder: str) -> None:
    with LiveWitness(Path(folder)) as live:
        second = command("run", folder, "--port", str(live.port))
        assert second.exit_code == 1
        assert "the port is taken" in second.stderr
