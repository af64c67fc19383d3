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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3
from botocore.httpsession import URLLib3Session
from ceph_node import CephNode
from one_machine import free_port
from s3_proxy import ALTERED, DONE, READING, REFUSED, S3Proxy
from thorough import kind_of_step, of_each_kind

from storage import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    Part,
    PathNotFoundError,
    Segment,
)
from storage.s3 import (
    Bucket,
    S3Assembly,
    S3BlobStore,
    S3Options,
    S3PublishedTree,
    connect,
)

MIB = 1 << 20
SMALL = b"small" * 999
PART = MIB
BIG = bytes(range(256)) * (9 * 1024) + b"the end"  # three parts
OLD, NEW, OTHER = b"old" * 99, b"new" * 99, b"other" * 99
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


def read_from(bucket: Bucket, start: int) -> None:
    with blobs(bucket).open(digest_of(BIG), start) as file:
        assert len(file.read()) == len(BIG) - start, "an early end was not noticed"


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


SOURCE = bytes(range(256)) * (6 * 1024)  # one and a half
PARTS = [b"a" * PART, SOURCE[7 : 7 + PART], b"b" * PART, SOURCE[-99:]]
MADE = b"".join(PARTS)
UPLOAD = "c" * 64


def assemble(bucket: Bucket) -> None:
    """A blob of two parts that are sent and two that are copied, one of them by hand."""
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
    assembly.assemble(UPLOAD, digest_of(MADE), len(MADE))


def check_assembled(bucket: Bucket, success: bool) -> None:
    there = not blobs(bucket).missing([digest_of(MADE)])
    assert there or not success
    if there:
        read(bucket, MADE)
    S3Assembly(blobs(bucket), bucket).sweep(60, LATER)
    assert list(bucket.pending_uploads("look")) == []
    assert list(bucket.keys("look", under="uploads/")) == [[]]


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


@pytest.fixture(scope="module", autouse=True)
def _parts(ceph: CephNode) -> Iterator[None]:
    """Parts are smaller than elsewhere: here they travel a thousand times."""
    with ceph.least_part(PART), pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.s3.assembly._LEAST", PART)
        patch.setattr(S3Assembly, "limits", replace(S3Assembly.limits, min_bytes=PART))
        yield


@pytest.fixture(scope="module")
def proxy(ceph: CephNode) -> Iterator[S3Proxy]:
    with S3Proxy(ceph.endpoint) as running:
        yield running


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


def assert_clear(error: BackendError, ceph: CephNode) -> None:
    shown = f"{error} {error.hint}"
    assert "could not" in shown
    assert ceph.secret_key not in shown
    assert ceph.access_key not in shown
    assert "127.0.0.1" not in shown


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


def test_a_blob_that_is_damaged_in_the_store_is_never_read_as_whole(
    ceph: CephNode, bucket: str
) -> None:
    place = ceph.open(f"{bucket}/blobs")
    put(place, BIG)
    key = f"blobs/{digest_of(BIG)[:2]}/{digest_of(BIG)}"
    ceph.client().put_object(Bucket=bucket, Key=key, Body=BIG[:-1] + b"!")
    with pytest.raises(BackendError) as caught:
        read(place, BIG)
    assert caught.value.code == "blob-damaged"


def test_a_file_that_is_damaged_in_the_store_is_not_handed_out(ceph: CephNode, bucket: str) -> None:
    tree = S3PublishedTree(ceph.open(f"{bucket}/public"))
    tree.put_once("a.json", b"signed")
    kept = ceph.client().head_object(Bucket=bucket, Key="public/a.json")["Metadata"]
    ceph.client().put_object(Bucket=bucket, Key="public/a.json", Body=b"Signed", Metadata=kept)
    with pytest.raises(BackendError) as caught:
        tree.read("a.json")
    assert caught.value.code == "file-damaged"


def test_a_store_that_keeps_only_part_of_a_blob_is_found_out(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    """It confirms a completed upload, and has something else."""
    digest = digest_of(BIG)
    key = f"blobs/{digest[:2]}/{digest}"

    def shorten(number: int, method: str, path: str) -> None:
        if method == "HEAD" and any(verb == "POST" for verb, _ in proxy.seen):
            ceph.client().put_object(Bucket=bucket, Key=key, Body=BIG[:-1])

    proxy.reset(shorten)
    place = f"{bucket}/blobs"
    with pytest.raises(BackendError, match="did not keep all"):
        put(ceph.open(place, endpoint=proxy.url), BIG)
    check_blob(BIG, ceph.open(place), False)
    assert blobs(ceph.open(place)).missing([digest]) == {digest}


def test_a_reader_that_loses_its_connection_goes_on_where_it_was(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    place = f"{bucket}/blobs"
    put(ceph.open(place), BIG)
    proxy.reset(lambda number, *_: "truncate" if number < 4 else None)
    read(ceph.open(place, endpoint=proxy.url), BIG)
    assert len(proxy.broken) == 4


def test_a_reader_does_not_mix_two_versions_of_an_object(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    put(ceph.open(f"{bucket}/blobs"), BIG)
    digest = digest_of(BIG)
    key = f"blobs/{digest[:2]}/{digest}"

    def replace(number: int, method: str, path: str) -> str | None:
        if number == 1:
            ceph.client().put_object(Bucket=bucket, Key=key, Body=bytes(len(BIG)))
        return "truncate" if number == 0 else None

    proxy.reset(replace)
    with (
        blobs(ceph.open(f"{bucket}/blobs", endpoint=proxy.url)).open(digest) as file,
        pytest.raises(BackendError, match="replaced or deleted"),
    ):
        file.read()


def test_a_store_that_ignores_a_range_is_found_out(ceph: CephNode, bucket: str) -> None:
    place = ceph.open(f"{bucket}/blobs")
    put(place, BIG)

    class Ignoring(Bucket):
        def get(self, action: str, key: str, **_: Any) -> Any:
            return place.get(action, key)

    store = S3BlobStore(Ignoring(ceph.client(), bucket, "blobs/"))
    with pytest.raises(BackendError, match="another range"):
        store.open(digest_of(BIG), 1)


def test_a_late_write_does_not_turn_time_back(ceph: CephNode, proxy: S3Proxy, bucket: str) -> None:
    """A replacement that was under way when another server took over is refused."""
    place = f"{bucket}/public"
    ours = S3PublishedTree(ceph.open(place))
    ours.swap("timestamp.json", b"4")

    def overtake(number: int, method: str, path: str) -> None:
        if method == "PUT" and not any(verb == "PUT" for verb, _ in proxy.seen):
            ours.swap("timestamp.json", b"6")

    proxy.reset(overtake)
    late = S3PublishedTree(ceph.open(place, endpoint=proxy.url))
    assert late.swap_if("timestamp.json", b"5", b"4") is False
    assert ours.read("timestamp.json") == b"6"


def test_a_replacement_that_was_reported_as_failed_is_known_again(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    """Also where somebody else writes the very same bytes: of two, one replaced what was seen."""
    place = f"{bucket}/public"
    ours = S3PublishedTree(ceph.open(place))
    ours.swap("count", b"0")
    proxy.reset()
    patient = S3PublishedTree(ceph.open(place, endpoint=proxy.url))
    for data in (b"1", b"2"):  # so that it knows how this store compares ETags
        patient.swap("other", data)
    done: set[str] = set()

    def fail_each_put_once(number: int, method: str, path: str) -> str | None:
        again = method in done
        done.add(method)
        return "done-500" if method == "PUT" and not again else None

    proxy.reset(fail_each_put_once)
    assert patient.swap_if("count", b"1", b"0") is True
    assert [fault for fault, *_ in proxy.broken] == ["done-500"]
    assert ours.swap_if("count", b"1", b"0") is False


def test_a_store_that_ignores_conditions_is_refused(
    ceph: CephNode, proxy: S3Proxy, bucket: str
) -> None:
    place = f"{bucket}/public"
    S3PublishedTree(ceph.open(place)).require_conditions()
    assert list(ceph.open(place).keys("list")) == [[]]

    class Forgetful:
        """A bucket that takes every condition for kept."""

        def __init__(self, real: Bucket) -> None:
            self._real = real

        def put(self, action: str, key: str, data: bytes, **_: Any) -> None:
            self._real.put(action, key, data)

        def delete(self, action: str, key: str) -> None:
            self._real.delete(action, key)

    tree = S3PublishedTree(Forgetful(ceph.open(place)))  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="ignores if_absent"):
        tree.require_conditions()
    assert list(ceph.open(place).keys("list")) == [[]]


def test_nobody_listens(ceph: CephNode, bucket: str) -> None:
    nowhere = ceph.open(bucket, endpoint=f"http://127.0.0.1:{free_port()}", attempts=1)
    for call in (
        lambda: put(nowhere, SMALL),
        lambda: blobs(nowhere).stat(digest_of(SMALL)),
        lambda: S3PublishedTree(nowhere).put_once(PATH, NEW),
        lambda: S3PublishedTree(nowhere).read(PATH),
    ):
        with pytest.raises(BackendError, match="cannot be reached") as caught:
            call()
        assert caught.value.retry
        assert_clear(caught.value, ceph)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"bucket": "nowhere-to-be-found"}, "backend-failed", "bucket is not there"),
        ({"secret": "wrong"}, "storage-permission", "refuses access"),
        ({"key": "wrong"}, "storage-permission", "refuses access"),
    ],
    ids=["bucket", "secret", "key"],
)
def test_a_wrong_setting_is_told_apart_from_an_empty_store(
    ceph: CephNode, bucket: str, tmp_path: Any, wrong: dict[str, str], code: str, words: str
) -> None:
    keys = tmp_path / "credentials"
    keys.touch(mode=0o600)
    keys.write_text(
        f"[default]\naws_access_key_id={wrong.get('key', ceph.access_key)}\n"
        f"aws_secret_access_key={wrong.get('secret', ceph.secret_key)}\n"
    )
    place = ceph.open(wrong.get("bucket", bucket), credentials=keys)
    tree, digest = S3PublishedTree(place), digest_of(SMALL)
    calls: list[Callable[[], object]] = [
        lambda: put(place, SMALL),
        lambda: put(place, BIG),
        lambda: blobs(place).missing([digest]),
        lambda: blobs(place).missing([digest_of(bytes([n])) for n in range(50)]),
        lambda: blobs(place).open(digest),
        lambda: blobs(place).stat(digest),
        lambda: blobs(place).delete(digest),
        lambda: list(blobs(place).iter_digests()),
        lambda: blobs(place).sweep_temp(60, LATER),
        lambda: tree.put_once(PATH, NEW),
        lambda: tree.swap(PATH, NEW),
        lambda: tree.read(PATH),
        lambda: tree.exists(PATH),
        tree.require_conditions,
    ]
    for call in calls:
        with pytest.raises(BackendError, match=words) as caught:
            call()
        assert (caught.value.code, caught.value.retry) == (code, False)
        assert caught.value.hint
        assert_clear(caught.value, ceph)


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
