"""The programs that `benchmarks.peers` compares, each at moving the same files there and back.

Each is a context manager: what it needs is running while it is entered, and none of it is timed.
``up`` and ``down`` are whole commands, as a person would type them. A second version comes where
the first is: the programs may make of that what they can.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from one_machine import free_port

from .line import line_to
from .registry import Registry, processor_seconds

PEERS = Path(sys.prefix) / "peers"


class Program:
    """``up(folder, version)`` sends the files of ``folder``; ``down`` brings them to ``out``. With
    ``mbit`` its server is at the other end of a line of so many Mbit/s."""

    name: ClassVar[str]
    has_server: ClassVar[bool] = True

    def __init__(self, place: Path, mbit: float | None = None) -> None:
        self.place = place
        self._mbit = mbit
        self._lines = contextlib.ExitStack()
        self.out = place / "out"
        self.server: subprocess.Popen[bytes] | None = None
        place.mkdir()

    @classmethod
    def lacking(cls) -> str | None:
        """What to install before it can run here; None when it can."""
        return None

    def prepare(self, folder: Path, version: int) -> None:
        """What comes before ``up`` and is not timed."""

    def up(self, folder: Path, version: int) -> None:
        raise NotImplementedError

    def down(self, version: int) -> None:
        raise NotImplementedError

    def files(self, version: int) -> Path:
        """The folder in which ``down`` has put them."""
        return self.out

    def worked(self) -> float:
        """Processor seconds so far: of its server, and of all commands that have ended."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        server = 0.0 if self.server is None else processor_seconds(self.server.pid)
        return used.ru_utime + used.ru_stime + server

    def reach(self, port: int) -> int:
        """The port by which commands reach the server that listens on ``port``."""
        if self._mbit is None:
            return port
        return self._lines.enter_context(line_to(port, self._mbit))

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return done.stdout

    def start(self, url: str, *command: str, **environment: str) -> None:
        """Starts a server, and returns when ``url`` answers."""
        with (self.place / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.place,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        while True:
            if self.server.poll() is not None:
                raise RuntimeError(
                    f"{command[0]}: {(self.place / 'server.log').read_text()[-2000:]}"
                )
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url).close()
                return
            time.sleep(0.1)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGTERM)  # with its workers: the session is its own
            self.server.wait()
        self._lines.close()
        shutil.rmtree(self.place)


class Forge(Program):
    """Ours. It signs, and verifies what it installs; the others do neither."""

    name = "forge"

    def __enter__(self) -> Forge:
        self.registry = Registry(self.place / "registry-place", reach=self.reach)
        self.registry.place.mkdir()
        self.registry.__enter__()
        return self

    def prepare(self, folder: Path, version: int) -> None:
        component = self.place / "component"
        if version == 1:
            self.registry.forge("init", str(component), "--org", "bench", "--name", "peer",
                                "--kind", "model")  # fmt: skip
        self.registry.set_version(component, f"1.{version}.0")
        shutil.rmtree(component / "data", ignore_errors=True)
        link_all(folder, component / "data")

    def up(self, folder: Path, version: int) -> None:
        self.registry.forge("publish", str(self.place / "component"))

    def down(self, version: int) -> None:
        wanted = f"bench/peer==1.{version}.0"
        self.registry.forge("install", wanted, "--into", str(self.out), "--upgrade")

    def files(self, version: int) -> Path:
        return self.out / "forge_components/bench/peer/data"

    def worked(self) -> float:
        return super().worked() + processor_seconds(self.registry.server.pid)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.registry.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)


class Hf(Forge):
    """`hf download` from our own registry's `/hf`, of what `forge publish` brought there. It is not
    told to verify anything; its cache is empty for each version, as its own files are."""

    name = "hf, from our registry"
    program = PEERS / "hf/bin/hf"

    @classmethod
    def lacking(cls) -> str | None:
        return None if cls.program.exists() else "make peers"

    def down(self, version: int) -> None:
        self.run(
            str(self.program), "download", "bench/peer", "--revision", f"1.{version}.0",
            "--local-dir", str(self.files(version)), HF_ENDPOINT=f"{self.registry.url}/hf",
            HF_HOME=str(self.place / "hf-home"), HF_HUB_DISABLE_TELEMETRY="1",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
        )  # fmt: skip

    def files(self, version: int) -> Path:
        return self.out / str(version)


class Mlflow(Program):
    """Artifacts that pass through its server, which has two workers and runs no jobs."""

    name = "mlflow"
    program = PEERS / "mlflow/bin/mlflow"

    @classmethod
    def lacking(cls) -> str | None:
        return None if cls.program.exists() else "make peers"

    def __enter__(self) -> Mlflow:
        port = free_port()
        self.url = f"http://127.0.0.1:{self.reach(port)}"
        self.runs: dict[int, str] = {}
        # Its workers hash and send through the programs of its own environment.
        self.path = f"{self.program.parent}{os.pathsep}{os.environ['PATH']}"
        self.start(
            f"{self.url}/health", str(self.program), "server", "--host", "127.0.0.1",
            "--port", str(port), "--workers", "2", "--serve-artifacts",
            "--backend-store-uri", f"sqlite:///{self.place}/mlflow.db",
            "--artifacts-destination", str(self.place / "store"),
            PATH=self.path, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )  # fmt: skip
        self._mlflow("experiments", "create", "-n", "bench")
        return self

    def _mlflow(self, *arguments: str) -> str:
        return self.run(str(self.program), *arguments, MLFLOW_TRACKING_URI=self.url, PATH=self.path)

    def prepare(self, folder: Path, version: int) -> None:
        made = self._mlflow("runs", "create", "--experiment-name", "bench")
        found = re.search(r'"run_id": "([0-9a-f]{32})"', made)
        assert found is not None, made
        self.runs[version] = found[1]

    def up(self, folder: Path, version: int) -> None:
        self._mlflow("artifacts", "log-artifacts", "--local-dir", str(folder),
                     "--run-id", self.runs[version])  # fmt: skip

    def down(self, version: int) -> None:
        self._mlflow("artifacts", "download", "--run-id", self.runs[version],
                     "--dst-path", str(self.files(version)))  # fmt: skip

    def files(self, version: int) -> Path:
        return self.out / str(version)


class Skopeo(Program):
    """`skopeo copy` to and from Debian's docker-registry, each file a layer.

    The image is made beforehand, with its digests, and its layers are sent as they are.
    """

    name = "docker-registry + skopeo"

    @classmethod
    def lacking(cls) -> str | None:
        here = shutil.which("skopeo") and shutil.which("docker-registry")
        return None if here else "apt-get install docker-registry skopeo"

    def __enter__(self) -> Skopeo:
        port = free_port()
        self.image = f"docker://127.0.0.1:{self.reach(port)}/bench"
        config = self.place / "config.yml"
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self.place}/store\n"
            f"http:\n  addr: 127.0.0.1:{port}\nlog:\n  level: error\n"
        )
        self.start(f"http://127.0.0.1:{port}/v2/", "docker-registry", "serve", str(config))
        return self

    def prepare(self, folder: Path, version: int) -> None:
        write_oci_layout(folder, self.place / f"layout-{version}")

    def up(self, folder: Path, version: int) -> None:
        self.run(
            "skopeo", "copy", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false",
            f"oci:{self.place}/layout-{version}:bench", f"{self.image}:{version}",
        )  # fmt: skip

    def down(self, version: int) -> None:
        self.files(version).mkdir(parents=True)
        self.run(
            "skopeo", "copy", "--insecure-policy", "--preserve-digests", "--src-tls-verify=false",
            f"{self.image}:{version}", f"dir:{self.files(version)}",
        )  # fmt: skip

    def files(self, version: int) -> Path:
        return self.out / str(version)


class Dvc(Program):
    """`dvc add` and `push` to a folder of this machine, `pull` from it: no network at all."""

    name = "dvc, a local folder"
    has_server = False
    program = PEERS / "dvc/bin/dvc"

    @classmethod
    def lacking(cls) -> str | None:
        return None if cls.program.exists() else "make peers"

    def __enter__(self) -> Dvc:
        self.work = self.place / "work"
        for place in (self.work, self.out):
            place.mkdir()
            self._dvc(place, "init", "--no-scm")
            self._dvc(place, "config", "core.analytics", "false")
            self._dvc(place, "remote", "add", "--default", "store", str(self.place / "store"))
        return self

    def _dvc(self, place: Path, *arguments: str) -> None:
        self.run(str(self.program), *arguments, cwd=place, DVC_NO_ANALYTICS="1")

    def prepare(self, folder: Path, version: int) -> None:
        shutil.rmtree(self.work / "data", ignore_errors=True)
        link_all(folder, self.work / "data")

    def up(self, folder: Path, version: int) -> None:
        self._dvc(self.work, "add", "data")
        self._dvc(self.work, "push")

    def down(self, version: int) -> None:
        shutil.copy(self.work / "data.dvc", self.out)
        self._dvc(self.out, "pull")

    def files(self, version: int) -> Path:
        return self.out / "data"


def link_all(folder: Path, target: Path) -> None:
    """The files of ``folder`` under other names, without their bytes being copied."""
    target.mkdir(parents=True)
    for path in folder.iterdir():
        os.link(path, target / path.name)


def write_oci_layout(folder: Path, target: Path) -> None:
    """``folder`` as an image in an OCI layout (image-spec, image-layout.md)."""
    blobs = target / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(value: Mapping[str, object], media_type: str) -> dict[str, object]:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    layers = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.link(path, blobs / digest)
        layers.append(
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": f"sha256:{digest}",
                "size": path.stat().st_size,
            }
        )
    image = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    config = put(image, "application/vnd.oci.image.config.v1+json")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = put(
        {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}, kind
    )
    named = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "bench"}}
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (target / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


PROGRAMS: tuple[type[Program], ...] = (Forge, Mlflow, Skopeo, Dvc, Hf)
