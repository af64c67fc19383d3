"""A real object store on one machine: one Ceph node (monitor, OSD, RADOS Gateway) on loopback, in
one folder. For `one_machine.py` and for this project's own tests, not for data that you care for:
there is one copy of everything.

`apt-get install radosgw ceph-osd ceph-mon ceph-common`. It starts in about ten seconds
and takes 300 MiB; what it stores lies in a file of at most 10 GiB.
"""

from __future__ import annotations

import configparser
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

PROGRAMS = (
    "ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin",
    "setpriv",
)  # fmt: skip
PACKAGES = "apt-get install radosgw ceph-osd ceph-mon ceph-common"
_CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{msgr2},v1:127.0.0.1:{msgr1}]
mon initial members = a
run dir = {folder}
auth allow insecure global id reclaim = false
# A monitor collects changes for a second before it decides on them with others. There are none.
paxos propose interval = 0.02
paxos min wait = 0.01
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
LONGEST_FOLDER = 80
_USER = "forge"
_READY = "ready"  # a file that says that the node was made to its end
_ALIVE_SECONDS = 0.05
# Below those that systems give out by themselves (Linux: from 32768), and above Ceph's own.
_PORTS = range(20_000, 32_000)
_APART = 101  # between the first ports of two processes that were started together
_taken = itertools.count()


class CephError(Exception):
    """It did not start; the message is for the one who started it."""


def missing_programs() -> list[str]:
    """What must be installed first, with `PACKAGES`."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on.

    Whoever is to listen does so a while later, and may be stopped and started again: they are none
    of those that the system hands out meanwhile to whoever connects or asks for any. Each process
    takes them in turn, from a place of its own.
    """
    found: list[int] = []
    while len(found) < count:
        port = _PORTS[(os.getpid() * _APART + next(_taken)) % len(_PORTS)]
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:  # somebody's
            continue
        found.append(port)
    return found


class CephNode:
    """A node in ``folder``: new where that is empty, else what an earlier one left there.

    Once it is started, ``endpoint`` answers S3 requests that are signed with the keys in
    ``credentials``, a file as `s3_credentials` takes it. Its ports stay its own, because they stand
    in what it has written.
    """

    access_key = "forge-one-node"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = folder / "credentials"
        self.secret_key = ""
        self.endpoint = ""
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Returns when the gateway answers.

        Raises:
            CephError: a program is missing, or one of them ended.
        """
        missing = missing_programs()
        if missing:
            raise CephError(f"Ceph: not installed ({PACKAGES}): found no {', '.join(missing)}")
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise CephError(
                f"{self.folder}: expected at most {LONGEST_FOLDER} letters, for Ceph's sockets"
            )
        if (self.folder / _READY).exists():
            self._read_credentials()
            self._daemon("ceph-mon", "-i", "a")
            self._daemon("ceph-osd", "-i", "0")
            self._start_gateway()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)  # of one that was killed while it began
            self._make()
            (self.folder / _READY).touch()

    def _make(self) -> None:
        msgr2, msgr1, port = free_ports(3)
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd", "rgw", "log"):
            (self.folder / name).mkdir(parents=True)
        self.secret_key = uuid.uuid4().hex
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
        keyring = f"{self.folder}/rgw/keyring"
        caps = ("mon", "allow rw", "osd", "allow rwx")
        self._tool("ceph", "auth", "get-or-create", "client.rgw.a", *caps, "-o", keyring)
        self._start_gateway()
        self._tool(
            "radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid", _USER,
            "--display-name", _USER, "--access-key", self.access_key,
            "--secret-key", self.secret_key, "--max-buckets", "0",
        )  # fmt: skip

    def _read_credentials(self) -> None:
        kept = configparser.ConfigParser(interpolation=None)
        kept.read(self.credentials)
        self.secret_key = kept["default"]["aws_secret_access_key"]

    def _start_gateway(self) -> None:
        self._daemon("radosgw", "-n", "client.rgw.a")
        conf = (self.folder / "ceph.conf").read_text()
        address = conf.partition("beast endpoint=")[2].split()[0]
        self.endpoint = f"http://{address}"
        while not self._answers():
            self._require_alive()
            time.sleep(_ALIVE_SECONDS)

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
            raise CephError(f"{' '.join(command)}: {done.stderr[-2000:]}")
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
            urllib.request.urlopen(self.endpoint).close()  # noqa: S310  it is http://127.0.0.1
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _require_alive(self) -> None:
        for daemon in self._daemons:
            if daemon.poll() is not None:
                logs = [path.read_text(errors="replace") for path in self.folder.glob("log/*.out")]
                raise CephError(f"{daemon.args} ended: {''.join(logs)[-2000:]}")

    def settings_text(self, bucket: str, **more: str | bool) -> str:
        """The lines of a ``server.toml`` for a registry that keeps everything in ``bucket``."""
        values: dict[str, str | bool] = {
            "blobs": f"s3://{bucket}/blobs",
            "public": f"s3://{bucket}/tuf",
            "s3_endpoint": self.endpoint,
            "s3_credentials": str(self.credentials),
            **more,
        }
        # What JSON writes of texts and booleans is TOML as well.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())

    def stop(self) -> None:
        """Ends the daemons, the last one first."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
