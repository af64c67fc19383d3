"""Formats are read as leniently as loaders read them: stricter is a way to be passed."""

from __future__ import annotations

import pickle
import random
import resource
from io import BytesIO

import pytest
from hostile_models import MARKER, PICKLES, npy, zipped
from hostile_wrappings import KERAS, NUMBERS, WRAPPINGS

from forge_server.scans.slim import Search
from forge_server.services.admission import _Reader
from signing.digests import sha256_hex
from signing.formats import executable
from signing.manifest import FileEntry
from signing.opcodes import Effort
from signing.unpacking import unpacker
from storage.memory import MemoryBlobStore


def look(data: bytes) -> str | None:
    found = executable(lambda at, count: data[at : at + count], len(data))
    return None if found is None else found.format


@pytest.mark.parametrize("case", sorted(NUMBERS))
def test_loaders_read_such_numbers(case: str) -> None:
    assert pickle.loads(NUMBERS[case] + b".") is not None  # a number, and nothing else


@pytest.mark.parametrize("case", sorted(WRAPPINGS))
def test_no_wrapping_hides_a_pickle(case: str) -> None:
    assert look(WRAPPINGS[case]) == "pickle"
    assert not MARKER.exists()


@pytest.mark.parametrize("case", sorted(KERAS))
def test_no_wrapping_hides_a_function_of_keras(case: str) -> None:
    assert look(KERAS[case]) == "keras-lambda"


@pytest.mark.parametrize("case", sorted({**PICKLES, **WRAPPINGS}))
def test_scanners_are_given_the_pickle_that_calls(case: str) -> None:
    data = {**PICKLES, **WRAPPINGS}[case]
    given = [
        slim.data for slim in Search().pickles(lambda at, count: data[at : at + count], len(data))
    ]
    assert any(b"system" in each for each in given)


@pytest.mark.parametrize(
    "descr",
    ["'<f4'", "'|b1'", "'<M8[ns]'", "'|V16'", "'<U10'", "[('a', '<f4'), ('b', '|S3', (2,))]"],
)
def test_numbers_and_texts_of_numpy_are_no_pickles(descr: str) -> None:
    assert look(npy(bytes(64), descr)) is None


def test_odd_bytes_raise_nothing() -> None:
    assert look(b"PK\x06\x07abcdef" + b"PK\x05\x06" + b"\xff" * 18) is None
    chance = random.Random(7)
    cases = [each for each in (*PICKLES.values(), *WRAPPINGS.values()) if len(each) < 50_000]
    odd = (b"\xff" * 8, b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06", b"PK\x01\x02", b"\0")
    for _ in range(600):
        data = bytearray(chance.choice(cases))
        for _ in range(chance.randint(1, 6)):
            at, new = chance.randrange(len(data)), chance.choice(odd)
            data[at : at + len(new)] = new
        digest = sha256_hex(bytes(data))
        blobs = MemoryBlobStore()
        blobs.put(digest, BytesIO(data), len(data))
        entry = FileEntry(path="model", size=len(data), sha256=digest)
        executable(_Reader(blobs, entry).read_at, len(data))


def test_thousands_of_empty_streams_hide_nothing_and_reserve_nothing() -> None:
    hidden = WRAPPINGS["xz-large-dictionary"]
    unpack = unpacker(hidden)
    assert unpack is not None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    unpack(hidden, 2**20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 65536
    assert look(WRAPPINGS["gzip-second-stream"][:20] * 2000 + hidden) is None  # another format
    assert look(WRAPPINGS["gzip-second-stream"][:20] * 2000 + WRAPPINGS["gzip-second-stream"])


def test_the_effort_is_bounded_for_all_that_share_it() -> None:
    # 40,000 marks and then something that no loader takes: as slow as it gets, in each of 400.
    slow = b"(" * 40_000 + b"\xff"
    data = zipped({f"{number}": slow for number in range(400)})
    effort = Effort(100_000)
    found = executable(lambda at, count: data[at : at + count], len(data), effort)
    assert found is not None  # rather refused than walked through
    assert -50_000 <= effort.left <= 0
