"""A registry on an object store, driven as a user drives it, and killed while it publishes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ceph_node import CephNode
from live_registry import BIN, LiveRegistry
from s3_proxy import S3Proxy

STOCK_CLIENT = Path(__file__).parents[1] / "interop" / "stock_tuf_client.py"
WEIGHTS = os.urandom(9 << 20)  # two parts


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
    done = subprocess.run(
        [str(BIN / "forge-server"), "check", str(live.data), "--deep"],
        env=live.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stderr


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
    points = sorted({requests * part // 5 for part in range(5)})
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
