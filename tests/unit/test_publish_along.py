"""Which files of a release travel with its offer."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from forge_cli.flows.along import ASKED_FOR, UNASKED, encoded, smallest, split
from forge_cli.flows.pack import Packed
from forge_cli.remote.upload import Outgoing
from signing.manifest import FileEntry


def packed(folder: Path, sizes: dict[str, int]) -> Packed:
    """As much of a packed folder as is asked for: its files, of different bytes."""
    entries, files = [], {}
    for number, (path, size) in enumerate(sizes.items()):
        data = bytes([number % 256]) * size
        files[path] = folder / path
        files[path].write_bytes(data)
        entries.append(FileEntry(path=path, size=size, sha256=sha256(data).hexdigest()))
    made: Any = SimpleNamespace(manifest=SimpleNamespace(files=tuple(entries)), files=files)
    return cast("Packed", made)


def outgoing(number: int, size: int, chunks: str | None = None) -> Outgoing:
    return Outgoing(
        digest=f"{number:064x}", size=size, source=b"x" * size, label="x", chunks=chunks
    )


def test_the_smallest_go_along_unasked(tmp_path: Path) -> None:
    made = packed(tmp_path, {"model": UNASKED.each + 1, "card": 300, "forge.toml": 100})
    assert sorted(map(len, smallest(made).values())) == [100, 300]
    for digest, data in smallest(made).items():
        assert sha256(data).hexdigest() == digest


def test_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    made = packed(tmp_path, {f"f{number}": UNASKED.each for number in range(10)})
    assert sum(map(len, smallest(made).values())) == UNASKED.all
    many = packed(tmp_path, {f"g{number}": 1 for number in range(200)})
    assert len(smallest(many)) <= 100


def test_what_was_asked_for_goes_along_where_it_is_small() -> None:
    small, large = outgoing(1, 10), outgoing(2, ASKED_FOR.each + 1)
    along, rest = split([large, small])
    assert along == {small.digest: b"x" * 10}
    assert rest == [large]
    assert encoded(along) == {small.digest: "eHh4eHh4eHh4eA=="}


def test_a_chunk_list_is_sent_before_its_file() -> None:
    chunks = outgoing(1, 10)
    large = outgoing(2, ASKED_FOR.each + 1, chunks.digest)
    assert split([large, chunks]) == ({}, [chunks, large])


def test_no_more_is_carried_than_there_is_room_for() -> None:
    along, rest = split([outgoing(number, ASKED_FOR.each) for number in range(20)])
    assert sum(map(len, along.values())) == ASKED_FOR.all
    assert len(along) + len(rest) == 20
    along, rest = split([outgoing(number, 1) for number in range(150)])
    assert len(along) == 100
