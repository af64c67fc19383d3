"""What stays true of the stores in an object store when the network or the store fails.

Each scenario is run once to count its requests. Then each single request is broken in every way:
refused; carried out but reported as failed; never answered; its answer cut off or altered on the
way. Afterwards another client, with nothing in between, looks at what there is and repeats the
call.
"""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session
from ceph_node import CephNode
from s3_places import (
    BIG,
    LATER,
    MIB,
    NEW,
    PART,
    PATH,
    SMALL,
    SOURCE,
    assemble,
    assert_clear,
    blobs,
    check_assembled,
    check_blob,
    digest_of,
    proxy,
    put,
    read,
    small_parts,
)
from s3_proxy import ALTERED, DONE, READING, REFUSED, S3Proxy
from thorough import kind_of_step, of_each_kind

from storage import BackendError, BlobMismatchError, PathNotFoundError
from storage.s3 import Bucket, S3BlobStore, S3Options, S3PublishedTree, connect

__all__ = ["proxy", "small_parts"]

OLD = b"old" * 99


def read_from(bucket: Bucket, start: int) -> None:
    with blobs(bucket).open(digest_of(BIG), start) as file:
        assert len(file.read()) == len(BIG) - start, "an early end was not noticed"


def check_deleted(bucket: Bucket, success: bool) -> None:
    check_blob(SMALL, bucket, False)
    assert not success or blobs(bucket).missing([digest_of(SMALL)])


def check_file(*allowed: bytes) -> Callable[[Bucket, bool], None]:
    """What is published is one of ``allowed``, and after a success the last of them."""

    def check(bucket: Bucket, success: bool) -> None:
        try:
            found = S3PublishedTree(bucket).read(PATH)
        except PathNotFoundError:
            assert allowed == (NEW,)
            assert not success
            return
        assert found in (allowed[-1:] if success else allowed)

    return check


def read_file(bucket: Bucket) -> None:
    assert S3PublishedTree(bucket).read(PATH) == NEW


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[Bucket], None]
    act: Callable[[Bucket], None]
    check: Callable[[Bucket, bool], None]
    reads: bool = False


def nothing(_: Bucket) -> None:
    pass


def unchanged(_: Bucket, __: bool) -> None:
    pass


def published(data: bytes) -> Callable[[Bucket], None]:
    return lambda bucket: S3PublishedTree(bucket).swap(PATH, data)


def replace_old(bucket: Bucket) -> None:
    tree = S3PublishedTree(bucket)
    assert tree.swap_if(PATH, NEW, OLD) or tree.read(PATH) == NEW


SCENARIOS = {
    "put-small": Scenario(nothing, lambda b: put(b, SMALL), lambda b, ok: check_blob(SMALL, b, ok)),
    "put-big": Scenario(nothing, lambda b: put(b, BIG), lambda b, ok: check_blob(BIG, b, ok)),
    "put-again": Scenario(
        lambda b: put(b, BIG), lambda b: put(b, BIG), lambda b, _: check_blob(BIG, b, True)
    ),
    "delete": Scenario(
        lambda b: put(b, SMALL), lambda b: blobs(b).delete(digest_of(SMALL)), check_deleted
    ),
    "put_once": Scenario(
        nothing, lambda b: S3PublishedTree(b).put_once(PATH, NEW), check_file(NEW)
    ),
    "put_once-again": Scenario(
        lambda b: S3PublishedTree(b).put_once(PATH, NEW),
        lambda b: S3PublishedTree(b).put_once(PATH, NEW),
        lambda b, _: check_file(NEW)(b, True),
    ),
    "swap-first": Scenario(nothing, published(NEW), check_file(NEW)),
    "swap": Scenario(published(OLD), published(NEW), check_file(OLD, NEW)),
    "swap_if": Scenario(published(OLD), replace_old, check_file(OLD, NEW)),
    "assemble": Scenario(lambda b: put(b, SOURCE), assemble, check_assembled),
    "read": Scenario(lambda b: put(b, BIG), lambda b: read(b, BIG), unchanged, reads=True),
    "read-from": Scenario(
        lambda b: put(b, BIG), lambda b: read_from(b, PART + 99), unchanged, reads=True
    ),
    "read-file": Scenario(published(NEW), read_file, unchanged, reads=True),
    "missing": Scenario(
        lambda b: put(b, SMALL),
        lambda b: check_blob(SMALL, b, True),
        unchanged,
        reads=True,
    ),
}


@pytest.fixture(params=list(SCENARIOS))
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return SCENARIOS[request.param]


def run_broken(
    scenario: Scenario,
    ceph: CephNode,
    proxy: S3Proxy,
    place: str,
    fault: str,
    at: int,
    **options: Any,
) -> BackendError | None:
    """What the scenario ends with when its request number ``at`` meets ``fault``."""
    direct = ceph.open(place)
    scenario.prepare(direct)
    proxy.once(at, fault)
    try:
        scenario.act(ceph.open(place, endpoint=proxy.url, **options))
    except BackendError as error:
        assert_clear(error, ceph)
        return error
    return None


def requests_of(scenario: Scenario, ceph: CephNode, proxy: S3Proxy, place: str) -> list[int]:
    """The numbers, from 0, of the requests to break: the first of each kind that the scenario
    makes. What a thread of its own asks, and what another one asks beside it, are of one kind."""
    kinds: list[str] = []
    send = URLLib3Session.send

    def noted(session: Any, request: Any) -> Any:
        kinds.append(kind_of_step(request.method))
        return send(session, request)

    direct = ceph.open(place)
    scenario.prepare(direct)
    proxy.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(URLLib3Session, "send", noted)
        scenario.act(ceph.open(place, endpoint=proxy.url))
    assert len(kinds) == len(proxy.seen)
    return [at - 1 for at in of_each_kind(kinds)]


# One of a kind for the long one, which makes thirty requests and moves 16 MiB each time.
CASES = [
    (name, fault)
    for name in SCENARIOS
    for fault in (*REFUSED, *DONE, *ALTERED)
    if name != "assemble" or fault in ("error-500", "done-reset")
]


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_any_broken_request_is_one_clear_error_and_leaves_nothing_wrong(
    ceph: CephNode, proxy: S3Proxy, bucket: str, name: str, fault: str
) -> None:
    scenario = SCENARIOS[name]
    for at in requests_of(scenario, ceph, proxy, f"{bucket}/dry"):
        place = f"{bucket}/{at}"
        error = run_broken(scenario, ceph, proxy, place, fault, at, attempts=1)
        assert error is None or error.retry, error
        look_and_repeat(scenario, ceph.open(place), error)


@pytest.mark.parametrize("name", ["put-big", "put_once", "swap"])
def test_a_request_that_is_never_answered(
    ceph: CephNode, proxy: S3Proxy, bucket: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = SCENARIOS[name]
    proxy.no_patience(monkeypatch)
    for at in requests_of(scenario, ceph, proxy, f"{bucket}/dry"):
        place = f"{bucket}/{at}"
        error = run_broken(scenario, ceph, proxy, place, "stall", at, attempts=1)
        assert error is None or (error.retry and "does not answer" in error.message)
        look_and_repeat(scenario, ceph.open(place), error)


def look_and_repeat(scenario: Scenario, direct: Bucket, error: BackendError | None) -> None:
    scenario.check(direct, error is None)
    # An upload that was begun, and whose begin or abort was broken, is all that may stay behind.
    assert len(list(direct.pending_uploads("look"))) <= 1
    blobs(direct).sweep_temp(60, LATER)
    assert list(direct.pending_uploads("look")) == []
    scenario.act(direct)  # the same call again now works
    scenario.check(direct, True)


@pytest.mark.parametrize("fault", ["slow-down", *DONE])
def test_a_patient_client_gets_through_when_every_request_fails_once(
    scenario: Scenario,
    ceph: CephNode,
    proxy: S3Proxy,
    bucket: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where each was carried out: repeating it meets its own work."""
    # How long the library waits between two attempts is its own matter.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    scenario.prepare(ceph.open(bucket))
    known: set[tuple[str, str]] = set()

    def first_time(number: int, method: str, path: str) -> str | None:
        again = (method, path) in known
        known.add((method, path))
        return None if again else fault

    proxy.reset(first_time)
    # A connection of its own: the library gives up on a client whose requests failed often.
    patient = connect(S3Options(endpoint=proxy.url, credentials=ceph.credentials))
    scenario.act(patient.bucket(f"s3://{bucket}"))
    assert len(proxy.broken) == len(known) > 0
    scenario.check(ceph.open(bucket), True)


@pytest.mark.parametrize("fault", READING)
@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if one.reads])
def test_answers_that_are_cut_off_or_altered_are_noticed(
    ceph: CephNode, proxy: S3Proxy, bucket: str, name: str, fault: str
) -> None:
    """``act`` compares what it gets: it ends right, or with an error."""
    scenario = SCENARIOS[name]
    for at in requests_of(scenario, ceph, proxy, f"{bucket}/dry"):
        error = run_broken(scenario, ceph, proxy, f"{bucket}/{at}", fault, at, attempts=1)
        assert error is None or error.retry


def test_a_sweep_takes_the_dead_uploads_and_leaves_the_living(ceph: CephNode, bucket: str) -> None:
    place = ceph.open(f"{bucket}/blobs")
    digest = digest_of(BIG)
    dead = place.begin_upload("begin", f"{digest[:2]}/{digest}")
    place.upload_part("send", f"{digest[:2]}/{digest}", dead, 1, b"part")
    ceph.client().create_multipart_upload(Bucket=bucket, Key="blobs/somebody-elses")
    ceph.client().create_multipart_upload(Bucket=bucket, Key=f"other/{digest[:2]}/{digest}")
    now = datetime.now(UTC)
    assert blobs(place).sweep_temp(3600, now) == 0
    assert blobs(place).sweep_temp(3600, now + timedelta(hours=2)) == 1
    assert blobs(place).sweep_temp(3600, now + timedelta(hours=2)) == 0
    left = ceph.client().list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert len(left) == 2


def test_an_upload_that_is_swept_meanwhile_fails_whole(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    place = ceph.open(f"{bucket}/blobs")

    def sweep(number: int, method: str, path: str) -> None:
        if method == "POST" and "uploadId" in path:
            assert blobs(place).sweep_temp(60, LATER) == 1

    proxy.reset(sweep)
    with pytest.raises(BackendError) as caught:
        put(ceph.open(f"{bucket}/blobs", endpoint=proxy.url), BIG)
    assert caught.value.retry
    check_blob(BIG, place, False)
    assert blobs(place).missing([digest_of(BIG)])


def test_a_big_wrong_blob_leaves_no_part_behind(ceph: CephNode, bucket: str) -> None:
    place = ceph.open(f"{bucket}/blobs")
    with pytest.raises(BlobMismatchError):
        blobs(place).put(digest_of(BIG), io.BytesIO(BIG[:-1] + b"!"), len(BIG))
    assert list(place.pending_uploads("look")) == []
    assert ceph.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_memory_is_a_few_parts_whatever_the_size(ceph: CephNode, bucket: str) -> None:
    store = S3BlobStore(ceph.open(f"{bucket}/blobs"), part_bytes=5 * MIB, parallel=2)
    size = 100 * MIB

    class Zeros(io.RawIOBase):
        left = size

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            count = min(len(buffer), self.left)
            buffer[:count] = bytes(count)
            self.left -= count
            return count

    digest = hashlib.sha256(bytes(size)).hexdigest()
    tracemalloc.start()
    try:
        store.put(digest, Zeros(), size)
        with store.open(digest) as file:
            assert sum(len(block) for block in iter(lambda: file.read(MIB), b"")) == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * MIB  # three parts, two buffers, and what signing a part needs
