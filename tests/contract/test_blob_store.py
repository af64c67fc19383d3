"""The contract of `storage.base`, held against every `BlobStore`."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ceph_node import CephNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import (
    BackendError,
    BlobMismatchError,
    BlobNotFoundError,
    BlobStore,
    InvalidArgumentError,
    LocalBlobStore,
    MemoryBlobStore,
    NotFoundError,
)
from storage.s3 import S3BlobStore

MIB = 1 << 20

# One line per store. The function gets an empty folder of its own and returns an empty store.
STORES: dict[str, Callable[[Path], BlobStore]] = {
    "local": lambda folder: LocalBlobStore(folder / "blobs"),
    "local-not-durable": lambda folder: LocalBlobStore(folder / "blobs", durable=False),
    "memory": lambda folder: MemoryBlobStore(),
}


@pytest.fixture(params=[*STORES, "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "s3":
        ceph: CephNode = request.getfixturevalue("ceph")
        return S3BlobStore(ceph.open(f"{ceph.new_bucket()}/blobs"), part_bytes=5 * MIB)
    return STORES[request.param](tmp_path)


@pytest.fixture(params=[True, False], ids=["durable", "not-durable"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "blobs", durable=request.param)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: BlobStore, data: bytes) -> str:
    digest = digest_of(data)
    store.put(digest, io.BytesIO(data), len(data))
    return digest


def content(store: BlobStore, digest: str, start: int = 0) -> bytes:
    with store.open(digest, start) as file:
        return file.read()


def assert_no_trace(store: BlobStore, digest: str) -> None:
    assert store.missing([digest]) == {digest}
    assert list(store.iter_digests()) == []
    with pytest.raises(BlobNotFoundError):
        store.open(digest)
    with pytest.raises(BlobNotFoundError):
        store.stat(digest)
    if isinstance(store, LocalBlobStore):
        assert list(store.temp_dir.iterdir()) == []


class CountingStream:
    """An endless or finite stream of zeros that counts what is taken from it."""

    def __init__(self, length: int | None = None) -> None:
        self.taken = 0
        self._length = length

    def read(self, size: int, /) -> bytes:
        if self._length is not None:
            size = min(size, self._length - self.taken)
        self.taken += size
        return bytes(size)


class Dribble:
    """A stream without `readinto` that answers with the given pieces, one at a time."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, size: int, /) -> bytes:
        if not self._pieces:
            return b""
        piece, self._pieces[0] = self._pieces[0][:size], self._pieces[0][size:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece


class FailingStream:
    def __init__(self, after: int, error: BaseException) -> None:
        self._left = after
        self._error = error

    def read(self, size: int, /) -> bytes:
        if self._left <= 0:
            raise self._error
        count = min(size, self._left)
        self._left -= count
        return bytes(count)


class Unreadable:
    def read(self, size: int, /) -> bytes:
        raise AssertionError("the stream must not be read")


def test_is_a_blob_store(store: BlobStore) -> None:
    assert isinstance(store, BlobStore)


@pytest.mark.parametrize("size", [0, 1, 63, MIB - 1, MIB, MIB + 1, 9 * MIB + 7])
def test_what_was_put_is_read_back(store: BlobStore, size: int) -> None:
    data = (b"0123456789abcdef!" * (size // 17 + 1))[:size]
    digest = put(store, data)
    assert content(store, digest) == data
    assert store.stat(digest).size == size
    assert store.missing([digest]) == set()
    assert list(store.iter_digests()) == [digest]


@pytest.mark.parametrize("size", [0, 5, 9 * MIB])
def test_the_source_is_left_open_and_read_to_its_end(store: BlobStore, size: int) -> None:
    stream = io.BytesIO(bytes(size))
    store.put(digest_of(bytes(size)), stream, size)
    assert stream.tell() == size


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=3000), max_size=12), buffered=st.booleans())
def test_any_split_of_a_stream_gives_the_same_blob(
    store: BlobStore, pieces: list[bytes], buffered: bool
) -> None:
    data = b"".join(pieces)
    digest = digest_of(data)
    store.delete(digest)
    store.put(digest, io.BytesIO(data) if buffered else Dribble(pieces), len(data))
    assert content(store, digest) == data


def test_a_large_stream_in_odd_pieces_is_hashed_in_order(store: BlobStore) -> None:
    data = os.urandom(MIB) * 9
    pieces = [data[at : at + 700_001] for at in range(0, len(data), 700_001)]
    store.put(digest_of(data), Dribble(pieces), len(data))
    assert content(store, digest_of(data)) == data


def test_raw_files_with_short_reads_are_read_to_the_end(store: BlobStore) -> None:
    data = os.urandom(300_000)
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(data)

    with open(reading, "rb", buffering=0) as stream, ThreadPoolExecutor(1) as pool:
        pool.submit(feed)
        store.put(digest_of(data), stream, len(data))
    assert content(store, digest_of(data)) == data


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=4000), start=st.integers(0, 5000))
def test_open_starts_where_it_is_told(store: BlobStore, data: bytes, start: int) -> None:
    digest = put(store, data)
    assert content(store, digest, start) == data[start:]


def test_a_start_far_beyond_the_end_reads_as_empty(store: BlobStore) -> None:
    assert content(store, put(store, b"abc"), 2**70) == b""


@pytest.mark.parametrize("declared", [0, 10, MIB, 9 * MIB])
def test_a_longer_stream_is_refused_after_one_byte_more(store: BlobStore, declared: int) -> None:
    digest = digest_of(bytes(declared))
    stream = CountingStream()
    with pytest.raises(BlobMismatchError) as caught:
        store.put(digest, stream, declared)
    assert caught.value.code == "length-mismatch"
    assert caught.value.expected == f"{declared} bytes"
    assert stream.taken == declared + 1
    assert_no_trace(store, digest)


@pytest.mark.parametrize("declared", [1, MIB, 2**40, 2**62])
def test_a_shorter_stream_is_refused(store: BlobStore, declared: int) -> None:
    digest = digest_of(b"")
    with pytest.raises(BlobMismatchError) as caught:
        store.put(digest, io.BytesIO(b""), declared)
    assert (caught.value.code, caught.value.found) == ("length-mismatch", "0 bytes")
    assert_no_trace(store, digest)


@pytest.mark.parametrize("size", [4, 9 * MIB])
def test_other_bytes_of_the_right_length_are_refused(store: BlobStore, size: int) -> None:
    promised, sent = digest_of(bytes(size)), bytes(size - 1) + b"!"
    with pytest.raises(BlobMismatchError) as caught:
        store.put(promised, io.BytesIO(sent), size)
    assert caught.value.code == "digest-mismatch"
    assert promised in caught.value.expected
    assert digest_of(sent) in caught.value.found
    assert_no_trace(store, promised)


@pytest.mark.parametrize("error", [ConnectionResetError("peer"), KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("after", [0, 3 * MIB])
def test_an_error_of_the_stream_passes_through_and_leaves_no_trace(
    store: BlobStore, error: BaseException, after: int
) -> None:
    digest = digest_of(b"x")
    with pytest.raises(type(error)) as caught:
        store.put(digest, FailingStream(after, error), 9 * MIB)
    assert caught.value is error
    assert_no_trace(store, digest)


def test_the_same_blob_again_is_a_success_that_does_not_read(store: BlobStore) -> None:
    digest = put(store, b"once")
    store.put(digest, Unreadable(), 4)
    assert content(store, digest) == b"once"


def test_the_same_digest_with_another_size_is_refused_and_changes_nothing(store: BlobStore) -> None:
    digest = put(store, b"once")
    with pytest.raises(BlobMismatchError):
        store.put(digest, io.BytesIO(b"once!"), 5)
    assert content(store, digest) == b"once"


def test_missing_names_exactly_what_is_not_there(store: BlobStore) -> None:
    there = {put(store, bytes([number])) for number in range(5)}
    absent = {digest_of(b"absent"), digest_of(b"gone")}
    assert store.missing([*there, *absent, *absent]) == absent
    assert store.missing([]) == set()
    assert store.missing(iter(there)) == set()


def test_missing_answers_for_many_digests(store: BlobStore) -> None:
    many = {f"{number:064x}" for number in range(100_000)}
    assert store.missing(many) == many


def test_digests_come_in_ascending_order(store: BlobStore) -> None:
    digests = [put(store, str(number).encode()) for number in range(40)]
    assert list(store.iter_digests()) == sorted(digests)


def test_delete_is_final_and_idempotent(store: BlobStore) -> None:
    digest = put(store, b"short-lived")
    store.delete(digest)
    assert_no_trace(store, digest)
    store.delete(digest)
    store.delete(digest_of(b"never there"))
    assert put(store, b"short-lived") == digest


def test_a_reader_finishes_although_the_blob_is_deleted(store: BlobStore) -> None:
    digest = put(store, bytes(2 * MIB))
    with store.open(digest) as file:
        first = file.read(10)
        store.delete(digest)
        assert first + file.read() == bytes(2 * MIB)


NOT_DIGESTS = [
    "",
    "../../etc/passwd",
    "a" * 63,
    "a" * 65,
    "A" * 64,
    "g" * 64,
    "a" * 64 + "\n",
    "a" * 62 + "/x",
    "a" * 63 + "\0",
    "٠" * 64,
    "sha256:" + "a" * 57,
    None,
    b"a" * 64,
]


@pytest.mark.parametrize("digest", NOT_DIGESTS, ids=ascii)
def test_what_is_no_digest_is_refused_by_every_method(store: BlobStore, digest: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.missing([digest]),
        lambda: store.put(digest, Unreadable(), 0),
        lambda: store.open(digest),
        lambda: store.stat(digest),
        lambda: store.redirect_url(digest, 60),
        lambda: store.delete(digest),
    ]
    if isinstance(store, LocalBlobStore):
        calls += [lambda: store.path(digest), lambda: store.adopt(Path("x"), digest)]
    for call in calls:
        with pytest.raises(InvalidArgumentError) as caught:
            call()
        assert caught.value.code == "digest-malformed"


@pytest.mark.parametrize("size", [-1, 1.5, "3", None, True])
def test_what_is_no_size_is_refused(store: BlobStore, size: int) -> None:
    with pytest.raises(InvalidArgumentError):
        store.put(digest_of(b""), Unreadable(), size)


def test_a_negative_start_is_refused(store: BlobStore) -> None:
    with pytest.raises(InvalidArgumentError):
        store.open(put(store, b"abc"), -1)


def test_not_there_is_one_exception_that_names_the_digest(store: BlobStore) -> None:
    digest = digest_of(b"nothing")
    with pytest.raises(NotFoundError, match=digest) as caught:
        store.open(digest)
    assert caught.value.code == "blob-not-found"


def test_threads_that_put_the_same_blob_all_succeed(store: BlobStore) -> None:
    data = os.urandom(MIB) * 3
    digest, start = digest_of(data), threading.Barrier(8)

    def work() -> None:
        start.wait()
        store.put(digest, io.BytesIO(data), len(data))

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(work) for _ in range(8)]:
            job.result()
    assert list(store.iter_digests()) == [digest]
    assert content(store, digest) == data
    if isinstance(store, LocalBlobStore):
        assert list(store.temp_dir.iterdir()) == []


def test_a_blob_is_invisible_until_it_is_whole(store: BlobStore) -> None:
    data = bytes(3 * MIB)
    digest = digest_of(data)

    class Peeking(io.BytesIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            assert store.missing([digest]) == {digest}
            assert list(store.iter_digests()) == []
            return super().readinto(buffer)

    store.put(digest, Peeking(data), len(data))
    assert store.missing([digest]) == set()


# What only the local store promises.

_PUT_IN_A_PROCESS = """
import io, sys
from pathlib import Path
from storage import LocalBlobStore
print(flush=True); sys.stdin.readline()
data = bytes(range(256)) * 16384
LocalBlobStore(Path(sys.argv[1])).put(sys.argv[2], io.BytesIO(data), len(data))
"""


def _start_putting(root: Path, digest: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PUT_IN_A_PROCESS, str(root), digest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_put_the_same_blob_all_succeed(tmp_path: Path) -> None:
    data = bytes(range(256)) * 16384
    digest, store = digest_of(data), LocalBlobStore(tmp_path)
    children = [_start_putting(tmp_path, digest) for _ in range(4)]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    while any(child.poll() is None for child in children):
        if not store.missing([digest]):
            assert content(store, digest) == data
    for child in children:
        child.communicate()
        assert child.returncode == 0
    assert list(store.iter_digests()) == [digest]
    assert list(store.temp_dir.iterdir()) == []


@pytest.fixture
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_blobs_are_read_only_and_readable_by_a_proxy(local: LocalBlobStore) -> None:
    path = local.path(put(local, b"abc"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    for folder in (path.parent, path.parent.parent, local.temp_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_open_gives_a_real_file_for_sendfile(local: LocalBlobStore) -> None:
    digest = put(local, b"0123456789")
    ours, theirs = socket.socketpair()
    with ours, theirs, local.open(digest, 4) as file:
        assert file.tell() == 4
        assert os.sendfile(ours.fileno(), file.fileno(), None, 100) == 6
        assert theirs.recv(100) == b"456789"


def test_a_put_again_does_not_touch_the_file(local: LocalBlobStore) -> None:
    digest = put(local, b"abc")
    before = local.path(digest).stat()
    put(local, b"abc")
    after = local.path(digest).stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def test_a_blob_cut_by_a_power_cut_is_replaced_by_the_next_put(local: LocalBlobStore) -> None:
    digest = put(local, b"abc")
    local.path(digest).chmod(0o600)
    local.path(digest).write_bytes(b"")
    put(local, b"abc")
    assert content(local, digest) == b"abc"


def test_memory_stays_constant_whatever_the_size(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path, durable=False)
    size = 64 * MIB
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(size)
    with open(sparse, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    tracemalloc.start()
    try:
        with open(sparse, "rb") as file:
            store.put(digest, file, size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert store.stat(digest).size == size
    assert peak < 4 * MIB


def test_foreign_files_are_neither_listed_nor_taken_for_blobs(local: LocalBlobStore) -> None:
    digest = put(local, b"abc")
    folder, root = local.path(digest).parent, local.temp_dir.parent
    (folder / "README").write_text("hello")
    (folder / ("0" * 64 if folder.name != "00" else "1" * 64)).write_text("in the wrong folder")
    (folder / digest[:63]).write_text("too short")
    (folder / (folder.name + "e" * 62)).mkdir()
    (folder / (folder.name + "f" * 62)).symlink_to(local.path(digest))
    (root / "lost+found").mkdir()
    (root / ("5e" if folder.name != "5e" else "5f")).write_text("a file, not a folder")
    assert list(local.iter_digests()) == [digest]
    for foreign in ("e", "f"):
        name = folder.name + foreign * 62
        assert local.missing([name]) == {name}
    with pytest.raises(BlobNotFoundError):
        local.open(folder.name + "e" * 62)
    with pytest.raises(BackendError):
        local.open(folder.name + "f" * 62)
    assert local.missing(["5e" + "0" * 62, "5f" + "0" * 62]) == {"5e" + "0" * 62, "5f" + "0" * 62}


def test_reading_creates_nothing(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "not-there")
    digest = digest_of(b"")
    store.delete(digest)
    assert store.missing([digest]) == {digest}
    assert list(store.iter_digests()) == []
    assert store.sweep_temp(0, datetime.now(UTC)) == 0
    assert list(tmp_path.iterdir()) == []


def test_adopt_moves_the_file(local: LocalBlobStore) -> None:
    temp = local.temp_dir / "mine"
    temp.write_bytes(b"abc")
    inode = temp.stat().st_ino
    local.adopt(temp, digest_of(b"abc"))
    path = local.path(digest_of(b"abc"))
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (inode, 0o444)
    assert not temp.exists()


def test_adopt_of_a_blob_that_is_there_only_removes_the_file(local: LocalBlobStore) -> None:
    digest = put(local, b"abc")
    inode = local.path(digest).stat().st_ino
    temp = local.temp_dir / "mine"
    temp.write_bytes(b"abc")
    local.adopt(temp, digest)
    assert not temp.exists()
    assert local.path(digest).stat().st_ino == inode


def test_adopt_refuses_what_is_not_a_regular_file(local: LocalBlobStore) -> None:
    digest, real = digest_of(b"abc"), local.temp_dir / "real"
    real.write_bytes(b"abc")
    (local.temp_dir / "link").symlink_to(real)
    (local.temp_dir / "folder").mkdir()
    for name in ("link", "folder", "nothing"):
        with pytest.raises(BackendError):
            local.adopt(local.temp_dir / name, digest)
    assert local.missing([digest]) == {digest}


NOW = datetime.now(UTC)


def test_sweep_removes_old_files_and_keeps_young_ones(local: LocalBlobStore) -> None:
    for name, age in [("old", 7200), ("young", 60), ("tomorrow", -86400)]:
        (local.temp_dir / name).write_text(name)
        written = NOW.timestamp() - age
        os.utime(local.temp_dir / name, (written, written))
    digest = put(local, b"abc")
    assert local.sweep_temp(3600, NOW) == 1
    assert {file.name for file in local.temp_dir.iterdir()} == {"young", "tomorrow"}
    assert content(local, digest) == b"abc"


def test_sweep_leaves_what_is_not_a_file(local: LocalBlobStore) -> None:
    (local.temp_dir / "folder").mkdir()
    (local.temp_dir / "link").symlink_to(local.temp_dir / "folder")
    assert local.sweep_temp(0, NOW + timedelta(days=1)) == 0
    assert len(list(local.temp_dir.iterdir())) == 2


def test_sweep_never_touches_an_upload_that_is_only_slow(local: LocalBlobStore) -> None:
    data = bytes(2 * MIB)

    class Stalled(io.BytesIO):
        swept = -1

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            if self.tell() == MIB:
                self.swept = local.sweep_temp(3600, NOW + timedelta(days=30))
            return super().readinto(buffer)

    stream = Stalled(data)
    local.put(digest_of(data), stream, len(data))
    assert stream.swept == 0
    assert content(local, digest_of(data)) == data


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'boto3', 'concurrent.futures', 'logging', 'ssl', 'asyncio', 'tempfile', 'random'}"
    script = f"import sys, storage; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "set()"
