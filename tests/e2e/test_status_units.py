"""The shipped systemd units of the status host start what there is, hardened as the witness is."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

from live_registry import BIN, LiveRegistry

from forge_cli.flows.knowledge import IN_DATE
from forge_cli.lazy import COMMANDS
from signing.renewal import STATUS_WARN_BEFORE
from signing.roles import EXPIRY

DEPLOY = Path(__file__).parents[2] / "deploy"
_SECTIONS = {
    "forge-status.service": ("Unit", "Service"),
    "forge-status.timer": ("Unit", "Timer", "Install"),
    "forge-watch.service": ("Unit", "Service"),
    "forge-watch.timer": ("Unit", "Timer", "Install"),
}


def read_unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """``{section: [(key, value), …]}``; anything that systemd would not read fails."""
    found: dict[str, list[tuple[str, str]]] = {}
    section: list[tuple[str, str]] = []
    for line in (DEPLOY / name).read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            assert line.endswith("]"), line
            section = found.setdefault(line[1:-1], [])
            continue
        key, separator, value = line.partition("=")
        assert separator, line
        assert key.isalnum(), line
        section.append((key, value))
    return found


def test_the_units_are_read_whole() -> None:
    for name, sections in _SECTIONS.items():
        assert tuple(read_unit(name)) == sections
    if shutil.which("systemd-analyze"):  # where there is a systemd, it judges them itself
        done = subprocess.run(
            ["systemd-analyze", "verify", *(str(DEPLOY / name) for name in _SECTIONS)],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line for line in done.stderr.splitlines() if "forge-" in line]
        assert not [line for line in lines if "not executable" not in line], done.stderr


def test_the_users_timer_looks_before_what_is_known_is_out_of_date() -> None:
    (calendar,) = (v for k, v in read_unit("forge-watch.timer")["Timer"] if k == "OnCalendar")
    assert calendar == "*-*-* 00/4:00:00"
    assert timedelta(hours=4) < IN_DATE
    (command,) = (v for k, v in read_unit("forge-watch.service")["Service"] if k == "ExecStart")
    program, *arguments = shlex.split(command)
    assert program == "%h/.local/bin/forge"
    assert arguments[0] in COMMANDS
    done = subprocess.run(
        [BIN / "forge", *arguments, "--help"], capture_output=True, text=True, check=True
    )
    assert "Exit\n  code 7" in done.stdout or "Exit code 7" in done.stdout


def test_the_host_is_shut_in_as_the_witness_is() -> None:
    hardening = ("NoNewPrivileges", "CapabilityBoundingSet", "UMask", "SystemCallFilter")
    prefixes = ("Protect", "Private", "Restrict", "Lock", "SystemCall")
    own, witness = (
        {
            key: value
            for key, value in read_unit(name)["Service"]
            if key in hardening or (key.startswith(prefixes) and not key.startswith("Restart"))
        }
        for name in ("forge-status.service", "forge-witness.service")
    )
    assert own == witness
    assert len(own) > 15


def test_it_is_renewed_long_before_anybody_is_warned() -> None:
    (calendar,) = (v for k, v in read_unit("forge-status.timer")["Timer"] if k == "OnCalendar")
    assert calendar == "*-*-* 00/6:00:00"
    # Five runs in a row may fail before a person reads a warning.
    assert timedelta(hours=6) * 6 <= EXPIRY["status"] - STATUS_WARN_BEFORE


def test_its_command_signs(tmp_path: Path) -> None:
    """The line of the service, with the places of this test, on a machine of its own."""
    with LiveRegistry(tmp_path) as live:
        home = tmp_path / "status-host"
        host = {**live.environment, "FORGE_HOME": str(home)}
        (tmp_path / "passphrase").write_text("a long passphrase\n")

        def run(*arguments: str, secret: bool = False) -> str:
            command = [str(BIN / "forge"), *arguments]
            if secret:
                command = ["sh", "-c", f"exec {shlex.join(command)} --passphrase-fd 3 "
                           f"3<{tmp_path / 'passphrase'}"]  # fmt: skip
            done = subprocess.run(
                command, env=host, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("trust", "add", live.url, "--fingerprint", live.fingerprint)
        run("key", "new", "status", "--algorithm", "ed25519", secret=True)
        public = json.loads(run("authority", "public-key", "status", "--json", secret=True))
        (tmp_path / "host.pub").write_text(public["public"])
        live.forge("authority", "fetch", "metadata")
        live.forge("authority", "rotate", "status", "--add", "host.pub", "--threshold", "1",
                   "--from", "metadata", "--dev", "-o", "plan.json")  # fmt: skip
        live.forge("authority", "sign", "plan.json", "--key", str(live.authority / "targets.pem"),
                   "--fingerprint", live.fingerprint, "--dev")  # fmt: skip
        run("authority", "submit", "plan.json", "--status-key", "status", secret=True)

        service = dict(read_unit("forge-status.service")["Service"])
        line = service["ExecStart"]
        replaced = {
            "/opt/forge/bin/forge": str(BIN / "forge"),
            "%d": str(tmp_path),
        }
        for old, new in replaced.items():
            assert old in line
            line = line.replace(old, new)
        assert service["Environment"] == "FORGE_HOME=/var/lib/forge-status"
        kept = {key: host[key] for key in ("PATH",)}
        done = subprocess.run(
            shlex.split(line),
            env={**kept, "FORGE_HOME": str(home)},
            cwd=os.fspath(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "status 2\n"
