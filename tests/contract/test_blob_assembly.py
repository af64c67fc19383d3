"""The contract of `storage.assembly`, held against every `BlobAssembly`."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ceph_node import CephNode

from storage import (
    BlobAssembly,
    BlobMismatchError,
    BlobNotFoundError,
    BlobStore,
    InvalidArgumentError,
    LocalAssembly,
    LocalBlobStore,
    Part,
    PartsMissingError,
    Segment,
    UploadNotFoundError,
)
from storage.s3 import S3Assembly, S3BlobStore

UPLOAD = "a" * 64


@dataclass
class Place:
    """A store and what assembles into it; ``again`` opens both anew, as after a restart."""

    store: BlobStore
    assembly: BlobAssembly
    again: Callable[[], Place]


def local(folder: Path) -> Place:
    store = LocalBlobStore(folder / "blobs")
    return Place(store, LocalAssembly(store), lambda: local(folder))


# One line per store. The function gets an empty folder of its own and returns an empty place.
PLACES: dict[str, Callable[[Path], Place]] = {"local": local}


@pytest.fixture(params=[*PLACES, "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        ceph: CephNode = request.getfixturevalue("ceph")
        return in_bucket(ceph, ceph.new_bucket())
    return PLACES[request.param](tmp_path)


def in_bucket(ceph: CephNode, bucket: str) -> Place:
    there = ceph.open(f"{bucket}/blobs")
    store = S3BlobStore(there)
    return Place(store, S3Assembly(store, there), lambda: in_bucket(ceph, bucket))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unit(place: Place) -> int:
    """A length that every segment may have."""
    return max(place.assembly.limits.min_bytes, 1000)


def data_of(place: Place, units: int = 3) -> bytes:
    return random.Random(1).randbytes(units * unit(place))


def cuts(place: Place, data: bytes) -> list[bytes]:
    step = unit(place)
    return [data[at : at + step] for at in range(0, len(data), step)]


def begin(place: Place, data: bytes, upload: str = UPLOAD) -> list[bytes]:
    parts = cuts(place, data)
    recipe = [Segment(length=len(part)) for part in parts]
    place.assembly.begin(upload, sha(data), len(data), recipe)
    return parts


def put(place: Place, number: int, part: bytes, upload: str = UPLOAD) -> None:
    place.assembly.put_part(upload, number, io.BytesIO(part), len(part), sha(part))


def stored(place: Place, data: bytes) -> str:
    place.store.put(sha(data), io.BytesIO(data), len(data))
    return sha(data)


def content(place: Place, digest: str) -> bytes:
    with place.store.open(digest) as file:
        return file.read()


def gone(place: Place, upload: str = UPLOAD) -> bool:
    try:
        place.assembly.parts(upload)
    except UploadNotFoundError:
        return True
    return False


def test_it_is_one(place: Place) -> None:
    assert isinstance(place.assembly, BlobAssembly)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_in_any_order_become_the_blob(place: Place, order: tuple[int, ...]) -> None:
    data = data_of(place)
    parts = begin(place, data)
    for count, number in enumerate(order):
        assert place.assembly.parts(UPLOAD) == set(order[:count])
        assert place.store.missing([sha(data)]) == {sha(data)}
        put(place, number, parts[number])
    place.assembly.assemble(UPLOAD, sha(data), len(data))
    assert content(place, sha(data)) == data
    assert list(place.store.iter_digests()) == [sha(data)]
    assert gone(place)


def test_a_last_part_may_be_shorter(place: Place) -> None:
    data = data_of(place) + b"tail"
    for number, part in enumerate(begin(place, data)):
        put(place, number, part)
    place.assembly.assemble(UPLOAD, sha(data), len(data))
    assert content(place, sha(data)) == data


def test_copied_segments_come_from_blobs_that_are_here(place: Place) -> None:
    old = data_of(place, 4)
    step = unit(place)
    fresh = random.Random(2).randbytes(step)
    source = stored(place, old)
    new = old[step + 7 : 2 * step + 7] + fresh + old[:step]
    recipe = [
        Segment(length=step, source=source, start=step + 7),
        Segment(length=step),
        Segment(length=step, source=source),
    ]
    place.assembly.begin(UPLOAD, sha(new), len(new), recipe)
    put(place, 1, fresh)
    place.assembly.assemble(UPLOAD, sha(new), len(new))
    assert content(place, sha(new)) == new
    assert content(place, source) == old


def test_an_upload_goes_on_after_a_restart(place: Place) -> None:
    data = data_of(place)
    parts = begin(place, data)
    put(place, 1, parts[1])
    place = place.again()
    assert place.assembly.parts(UPLOAD) == {1}
    begin(place, data)
    put(place, 0, parts[0])
    put(place, 2, parts[2])
    place.again().assembly.assemble(UPLOAD, sha(data), len(data))
    assert content(place, sha(data)) == data


@pytest.mark.parametrize("spoil", [lambda p: p[:-1] + bytes([p[-1] ^ 1]), lambda p: p[:-1],
                                   lambda p: p + b"x", lambda p: b""],
                         ids=["altered", "short", "long", "empty"])  # fmt: skip
def test_a_part_of_other_bytes_is_as_if_it_had_never_come(
    place: Place, spoil: Callable[[bytes], bytes]
) -> None:
    data = data_of(place)
    parts = begin(place, data)
    wrong = spoil(parts[1])
    with pytest.raises(BlobMismatchError):
        place.assembly.put_part(UPLOAD, 1, io.BytesIO(wrong), len(parts[1]), sha(parts[1]))
    assert place.assembly.parts(UPLOAD) == set()
    for number, part in enumerate(parts):
        put(place, number, part)
    place.assembly.assemble(UPLOAD, sha(data), len(data))
    assert content(place, sha(data)) == data


def test_an_error_of_the_sender_passes_through(place: Place) -> None:
    class Broken(io.RawIOBase):
        def readinto(self, buffer: object) -> int:
            raise ConnectionResetError

        def readable(self) -> bool:
            return True

    data = data_of(place)
    parts = begin(place, data)
    with pytest.raises(ConnectionResetError):
        place.assembly.put_part(UPLOAD, 0, Broken(), len(parts[0]), sha(parts[0]))  # type: ignore[arg-type]
    assert place.assembly.parts(UPLOAD) == set()


def test_parts_that_are_right_and_a_whole_that_is_not(place: Place) -> None:
    data = data_of(place)
    other = sha(b"another")
    parts = cuts(place, data)
    place.assembly.begin(UPLOAD, other, len(data), [Segment(length=len(p)) for p in parts])
    for number, part in enumerate(parts):
        put(place, number, part)
    with pytest.raises(BlobMismatchError):
        place.assembly.assemble(UPLOAD, other, len(data))
    assert list(place.store.iter_digests()) == []
    assert gone(place)


def test_missing_parts_are_named_and_nothing_is_lost(place: Place) -> None:
    data = data_of(place)
    parts = begin(place, data)
    put(place, 1, parts[1])
    with pytest.raises(PartsMissingError) as caught:
        place.assembly.assemble(UPLOAD, sha(data), len(data))
    assert caught.value.numbers == [0, 2]
    assert place.assembly.parts(UPLOAD) == {1}


def test_a_source_that_is_gone_or_too_short(place: Place) -> None:
    step = unit(place)
    new = data_of(place, 1)
    place.assembly.begin(
        UPLOAD, sha(new), step, [Segment(length=step, source=sha(b"nowhere"), start=0)]
    )
    with pytest.raises(BlobNotFoundError):
        place.assembly.assemble(UPLOAD, sha(new), step)
    source = stored(place, new)
    place.assembly.begin("b" * 64, sha(b"x"), step, [Segment(length=step, source=source, start=1)])
    with pytest.raises(BlobMismatchError):
        place.assembly.assemble("b" * 64, sha(b"x"), step)
    assert list(place.store.iter_digests()) == [source]


def test_a_part_that_is_here_is_not_read_again(place: Place) -> None:
    data = data_of(place)
    parts = begin(place, data)
    put(place, 0, parts[0])
    place.assembly.put_part(UPLOAD, 0, io.BytesIO(b""), len(parts[0]), sha(parts[0]))
    assert place.assembly.parts(UPLOAD) == {0}


def test_begin_and_assemble_and_abort_twice(place: Place) -> None:
    data = data_of(place)
    for _ in range(2):
        parts = begin(place, data)
    for number, part in enumerate(parts):
        put(place, number, part)
    for _ in range(2):
        place.assembly.assemble(UPLOAD, sha(data), len(data))
    for _ in range(2):
        place.assembly.abort(UPLOAD)
    assert content(place, sha(data)) == data


def test_a_blob_that_came_another_way_ends_the_upload(place: Place) -> None:
    data = data_of(place)
    begin(place, data)
    stored(place, data)
    place.assembly.assemble(UPLOAD, sha(data), len(data))
    assert gone(place)


def test_another_recipe_under_the_same_name_is_refused(place: Place) -> None:
    data = data_of(place)
    begin(place, data)
    with pytest.raises(InvalidArgumentError):
        place.assembly.begin(UPLOAD, sha(data), len(data), [Segment(length=len(data))])
    with pytest.raises(InvalidArgumentError):
        place.assembly.assemble(UPLOAD, sha(b"another"), len(data))


@pytest.mark.parametrize(
    "lengths", [[], [0], [-1, 4], [3, 0, 3], [2**60]], ids=["none", "0", "-1", "a 0", "huge"]
)
def test_a_recipe_that_cannot_be(place: Place, lengths: list[int]) -> None:
    recipe = [Segment(length=length) for length in lengths]
    with pytest.raises(InvalidArgumentError):
        place.assembly.begin(UPLOAD, sha(b""), sum(lengths), recipe)
    assert gone(place)


def test_a_recipe_beyond_the_limits(place: Place) -> None:
    limits = place.assembly.limits
    least = limits.min_bytes
    many = [Segment(length=least)] * (limits.max_segments + 1)
    with pytest.raises(InvalidArgumentError):
        place.assembly.begin(UPLOAD, sha(b""), least * len(many), many)
    with pytest.raises(InvalidArgumentError):
        place.assembly.begin(UPLOAD, sha(b""), 5, [Segment(length=least)])
    if least > 1:
        short = [Segment(length=least - 1), Segment(length=1)]
        with pytest.raises(InvalidArgumentError):
            place.assembly.begin(UPLOAD, sha(b""), least, short)


@pytest.mark.parametrize("number", [-1, 3, 1])
def test_a_part_that_is_not_in_the_recipe(place: Place, number: int) -> None:
    step, data = unit(place), data_of(place)
    source = stored(place, data)
    recipe = [
        Segment(length=step),
        Segment(length=step, source=source),
        Segment(length=step),
    ]
    place.assembly.begin(UPLOAD, sha(data), len(data), recipe)
    with pytest.raises(InvalidArgumentError):
        put(place, number, data[:step])
    with pytest.raises(InvalidArgumentError):
        put(place, 0, data[: step - 1])


@pytest.mark.parametrize("name", ["", "a" * 63, "../" + "a" * 61, "A" * 64, "a" * 63 + "/"])
def test_names_are_checked_before_anything_is_touched(place: Place, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        begin(place, data_of(place), name)
    with pytest.raises(InvalidArgumentError):
        place.assembly.abort(name)


def test_what_was_never_begun(place: Place) -> None:
    with pytest.raises(UploadNotFoundError):
        put(place, 0, b"x")
    with pytest.raises(UploadNotFoundError):
        place.assembly.assemble(UPLOAD, sha(b"x"), 1)
    with pytest.raises(UploadNotFoundError):
        place.assembly.recipe(UPLOAD)
    place.assembly.abort(UPLOAD)


def test_a_watcher_sees_every_byte_once_and_may_refuse(place: Place) -> None:
    data = data_of(place)
    seen = bytearray()
    for number, part in enumerate(begin(place, data)):
        put(place, number, part)
    place.assembly.assemble(UPLOAD, sha(data), len(data), seen.extend)
    assert bytes(seen) == data
    other = data[::-1]
    for number, part in enumerate(begin(place, other)):
        put(place, number, part)

    def refuse(view: memoryview) -> None:
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        place.assembly.assemble(UPLOAD, sha(other), len(other), refuse)
    assert list(place.store.iter_digests()) == [sha(data)]
    assert gone(place)


def test_many_at_once(place: Place) -> None:
    data = data_of(place, 8)
    parts = begin(place, data)
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        put(place, number, parts[number])
        put(place, (number + 1) % 8, parts[(number + 1) % 8])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
        finished = list(
            pool.map(
                lambda _: place.again().assembly.assemble(UPLOAD, sha(data), len(data)), range(4)
            )
        )
    assert len(finished) == 4
    assert content(place, sha(data)) == data


def test_somebody_else_joined_the_parts_a_moment_ago(
    ceph: CephNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has not put the object into its place yet: what is left to do is done here."""
    place = in_bucket(ceph, ceph.new_bucket())
    data = data_of(place)
    for number, part in enumerate(begin(place, data)):
        put(place, number, part)
    join: Any = S3Assembly._join

    def too_late(self: S3Assembly, *arguments: Any) -> None:
        join(self, *arguments)
        join(self, *arguments)

    monkeypatch.setattr(S3Assembly, "_join", too_late)
    place.assembly.assemble(UPLOAD, sha(data), len(data))
    assert content(place, sha(data)) == data


def test_the_sweep_takes_what_nobody_adds_to(place: Place) -> None:
    data = data_of(place)
    parts = begin(place, data)
    put(place, 0, parts[0])
    now = datetime.now(UTC)
    assert place.assembly.sweep(3600, now) == 0
    assert place.assembly.parts(UPLOAD) == {0}
    assert place.assembly.sweep(3600, now + timedelta(hours=2)) == 1
    assert gone(place)
    assert place.assembly.sweep(3600, now + timedelta(hours=2)) == 0


def test_a_clock_that_jumps_back_sweeps_nothing(place: Place) -> None:
    begin(place, data_of(place))
    assert place.assembly.sweep(3600, datetime.now(UTC) - timedelta(days=400)) == 0
    assert not gone(place)


def test_addresses_are_for_parts_that_are_sent_and_only_where_there_are_any(place: Place) -> None:
    data = data_of(place, 2)
    first, second = cuts(place, data)
    source = stored(place, first)
    recipe = [Segment(length=len(first), source=source), Segment(length=len(second))]
    place.assembly.begin(UPLOAD, sha(data), len(data), recipe)
    good = Part(number=1, size=len(second), sha256=sha(second))
    made = place.assembly.part_addresses(UPLOAD, [good], 60)
    assert [one.number for one in made] == ([1] if place.assembly.limits.direct else [])
    if not place.assembly.limits.direct:
        return
    for bad in (
        replace(good, number=0), replace(good, number=2), replace(good, number=-1),
        replace(good, size=len(second) - 1), replace(good, sha256="x"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgumentError):
            place.assembly.part_addresses(UPLOAD, [good, bad], 60)
    with pytest.raises(UploadNotFoundError):
        place.assembly.part_addresses("f" * 64, [good], 60)
