"""Blobs in an object store whose parts are small, seen through a proxy that breaks requests."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ceph_node import CephNode
from s3_proxy import S3Proxy

from storage import BackendError, BlobNotFoundError, Segment
from storage.s3 import Bucket, S3Assembly, S3BlobStore

MIB = 1 << 20
SMALL = b"small" * 999
PART = MIB
BIG = bytes(range(256)) * (9 * 1024) + b"the end"  # three parts
NEW = b"new" * 99
PATH = "tuf/lab/1.root.json"
LATER = datetime.now(UTC) + timedelta(days=2)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blobs(bucket: Bucket) -> S3BlobStore:
    return S3BlobStore(bucket, part_bytes=PART)


def put(bucket: Bucket, data: bytes) -> None:
    blobs(bucket).put(digest_of(data), io.BytesIO(data), len(data))


def read(bucket: Bucket, data: bytes) -> None:
    """Reads all of the blob in pieces, and compares."""
    with blobs(bucket).open(digest_of(data)) as file:
        found = b"".join(iter(lambda: file.read(MIB), b""))
    assert found == data, "wrong bytes were handed out as the whole blob"


def check_blob(data: bytes, bucket: Bucket, success: bool) -> None:
    """All of it or nothing, by every method."""
    store, digest = blobs(bucket), digest_of(data)
    there = not store.missing([digest])
    assert there or not success
    assert list(store.iter_digests()) == ([digest] if there else [])
    if there:
        assert store.stat(digest).size == len(data)
        read(bucket, data)
    else:
        with pytest.raises(BlobNotFoundError):
            store.open(digest)


SOURCE = bytes(range(256)) * (6 * 1024)  # one and a half
PARTS = [b"a" * PART, SOURCE[7 : 7 + PART], b"b" * PART, SOURCE[-99:]]
MADE = b"".join(PARTS)
UPLOAD = "c" * 64


def send_parts(bucket: Bucket) -> S3Assembly:
    """What assembles `MADE`, of two parts that were sent and two that are copied, one of them by
    hand; `SOURCE` must be there."""
    source = digest_of(SOURCE)
    assembly = S3Assembly(blobs(bucket), bucket)
    recipe = [
        Segment(length=PART),
        Segment(length=PART, source=source, start=7),
        Segment(length=PART),
        Segment(length=99, source=source, start=len(SOURCE) - 99),
    ]
    assembly.begin(UPLOAD, digest_of(MADE), len(MADE), recipe)
    for number in (0, 2):
        part = PARTS[number]
        assembly.put_part(UPLOAD, number, io.BytesIO(part), len(part), digest_of(part))
    return assembly


def assemble(bucket: Bucket) -> None:
    send_parts(bucket).assemble(UPLOAD, digest_of(MADE), len(MADE))


def check_assembled(bucket: Bucket, success: bool) -> None:
    there = not blobs(bucket).missing([digest_of(MADE)])
    assert there or not success
    if there:
        read(bucket, MADE)
    S3Assembly(blobs(bucket), bucket).sweep(60, LATER)
    assert list(bucket.pending_uploads("look")) == []
    assert list(bucket.keys("look", under="uploads/")) == [[]]


@pytest.fixture(scope="module", autouse=True)
def small_parts(ceph: CephNode) -> Iterator[None]:
    """Parts are smaller than elsewhere: here they travel a thousand times."""
    with ceph.least_part(PART), pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.s3.assembly._LEAST", PART)
        patch.setattr(S3Assembly, "limits", replace(S3Assembly.limits, min_bytes=PART))
        yield


@pytest.fixture(scope="module")
def proxy(ceph: CephNode) -> Iterator[S3Proxy]:
    with S3Proxy(ceph.endpoint) as running:
        yield running


def assert_clear(error: BackendError, ceph: CephNode) -> None:
    shown = f"{error} {error.hint}"
    assert "could not" in shown
    assert ceph.secret_key not in shown
    assert ceph.access_key not in shown
    assert "127.0.0.1" not in shown
