"""What a store, or what lies between, does wrong without a word is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ceph_node import CephNode
from one_machine import free_port
from s3_places import (
    BIG,
    LATER,
    NEW,
    PATH,
    SMALL,
    assert_clear,
    blobs,
    check_blob,
    digest_of,
    proxy,
    put,
    read,
    small_parts,
)
from s3_proxy import S3Proxy

from storage import BackendError
from storage.s3 import Bucket, S3BlobStore, S3PublishedTree

__all__ = ["proxy", "small_parts"]


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

    # It has what a tree calls, and no more of a `Bucket`.
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
