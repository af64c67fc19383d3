"""A real object store for tests: the Ceph node of `deploy/one_ceph.py`.

It starts once for a whole run, in about ten seconds, keeps everything in one temporary folder and
is stopped by the pids it started. Each test gets a bucket of its own.

The folder lies in memory where there is enough: a request that writes waits for the disk three
times as long as it works, and what a test stores need not outlive the machine.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import one_ceph
import pytest

from storage.s3 import Bucket, S3Connection, S3Options, connect

_MEMORY = "/dev/shm"
_ENOUGH_BYTES = 8 << 30  # a run stores two of them, in two nodes


class CephNode(one_ceph.CephNode):
    """A node in a temporary folder, and clients of it."""

    def __init__(self) -> None:
        self._connections: dict[S3Options, S3Connection] = {}
        self._numbers = itertools.count(1)
        super().__init__(Path(tempfile.mkdtemp(prefix="ceph-", dir=_place())))

    def remove(self) -> None:
        self.stop()
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
        path = folder / "begin.toml"
        path.write_text(self.settings_text(bucket, **more))
        return path

    def objects(self, bucket: str) -> dict[str, tuple[int, str]]:
        """``{key: (size, ETag)}``; of what was stored in the same way, the same bytes have the same
        ETag."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {
            item["Key"]: (item["Size"], item["ETag"])
            for page in pages
            for item in page.get("Contents", ())
        }

    def copy_objects(self, source: str, bucket: str) -> None:
        """Every object of the bucket ``source`` into ``bucket``, inside of the store."""

        def copy(key: str) -> None:
            self.client().copy_object(
                Bucket=bucket, Key=key, CopySource={"Bucket": source, "Key": key}
            )

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(copy, self.objects(source)))

    @contextmanager
    def least_part(self, size: int) -> Iterator[None]:
        """While it lasts, the store takes parts of ``size`` bytes that are not the last, and not of
        5 MiB alone: for those who move parts hundreds of times."""
        self._set_least_part(size)
        try:
            yield
        finally:
            self._set_least_part(5 << 20)

    def _set_least_part(self, size: int) -> None:
        gateway = str(self.folder / "client.rgw.a.asok")
        option = ("rgw_multipart_min_part_size", str(size))
        self._tool("ceph", "--admin-daemon", gateway, "config", "set", *option)

    def new_bucket(self) -> str:
        name = f"test-{next(self._numbers)}-{os.getpid()}"
        self.client().create_bucket(Bucket=name)
        return name


def _place() -> str:
    """The folder in which a node makes its own."""
    temp = tempfile.gettempdir()
    with suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
            return _MEMORY
    return temp if len(temp) < one_ceph.LONGEST_FOLDER - 20 else "/tmp"


def require_ceph() -> None:
    """Skips where Ceph is not installed; in CI that is a failure."""
    missing = one_ceph.missing_programs()
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"Ceph is required in CI ({one_ceph.PACKAGES}): found no {missing}")
        pytest.skip(f"Ceph is not installed ({one_ceph.PACKAGES})")


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephNode]:
    """The node of this run."""
    require_ceph()
    node = CephNode()
    try:
        node.start()
        yield node
    finally:
        node.remove()


@pytest.fixture
def bucket(ceph: CephNode) -> str:
    """The name of a fresh bucket."""
    return ceph.new_bucket()
