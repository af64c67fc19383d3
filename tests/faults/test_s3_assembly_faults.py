"""Parts that go straight to the store, and what becomes of an assembly that was broken off."""

from __future__ import annotations

from contextlib import suppress

import pytest
import urllib3
from ceph_node import CephNode
from s3_places import (
    MADE,
    PARTS,
    SOURCE,
    UPLOAD,
    blobs,
    check_assembled,
    digest_of,
    proxy,
    put,
    read,
    send_parts,
    small_parts,
)
from s3_proxy import S3Proxy

from storage import BackendError, Part, Segment
from storage.s3 import Bucket, S3Assembly

__all__ = ["proxy", "small_parts"]


@pytest.fixture
def begun(ceph: CephNode, bucket: str) -> S3Assembly:
    """An upload that waits for its one part, `PARTS[0]`."""
    place = ceph.open(f"{bucket}/blobs")
    assembly = S3Assembly(blobs(place), place)
    assembly.begin(UPLOAD, digest_of(PARTS[0]), len(PARTS[0]), [Segment(length=len(PARTS[0]))])
    return assembly


def send(assembly: S3Assembly, body: bytes, **changed: str) -> int:
    """The status of a PUT of ``body`` to the address for `PARTS[0]`."""
    size, sha256 = len(PARTS[0]), digest_of(PARTS[0])
    (address,) = assembly.part_addresses(UPLOAD, [Part(number=0, size=size, sha256=sha256)], 60)
    headers = {**address.headers, "Content-Length": str(len(body)), **changed}
    return urllib3.request("PUT", address.url, body=body, headers=headers, retries=False).status


def test_a_part_may_go_straight_to_the_store(begun: S3Assembly) -> None:
    assert send(begun, PARTS[0]) == 200
    assert begun.parts(UPLOAD) == {0}
    begun.assemble(UPLOAD, digest_of(PARTS[0]), len(PARTS[0]))


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (PARTS[0][:-1] + b"!", {}),
        (PARTS[0][:-1], {}),
        (PARTS[0] + b"!", {}),
        (PARTS[0][:-1] + b"!", {"x-amz-content-sha256": digest_of(PARTS[0][:-1] + b"!")}),
        (PARTS[0][:-1] + b"!", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
    ],
    ids=["other bytes", "shorter", "longer", "another digest", "no digest"],
)
def test_an_address_takes_this_part_and_no_other(
    begun: S3Assembly, body: bytes, changed: dict[str, str]
) -> None:
    assert send(begun, body, **changed) in (400, 403)
    assert begun.parts(UPLOAD) == set()


def test_a_draft_never_becomes_another_under_the_same_name(
    begun: S3Assembly, ceph: CephNode, bucket: str
) -> None:
    """Who verified one, and was stuck, must not copy what was uploaded anew meanwhile."""
    place = ceph.open(f"{bucket}/blobs")
    drafts = set()
    for _ in range(2):
        assert send(begun, PARTS[0]) == 200
        (pending,) = place.pending_uploads("look")
        drafts.add(pending.key)
        begun.abort(UPLOAD)
        begun.begin(UPLOAD, digest_of(PARTS[0]), len(PARTS[0]), [Segment(length=len(PARTS[0]))])
    assert len(drafts) == 2


def test_an_assembly_that_was_broken_off_is_ended_by_another_without_the_parts(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    """After each of its requests: above all when the parts are one object, and are parts no more,
    and that has not come to its name yet."""
    put(ceph.open(f"{bucket}/0"), SOURCE)
    send_parts(ceph.open(f"{bucket}/0"))
    proxy.reset()
    finish(ceph.open(f"{bucket}/0", endpoint=proxy.url))
    joins = [method for method, _ in proxy.seen].index("POST")
    for at in range(len(proxy.seen)):
        place = f"{bucket}/{at + 1}"
        put(ceph.open(place), SOURCE)
        send_parts(ceph.open(place))
        proxy.once(at, "done-reset")
        with suppress(BackendError):
            finish(ceph.open(place, endpoint=proxy.url, attempts=1))
        assert proxy.broken
        finish(ceph.open(place))
        read(ceph.open(place), MADE)
        check_assembled(ceph.open(place), True)
    assert 5 < joins < at - 5


def finish(bucket: Bucket) -> None:
    S3Assembly(blobs(bucket), bucket).assemble(UPLOAD, digest_of(MADE), len(MADE))
