"""The object store and the database taken away while people publish and install: a real server,
real clients, PostgreSQL that is stopped, and Ceph behind a proxy that hangs up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3
from ceph_node import CephNode
from live_registry import LiveRegistry
from postgres import PostgresServer, running
from s3_proxy import S3Proxy

from forge_server.operate.check import check_registry
from forge_server.settings import DataFolder
from forge_server.wiring import open_registry

ORG = "minds-lab"
NETWORK = 8  # the exit code that says: later


@dataclass
class Stand:
    """A registry whose database is ``postgres`` and whose files lie behind ``proxy``."""

    live: LiveRegistry
    postgres: PostgresServer
    proxy: S3Proxy
    secrets: tuple[str, ...]
    count: int = field(default=0)
    refused: int = field(default=0)

    def away(self, part: str) -> None:
        if part == "store":
            self.proxy.reset(lambda *_: "reset")
        else:
            self.postgres.stop("immediate")

    def back(self, part: str) -> None:
        self.proxy.reset()
        if part == "database":
            self.postgres.start()

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        self.away(part)
        try:
            yield
        finally:
            self.back(part)

    def lose_after(self, part: str, requests: int) -> None:
        """Takes ``part`` away when the store has got so many requests."""

        def plan(number: int, _method: str, _path: str) -> str | None:
            if number == requests and part == "database":
                self.postgres.stop("immediate")
            return "reset" if number >= requests and part == "store" else None

        self.proxy.reset(plan)

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request(
            "GET", f"{self.live.url}{path}", retries=False, redirect=False, timeout=None
        )

    def folder(self) -> Path:
        """A new release, of a component of its own."""
        self.count += 1
        made = self.live.new_component(ORG, f"model-{self.count}")
        (made / "weights.bin").write_bytes(b"%d" % self.count * 200_000)
        return made

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.live.forge_with(self.live.environment, *arguments)
        assert "Traceback" not in done.stderr
        return done

    def require_silent(self, text: str) -> None:
        for secret in self.secrets:
            assert secret not in text


@pytest.fixture(scope="module")
def stand(ceph: CephNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    place = tmp_path_factory.mktemp("away")
    bucket = ceph.new_bucket()
    with running() as postgres, S3Proxy(ceph.endpoint) as proxy:
        settings = ceph.settings(place, bucket, s3_endpoint=proxy.url)
        options = ("--settings", str(settings), "--database", postgres.create())
        with LiveRegistry(place, options=options) as live:
            secrets = (
                bucket, proxy.url.removeprefix("http://"), ceph.access_key, ceph.secret_key,
                str(postgres.folder), str(place),
            )  # fmt: skip
            live.register(ORG)
            yield Stand(live, postgres, proxy, secrets)


WORDS = {
    "store": {
        "published": "could not read timestamp.json: the connection was lost",
        "blobs": "could not look for blobs: the connection was lost",
    },
    "database": {"database": "the database could not be reached, or was lost on the way"},
}
READABLE = {
    "store": ("/api/v1/components", "/tuf/1.root.json"),  # the server remembers what never changes
    "database": ("/tuf/timestamp.json", "/tuf/1.root.json", "/log/checkpoint"),
}
REFUSED = {"store": ("/tuf/timestamp.json", "storage-failed"),
           "database": ("/api/v1/components", "database-unavailable")}  # fmt: skip


@pytest.mark.parametrize("part", WORDS)
def test_what_is_said_and_what_goes_on(stand: Stand, part: str) -> None:
    folder = stand.folder()
    assert stand.run("publish", str(folder)).returncode == 0
    name = f"{ORG}/{folder.name}"
    into = ("install", name, "--into", f"out-{part}")
    assert stand.run(*into).returncode == 0
    assert stand.get("/tuf/1.root.json").status == 200
    with stand.without(part):
        assert stand.get("/healthz").status == 200
        ready = stand.get("/readyz")
        assert ready.status == 503
        assert ready.json()["why"] == WORDS[part]
        assert {name for name, well in ready.json()["parts"].items() if not well} == {*WORDS[part]}
        stand.require_silent(ready.data.decode())
        for path in READABLE[part]:
            assert stand.get(path).status == 200, path
        path, code = REFUSED[part]
        refused = stand.get(path)
        assert (refused.status, refused.json()["code"]) == (503, code)
        assert int(refused.headers["Retry-After"]) > 0
        assert "later" in refused.json()["detail"] + refused.json().get("hint", "")
        stand.require_silent(refused.data.decode())
        # What is here needs nobody: the lock and the cache answer.
        assert stand.run(*into).returncode == 0
    assert stand.get("/readyz").json()["ready"]


@pytest.mark.parametrize(
    ("part", "requests"), [("store", 0), ("store", 12), ("database", 4), ("database", 12)]
)
def test_lost_while_somebody_publishes(stand: Stand, part: str, requests: int) -> None:
    folder = stand.folder()
    stand.lose_after(part, requests)
    try:
        first = stand.run("publish", str(folder))
    finally:
        stand.back(part)
    if first.returncode:
        stand.refused += 1
        assert first.returncode == NETWORK, first.stderr
        assert "later" in first.stderr or "try again" in first.stderr, first.stderr
        stand.require_silent(first.stderr)
    again = stand.run("publish", str(folder), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["version"] == "1.0.0"


def test_nothing_is_half_done(stand: Stand) -> None:
    """After all of the above, while the server that went through it runs on."""
    assert stand.refused >= 3, "what was taken away was hardly missed: the test looks at nothing"
    done = stand.run("install", f"{ORG}/model-{stand.count}", "--into", "last")
    assert done.returncode == 0, done.stderr
    registry = open_registry(DataFolder(stand.live.data))
    report = check_registry(registry, deep=True)
    assert (report.problems, report.releases) == ((), stand.count)
    registry.database.dispose()
