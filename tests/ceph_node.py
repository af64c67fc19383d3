"""A real object store for tests: one Ceph node (monitor, OSD, RADOS Gateway) on the loopback.

It starts once for a whole run, in about a quarter of a minute, keeps everything in one temporary
folder and is stopped by the pids it started. Each test gets a bucket of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from storage.s3 import Bucket, S3Connection, S3Options, connect

_PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw")
_CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{msgr2},v1:127.0.0.1:{msgr1}]
mon initial members = a
run dir = {folder}
auth allow insecure global id reclaim = false
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 10000
mon allow pool size one = true
mon warn on pool no redundancy = false
osd objectstore = bluestore
bluestore block create = true
bluestore block size = 10737418240
bluestore fsck on mount = false
osd memory target = 939524096
log file = {folder}/log/$name.log
log to stderr = false
admin socket = {folder}/$name.asok
mon cluster log file = {folder}/log/cluster.log
[client.admin]
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
host = localhost
mon addr = 127.0.0.1:{msgr2}
[osd.0]
keyring = {folder}/osd/keyring
osd data = {folder}/osd
host = localhost
[client.rgw.a]
keyring = {folder}/rgw/keyring
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw enable ops log = false
rgw max chunk size = 4194304
rgw thread pool size = 64
"""
# Sockets of the daemons lie in the folder, and the name of a socket has at most 107 characters.
_LONGEST_FOLDER = 80


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class CephNode:
    """A running node. ``endpoint`` answers S3 requests signed with the two keys."""

    access_key = "forge-tests"

    def __init__(self) -> None:
        self.secret_key = uuid.uuid4().hex
        self.endpoint = ""
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._connections: dict[S3Options, S3Connection] = {}
        self._numbers = itertools.count(1)
        temp = tempfile.gettempdir()
        base = temp if len(temp) < _LONGEST_FOLDER else "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="ceph-", dir=base))
        self.credentials = self.folder / "credentials"

    def start(self) -> None:
        """Returns when the gateway answers."""
        msgr2, msgr1, port = free_ports(3)
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd", "rgw", "log"):
            (self.folder / name).mkdir()
        self.credentials.touch(mode=0o600)
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {self.access_key}\n"
            f"aws_secret_access_key = {self.secret_key}\n"
        )
        (self.folder / "ceph.conf").write_text(
            _CONF.format(fsid=fsid, folder=self.folder, msgr1=msgr1, msgr2=msgr2, port=port)
        )
        self._start_monitor(fsid, msgr1, msgr2)
        self._start_osd()
        caps = ("mon", "allow rw", "osd", "allow rwx")
        self._tool(
            "ceph",
            "auth",
            "get-or-create",
            "client.rgw.a",
            *caps,
            "-o",
            f"{self.folder}/rgw/keyring",
        )
        self._daemon("radosgw", "-n", "client.rgw.a")
        self.endpoint = f"http://127.0.0.1:{port}"
        while not self._answers():
            self._require_alive()
        self._tool(
            "radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid", "forge",
            "--display-name", "forge", "--access-key", self.access_key,
            "--secret-key", self.secret_key, "--max-buckets", "0",
        )  # fmt: skip

    def _start_monitor(self, fsid: str, msgr1: int, msgr2: int) -> None:
        keyring, monmap = str(self.folder / "keyring"), str(self.folder / "monmap")
        made: tuple[str, ...] = ("--create-keyring",)
        for name, caps in (("mon.", ["mon"]), ("client.admin", ["mon", "osd", "mgr"])):
            allowed = [part for cap in caps for part in ("--cap", cap, "allow *")]
            self._tool("ceph-authtool", *made, keyring, "--gen-key", "-n", name, *allowed)
            made = ()
        addresses = f"[v2:127.0.0.1:{msgr2},v1:127.0.0.1:{msgr1}]"
        self._tool("monmaptool", "--create", "--addv", "a", addresses, "--fsid", fsid, monmap)
        self._tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        shutil.copy(keyring, self.folder / "mon" / "keyring")
        self._daemon("ceph-mon", "-i", "a")

    def _start_osd(self) -> None:
        identity = str(uuid.uuid4())
        key = self._tool("ceph-authtool", "--gen-print-key").strip()
        secret = json.dumps({"cephx_secret": key})
        self._tool("ceph", "osd", "new", identity, "-i", "-", stdin=secret)
        keyring = str(self.folder / "osd" / "keyring")
        self._tool(
            "ceph-authtool", "--create-keyring", keyring, "--name", "osd.0", "--add-key", key
        )
        self._tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._daemon("ceph-osd", "-i", "0")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf"), "CEPH_ARGS": ""}

    def _tool(self, *command: str, stdin: str = "") -> str:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(),
            cwd=self.folder,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        return done.stdout

    def _daemon(self, *command: str) -> None:
        """Starts a daemon in the foreground, which the kernel ends when this process dies."""
        with (self.folder / "log" / f"{command[0]}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command, "-f"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment(),
                    cwd=self.folder,
                    start_new_session=True,  # Ctrl-C is for the tests, which stop it in order
                )
            )

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _require_alive(self) -> None:
        for daemon in self._daemons:
            if daemon.poll() is not None:
                logs = [path.read_text(errors="replace") for path in self.folder.glob("log/*.out")]
                raise RuntimeError(f"{daemon.args} ended: {''.join(logs)[-2000:]}")

    def stop(self) -> None:
        """Ends the daemons, the last one first, and removes the folder."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @cache  # noqa: B019  there is one node
    def client(self) -> Any:
        """A boto3 client that stands outside of the code under test."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def open(self, place: str, **options: Any) -> Bucket:
        """The bucket and prefix ``place``, as the code under test opens it; the same options share
        a connection, and with it the library's limit on how often a client repeats itself."""
        wanted = S3Options(**{"endpoint": self.endpoint, "credentials": self.credentials} | options)
        if wanted not in self._connections:
            self._connections[wanted] = connect(wanted)
        return self._connections[wanted].bucket(f"s3://{place}")

    def settings(self, folder: Path, bucket: str, **more: str | bool) -> Path:
        """A ``server.toml`` in ``folder`` for a registry that keeps everything in ``bucket``."""
        values: dict[str, str | bool] = {
            "blobs": f"s3://{bucket}/blobs",
            "public": f"s3://{bucket}/tuf",
            "s3_endpoint": self.endpoint,
            "s3_credentials": str(self.credentials),
            **more,
        }
        path = folder / "begin.toml"
        # What JSON writes of texts and booleans is TOML as well.
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        return path

    def new_bucket(self) -> str:
        name = f"test-{next(self._numbers)}-{os.getpid()}"
        self.client().create_bucket(Bucket=name)
        return name


def require_ceph() -> None:
    """Skips where Ceph is not installed; in CI that is a failure."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = "apt-get install radosgw ceph-osd ceph-mon ceph-common"
        if os.environ.get("CI"):
            pytest.fail(f"Ceph is required in CI ({packages}): found no {', '.join(missing)}")
        pytest.skip(f"Ceph is not installed ({packages})")


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephNode]:
    """The node of this run."""
    require_ceph()
    node = CephNode()
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def bucket(ceph: CephNode) -> str:
    """The name of a fresh bucket."""
    return ceph.new_bucket()
