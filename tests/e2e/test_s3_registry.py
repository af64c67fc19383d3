"""A registry on an object store, driven as a user drives it, and killed while it publishes."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from ceph_node import CephNode
from click.testing import CliRunner
from live_registry import BIN, LiveRegistry
from s3_proxy import S3Proxy
from server_fixtures import forge_toml
from thorough import EVERY_STEP

from forge_cli.main import run
from forge_server.manage import cli

STOCK_CLIENT = Path(__file__).parents[1] / "interop" / "stock_tuf_client.py"
# `forge` leaves its connections to the end of its process, and here is no end.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
WEIGHTS = os.urandom(9 << 20)  # two parts
LARGE = os.urandom(17 << 20)  # three, and large enough to go straight to the store


@pytest.fixture(scope="module")
def proxy(ceph: CephNode) -> Iterator[S3Proxy]:
    with S3Proxy(ceph.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(ceph: CephNode) -> str:
    return ceph.new_bucket()


@pytest.fixture(scope="module")
def live(
    ceph: CephNode, proxy: S3Proxy, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveRegistry]:
    """The server and its clients reach the store through the proxy."""
    place = tmp_path_factory.mktemp("live")
    settings = ceph.settings(place, bucket, s3_endpoint=proxy.url)
    with LiveRegistry(place, options=("--settings", str(settings))) as registry:
        registry.register("minds-lab")
        yield registry


def new_component(live: LiveRegistry, name: str) -> Path:
    folder = live.new_component("minds-lab", name)
    (folder / "weights.bin").write_bytes(WEIGHTS)
    return folder


def test_from_publish_to_install(
    live: LiveRegistry, proxy: S3Proxy, ceph: CephNode, bucket: str
) -> None:
    folder = new_component(live, "my-model")
    assert json.loads(live.forge("publish", str(folder), "--json"))["state"] == "published"
    cold = {**live.environment, "FORGE_HOME": str(live.place / "cold")}
    proxy.reset()
    for arguments in (
        ("trust", "add", live.url, "--fingerprint", live.fingerprint),
        ("install", "minds-lab/my-model", "--into", "out"),
    ):
        done = live.forge_with(cold, *arguments)
        assert done.returncode == 0, done.stderr
    installed = live.place / "out/forge_components/minds-lab/my-model"
    assert (installed / "weights.bin").read_bytes() == WEIGHTS
    live.forge("verify", str(installed))
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    # The bytes came from the store itself, by an address that needs no header.
    (path,) = {path for _, path in proxy.seen if digest in path}
    assert "X-Amz-Signature" in path
    assert live.token.strip() not in " ".join(proxy.authorized)
    assert "Bearer" not in " ".join(proxy.authorized)
    assert "nothing wrong" in check(live)


def check(live: LiveRegistry) -> str:
    """What `forge-server check --deep` says; it must find nothing."""
    done = CliRunner().invoke(cli, ["check", str(live.data), "--deep"])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_stock_client_reads_the_tree_straight_from_the_store(
    live: LiveRegistry, ceph: CephNode, bucket: str, tmp_path: Path
) -> None:
    """The published tree is plain objects: what serves them to the world needs none of us."""
    folder = new_component(live, "for-all")
    live.forge("publish", str(folder))
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/tuf/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    ceph.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    root = tmp_path / "root.json"
    root.write_bytes((live.authority / "metadata" / "1.root.json").read_bytes())
    target = "minds-lab/for-all/1.0.0/manifest.json"
    url = f"{ceph.endpoint}/{bucket}"
    done = subprocess.run(
        [sys.executable, "-I", str(STOCK_CLIENT), str(root), url, target, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out").read_bytes())["name"] == "for-all"


def test_killed_while_it_publishes(live: LiveRegistry, proxy: S3Proxy) -> None:
    """kill -9 at several of the requests that a publish makes of the store; each time the
    restarted registry is whole and the same publish goes through."""
    proxy.reset()
    live.forge("publish", str(new_component(live, "counted")))
    requests = len(proxy.seen)
    points = sorted({requests * part // 6 for part in (range(6) if EVERY_STEP else (0, 2, 5))})
    for at in points:
        folder = new_component(live, f"killed-{at}")
        (folder / "weights.bin").write_bytes(WEIGHTS[at:] + b"other")

        dead = threading.Event()

        def kill(
            number: int, method: str, path: str, at: int = at, dead: threading.Event = dead
        ) -> None:
            if number == at:
                live.kill()
                dead.set()

        proxy.reset(kill)
        publish = subprocess.Popen(
            [str(BIN / "forge"), "publish", str(folder)],
            env=live.environment,
            cwd=live.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        while not dead.wait(0.1):
            assert publish.poll() is None, "the publish was over before its time"
        proxy.reset()
        live.start(live.port)
        publish.communicate()
        live.forge("publish", str(folder))  # also when the first one got through after all
        assert "nothing wrong" in check(live)
    print(f"killed at {len(points)} of {requests} requests")


def publish_large(live: LiveRegistry, name: str) -> tuple[str, bytes]:
    """What `forge publish` of a fresh large file prints beside its answer, and the file. It runs in
    this process: what it does with a store is the same, and starting it takes longer than that."""
    data = LARGE[:-32] + hashlib.sha256(name.encode()).digest()
    folder = live.place / name
    folder.mkdir()
    (folder / "forge.toml").write_bytes(forge_toml(name))
    (folder / "weights.bin").write_bytes(data)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(said):
        for variable in ("FORGE_HOME", "NO_COLOR"):
            patch.setenv(variable, live.environment[variable])
        code = run(("publish", str(folder)))
    gc.collect()  # its connections, while this test lasts
    assert code == 0, said.getvalue()
    return said.getvalue(), data


def stored(ceph: CephNode, bucket: str, data: bytes) -> bool:
    """Whether the store has these very bytes under their name."""
    digest = hashlib.sha256(data).hexdigest()
    key = f"blobs/{digest[:2]}/{digest}"
    found: bytes = ceph.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    return found == data


def installed(live: LiveRegistry, name: str) -> bytes:
    live.forge("install", f"minds-lab/{name}", "--into", f"out-{name}")
    path = live.place / f"out-{name}" / "forge_components/minds-lab" / name / "weights.bin"
    return path.read_bytes()


def is_direct(method: str, path: str) -> bool:
    """A part that comes from a client: the registry's own requests sign in a header."""
    return method == "PUT" and "partNumber" in path and "X-Amz-Signature" in path


def test_large_files_go_straight_to_the_store_and_no_token_with_them(
    live: LiveRegistry, proxy: S3Proxy
) -> None:
    proxy.reset()
    said, data = publish_large(live, "large")
    assert "through the registry" not in said
    parts = [(method, path) for method, path in proxy.seen if "partNumber" in path]
    assert len(parts) == 3
    assert all(is_direct(*part) for part in parts)
    assert "Bearer" not in " ".join(proxy.authorized)
    assert installed(live, "large") == data


@pytest.mark.parametrize(
    "fault", ["reset", "error-500", "slow-down", "done-reset", "done-500", "alter-request"]
)
@pytest.mark.parametrize("often", ["once", "always"])
def test_where_the_direct_way_fails_parts_go_through_the_registry(
    live: LiveRegistry, proxy: S3Proxy, ceph: CephNode, bucket: str, fault: str, often: str
) -> None:
    name = f"{fault}-{often}"
    failed: list[str] = []

    def break_direct(number: int, method: str, path: str) -> str | None:
        if not is_direct(method, path) or (often == "once" and failed):
            return None
        failed.append(path)
        return fault

    proxy.reset(break_direct)
    said, data = publish_large(live, name)
    assert "Bearer" not in " ".join(proxy.authorized)
    proxy.reset()
    assert failed
    assert ("through the registry" in said) is (often == "always")
    assert stored(ceph, bucket, data)


def test_a_store_that_keeps_other_bytes_than_it_was_sent_is_found_out(
    live: LiveRegistry, proxy: S3Proxy, ceph: CephNode, bucket: str
) -> None:
    """As one would that checks nothing: the registry's hash refuses, and all goes through it."""
    place = ceph.open(f"{bucket}/blobs")

    def spoil(number: int, method: str, path: str) -> None:
        # Once all parts are there: as the registry looks at them, to make one object of them.
        here = [each for each in proxy.seen if is_direct(*each)]
        if len(here) < 3 or spoilt or method != "GET" or "uploadId" not in path:
            return
        for pending in place.pending_uploads("look", under="uploads/"):
            spoilt.append(pending.key)
            first = place.parts("look", pending.key, pending.upload_id)[1]
            ceph.client().upload_part(
                Bucket=bucket, Key=f"blobs/{pending.key}", UploadId=pending.upload_id,
                PartNumber=1, Body=bytes(first.size),
            )  # fmt: skip

    spoilt: list[str] = []
    proxy.reset(spoil)
    said, data = publish_large(live, "spoilt")
    proxy.reset()
    assert spoilt
    assert "it did not keep what was sent to it" in said
    assert stored(ceph, bucket, data)


def test_a_store_that_clients_do_not_reach_costs_seconds_and_no_upload(
    live: LiveRegistry, proxy: S3Proxy, ceph: CephNode, bucket: str
) -> None:
    """Its public address is one at which nobody listens."""
    live.stop()
    settings = live.data / "server.toml"
    before = settings.read_text()
    settings.write_text(f'{before}s3_public_endpoint = "http://127.0.0.1:9"\n')
    try:
        live.start(live.port)
        said, _ = publish_large(live, "unreached")
        assert "http://127.0.0.1:9: connection refused" in said
    finally:
        settings.write_text(before)
        live.stop()
        live.start(live.port)
    assert "nothing wrong" in check(live)
