"""The whole registry that `deploy/one_machine.py` starts, used through nginx while its servers are
killed."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import one_machine
import pytest
import urllib3
from ceph_node import require_ceph
from deployed import DEPLOY, Deployed, deployed, front, machine, require_nginx, stored_machine
from postgres import PostgresServer
from publishers import SOME_PUBLISHERS, publish_while_killed
from server_fixtures import Live
from thorough import EVERY_STEP

__all__ = ["deployed", "front", "machine", "stored_machine"]
KILLS = int(os.environ.get("FORGE_TEST_KILLS", "3"))


class BehindNginx:
    """The address is nginx's, whichever server is killed."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.running = [SimpleNamespace(url=machine.url)] * 2

    def kill(self, at: int) -> None:
        self.machine.kill(at)


def test_servers_are_killed_behind_nginx(front: Live, machine: Any) -> None:
    dice = random.Random()
    seed = dice.randrange(10**9)
    dice.seed(seed)
    publish_while_killed(
        front.world,
        BehindNginx(machine),
        front.token,
        dice,
        kills=KILLS,
        seed=seed,
        publishers=SOME_PUBLISHERS,
    )


def test_published_and_installed_in_between(deployed: Deployed, machine: Any) -> None:
    publish_and_install(deployed, machine)


def test_the_same_on_an_object_store(stored_machine: Any, tmp_path: Path) -> None:
    with Deployed(tmp_path, stored_machine) as client:
        client.register("lab")
        digest = publish_and_install(client, stored_machine)
    answer = urllib3.request("GET", f"{stored_machine.url}/blobs/{digest}", redirect=False)
    assert answer.status == 302
    assert answer.headers["Location"].startswith(f"{stored_machine.ceph.endpoint}/")
    log = (stored_machine.folder / "nginx" / "access.log").read_text()
    sent = [line.split() for line in log.splitlines() if " /blobs/" in line]
    assert {fields[3] for fields in sent} == {"302"}, "a blob came through nginx"
    for folder in ("public", "blobs"):
        assert list((stored_machine.data / folder).iterdir()) == []


def publish_and_install(deployed: Deployed, machine: Any) -> str:
    """While one server after the other is killed; the digest of the last file."""
    folder = deployed.new_component("lab", "words")
    for number in range(4 if EVERY_STEP else 2):
        text = (folder / "forge.toml").read_text().splitlines()
        lines = [f'version = "1.{number}.0"' if x.startswith("version") else x for x in text]
        (folder / "forge.toml").write_text("\n".join(lines) + "\n")
        (folder / "weights.bin").write_bytes(os.urandom(300_000))
        machine.kill(number % 2)
        deployed.forge("publish", str(folder))
        machine.kill((number + 1) % 2)
        target = deployed.place / f"installed-{number}"
        deployed.forge("install", f"lab/words==1.{number}.0", "--into", str(target))
        installed = next(target.rglob("weights.bin"))
        assert installed.read_bytes() == (folder / "weights.bin").read_bytes()
    for name in machine.names:  # exit code 0: nothing is wrong
        deployed.forge_server("check", str(machine.folder / name), "--deep")
    return hashlib.sha256((folder / "weights.bin").read_bytes()).hexdigest()


@pytest.mark.parametrize("options", [[], ["--ceph"]], ids=["folders", "object store"])
def test_the_script_says_where_and_stops_all_of_it(
    postgres_server: PostgresServer, options: list[str]
) -> None:
    """With a PostgreSQL of its own; the second time on what the first one left. That is started
    again with an object store alone, which has the same PostgreSQL and nginx beside it; in the long
    run without one as well."""
    require_nginx()
    if options:
        require_ceph()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="forge-") as folder:
        command = [sys.executable, str(DEPLOY / "one_machine.py"), folder, "--port", "0", *options]
        said = []
        for _ in range(2 if options or EVERY_STEP else 1):
            script = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            assert script.stdout is not None
            lines = [script.stdout.readline() for _ in range(5 if options else 4)]
            assert lines[-4].startswith("registry   http://127.0.0.1:"), script.communicate()
            if not said:
                second = subprocess.run(command, capture_output=True, text=True, check=False)
                assert (second.returncode, second.stderr) == (
                    1, f"error: {folder}: another one runs in this folder\n",
                )  # fmt: skip
            script.send_signal(signal.SIGTERM)
            script.communicate()
            assert script.returncode == 0
            assert processes_in(folder) == []
            said.append([lines[-3], *lines[:-4]])  # the root, and where the store is
        assert said[0] == said[-1]


def test_the_part_that_an_object_store_does_not_need_goes_with_sed(tmp_path: Path) -> None:
    """As the page on several machines says, and as the script does it."""
    template = DEPLOY / "nginx.conf.template"
    page = (DEPLOY.parent / "docs" / "howto" / "deploy-on-many.md").read_text()
    (command,) = [line[2:] for line in page.splitlines() if line.startswith("$ sed ")]
    done = subprocess.run(
        command, shell=True, cwd=DEPLOY.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == one_machine.without_files(template.read_text())
    code = [line for line in done.stdout.splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in code if "internal-blobs" in line or "FORGE_PUBLIC" in line]
    assert len([line for line in code if "proxy_pass" in line]) == 2


def processes_in(folder: str) -> list[str]:
    """The command lines that name ``folder``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/" in words:
            found.append(words)
    return found
