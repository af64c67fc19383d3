"""Every write of a publish refused, and every write done but reported as failed.

A step is a system call of `storage.durable` that changes the disk, or a commit of the database.
At step N it fails, once. The answer may be an error; it must be an honest one. The same server
then goes on, and after a restart nothing is half-published and the same publish goes through.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from server_fixtures import (
    Client,
    World,
    _fresh_registry,
    copy_registry,
    database_url,
    drop_database,
)
from sqlalchemy.engine.default import DefaultDialect
from thorough import kind_of_step, of_each_kind

from forge_server.app import create_app
from forge_server.operate.check import check_registry
from storage import durable

__all__ = ["_fresh_registry"]
# What changes the disk for good. `test_storage_faults` breaks all the others too.
STEPS = ("write", "fsync", "rename", "link", "make_folder")
ON_POSTGRESQL = ("rename",)  # beside the commits; what is between them is the same
HONEST = {"storage-failed", "disk-full", "database-unavailable", "internal"}


@pytest.fixture(scope="module")
def prepared(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    """A registry with an approved organisation, closed, and the owner's token."""
    world = World(copy_registry(_fresh_registry, tmp_path_factory.mktemp("prepared")))
    token = world.user("sara")
    world.organisation(token)
    world.close()
    return world, token


class Failing:
    """Counts steps and makes one of them fail, before or after it is done."""

    def __init__(self, at: int, *, done: bool, names: tuple[str, ...], broken: Exception) -> None:
        self.at, self.done, self.names, self.broken = at, done, names, broken
        self.kinds: list[str] = []  # of the steps that there were
        self.lock = threading.Lock()

    def arm(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.names:
            error = OSError(errno.EIO, "Input/output error", "/srv/secret")
            self._wrap(patch, durable, name, error)
        self._wrap(patch, DefaultDialect, "do_commit", self.broken)

    def _wrap(self, patch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            with self.lock:  # some steps are made by several threads at once
                self.kinds.append(kind_of_step(name))
                number = len(self.kinds)
            if number != self.at:
                return original(*arguments, **options)
            if self.done:
                original(*arguments, **options)
            raise error

        patch.setattr(owner, name, step)


@pytest.mark.parametrize("done", [False, True], ids=["refused", "done-but-reported-as-failed"])
def test_every_step_fails_once(
    prepared: tuple[World, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    source, token = prepared
    names: tuple[str, ...] = STEPS
    broken: Exception
    if database_url(source.root) is None:
        broken = sqlite3.OperationalError("disk I/O error")
    else:
        names = ON_POSTGRESQL
        broken = psycopg.OperationalError("server closed the connection unexpectedly")

    def walk(at: int) -> tuple[list[str], bool]:
        """Breaks the step ``at``; the kinds of the steps, and whether the publish failed."""
        place = tmp_path / str(at)
        place.mkdir()
        world = World(copy_registry(source.root, place), keys=dict(source.keys))
        client = Client(create_app(world.registry).test_client(), token)
        built = world.release()
        failing = Failing(at, done=done, names=names, broken=broken)
        with monkeypatch.context() as patch:
            failing.arm(patch)
            client.put_blobs(built)
            answer = client.post("/api/v1/releases", built.body())
        # The very same process goes on where it was ...
        client.publish(built, expect=None)
        receipt = client.post("/api/v1/releases", built.body(), expect=200)["receipt"]
        assert receipt["manifest_sha256"] == built.manifest.digest
        # ... and so does the next one.
        world.reopen()
        assert check_registry(world.registry, deep=True).problems == (), f"step {at}"
        world.close()
        drop_database(world.root)
        return failing.kinds, honest(answer)

    kinds, failed = walk(0)  # none
    assert not failed
    chosen = of_each_kind(kinds, way=done, ways=2)
    failures = sum(walk(at)[1] for at in chosen)
    print(f"{len(chosen)} of {len(kinds)} steps, {failures} failures")
    assert failures > (6 if names is STEPS else 5), (
        "hardly any step failed: the test looks at nothing"
    )


def honest(answer: dict[str, Any]) -> bool:
    """Whether the publish was answered with an error; one that says nothing of the inside."""
    if answer.get("state") == "published":
        return False
    if answer.get("state") == "missing":  # an upload had failed, and nobody pretended otherwise
        return True
    assert answer["code"] in HONEST, answer
    assert "/srv" not in str(answer)
    return True
