"""Tiles: their paths, which ones a tree has, and proofs that are made of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_builders import TileTree

from signing.errors import MalformedError
from signing.tlog.merkle import (
    Node,
    check_consistency,
    check_inclusion,
    consistency_ranges,
    hashes_of,
    inclusion_ranges,
    leaf_hash,
    nodes_of,
    root_of,
)
from signing.tlog.tiles import (
    ENTRIES,
    Tile,
    check_tile,
    nodes_from,
    pack_entries,
    parse_entries,
    parse_tile_path,
    tile_in,
    tiles_for,
    tiles_of,
    tiles_since,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(3, 1234067), "tile/3/x001/x234/067"),
        (Tile(1, 0, 17), "tile/1/000.p/17"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
        (Tile(63, 5, 255), "tile/63/005.p/255"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/64/000", "tile/00/000", "tile/0/0", "tile/0/0000",
        "tile/0/x000/001", "tile/0/000.p/256",
        "tile/0/000.p/0", "tile/0/000.p/07", "tile/0/001/002", "tile/0/x001", "tile/-1/000",
        "tile/entry/000", "tile/0/000/", "/tile/0/000", "tile/0/../000", "tile/0/000.p/", "",
        "tile/0/000.p/-1", "tile/0/٠٠٠",
    ],
)  # fmt: skip
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(MalformedError):
        parse_tile_path(path)


@given(level=st.integers(ENTRIES, 63), number=st.integers(0, 2**55), width=st.integers(1, 256))
def test_every_path_comes_back(level: int, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert parse_tile_path(tile.path) == tile


def test_seventy_thousand_entries_have_the_shape_of_the_specification() -> None:
    tiles = list(tiles_of(70_000))
    full = Counter(tile.level for tile in tiles if tile.width == 256)
    partial = {tile.level: tile.width for tile in tiles if tile.width < 256}
    assert full == {ENTRIES: 273, 0: 273, 1: 1}
    assert partial == {ENTRIES: 112, 0: 112, 1: 17, 2: 1}


def test_the_files_of_seventy_thousand_entries_by_name() -> None:
    """The example of tlog-tiles, and the bundles beside it: no other file, none missing."""
    expected = {f"tile/{kind}/{number:03}" for kind in ("0", "entries") for number in range(273)}
    expected |= {"tile/0/273.p/112", "tile/entries/273.p/112"}
    expected |= {"tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert {tile.path for tile in tiles_of(70_000)} == expected


def test_a_million_entries_have_paths_of_two_groups() -> None:
    paths = {tile.path for tile in tiles_of(1_000_000)}
    assert {"tile/0/999", "tile/0/x001/000", "tile/0/x003/906.p/64"} <= paths
    assert {"tile/1/014", "tile/1/015.p/66", "tile/2/000.p/15"} <= paths
    assert "tile/0/x003/906" not in paths
    assert not any(path.startswith("tile/3/") for path in paths)


def test_256_entries_have_one_full_tile_and_one_partial_above() -> None:
    assert set(tiles_of(256)) == {Tile(ENTRIES, 0), Tile(0, 0), Tile(1, 0, 1)}
    assert list(tiles_of(0)) == []


@given(old=st.integers(0, 70_000), added=st.integers(0, 1000))
def test_what_is_new_is_what_was_not_there(old: int, added: int) -> None:
    new = old + added
    assert set(tiles_since(old, new)) == set(tiles_of(new)) - set(tiles_of(old))


def test_a_tile_beyond_the_tree_is_empty() -> None:
    assert tile_in(0, 4, 1024).width == 0
    assert tile_in(0, 3, 1024).width == 256
    assert tile_in(2, 0, 65_535).width == 0


TREE = TileTree([b"entry %d" % number for number in range(700)])


@given(data=st.data(), size=st.integers(1, 700))
def test_proofs_from_tiles_alone(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    ranges = inclusion_ranges(index, size)
    nodes = [node for leaves in ranges for node in nodes_of(leaves)]
    tiles = {tile: TREE.tile(tile) for tile in tiles_for(nodes, size)}
    assert all(tile.width == tile_in(tile.level, tile.number, size).width for tile in tiles)
    proof = hashes_of(ranges, lambda wanted: nodes_from(wanted, size, tiles))
    check_inclusion(leaf_hash(TREE.entries[index]), index, size, proof, TREE.root(size), "x")
    old = data.draw(st.integers(0, size))
    proof = hashes_of(consistency_ranges(old, size), TREE.reader(size))
    check_consistency(old, size, TREE.root(old), TREE.root(size), proof, "x")


def test_the_root_needs_few_tiles() -> None:
    nodes = nodes_of((0, 70_000))
    assert tiles_for(nodes, 70_000) == {Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)}
    assert root_of(700, TREE.reader(700)) == TREE.root(700)


def test_a_node_above_a_tile_is_computed_within_one_tile() -> None:
    assert tiles_for([Node(7, 1), Node(3, 16)], 300) == {Tile(0, 0)}


def test_entries_come_back() -> None:
    entries = [b"", b"a", b"x" * 0xFFFF]
    tile = Tile(ENTRIES, 0, 3)
    assert parse_entries(pack_entries(entries), tile) == entries


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x02a", b"\x00\x01a\x00\x01b\x00\x01c", b"\x00\x01a", b"\x00\x01a\x00"],
)
def test_a_spoilt_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_entries(data, Tile(ENTRIES, 0, 2))


def test_an_entry_that_is_too_long_is_not_packed() -> None:
    with pytest.raises(ValueError, match="65536"):
        pack_entries([b"x" * 0x10000])


@pytest.mark.parametrize("length", [0, 31, 33, 8192])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    assert check_tile(Tile(0, 0, 1), bytes(32)) == bytes(32)
    with pytest.raises(MalformedError):
        check_tile(Tile(0, 0, 1), bytes(length))
