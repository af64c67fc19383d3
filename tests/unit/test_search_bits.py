"""Sets of ids as numbers, and what is counted, scored and ordered with them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_server.search.base import FACETS, Query
from forge_server.search.bits import from_ids, members_of, to_ids
from forge_server.search.columns import Columns, Row, scored

IDS = st.sets(st.integers(0, 3000), max_size=200)


@given(IDS, IDS)
def test_sets_meet_and_unite_as_sets_do(one: set[int], other: set[int]) -> None:
    a, b = from_ids(one), from_ids(list(other))
    assert list(to_ids(a)) == sorted(one)
    assert a.bit_count() == len(one)
    assert set(to_ids(a & b)) == one & other
    assert set(to_ids(a | b)) == one | other
    assert set(to_ids(a & ~b)) == one - other
    order = sorted(other, reverse=True)
    assert list(members_of(a, order)) == [each for each in order if each in one]


@given(IDS, st.lists(st.dictionaries(st.sampled_from([1, 2, 5]), IDS), max_size=4))
def test_scores_add_up_the_best_match_of_each_word(
    left: set[int], words: list[dict[int, set[int]]]
) -> None:
    matches = [{points: from_ids(ids) for points, ids in word.items()} for word in words]
    expected: dict[int, int] = {}
    for each in left:
        best = [max((p for p, ids in word.items() if each in ids), default=None) for word in words]
        if None not in best:
            expected[each] = sum(points for points in best if points is not None)
    found = [set(to_ids(bits)) for bits in scored(from_ids(left), matches)]
    assert [each for each in found if each] == [
        {each for each, score in expected.items() if score == wanted}
        for wanted in sorted(set(expected.values()), reverse=True)
    ]


def row(number: int, kind: str = "model", *, updated: int = 0, size: int = 0) -> Row:
    facets = json.dumps([[kind], *[["x"]] * (len(FACETS) - 1)])
    return (number, facets, updated, size, f"org/n{number:05}")


ROWS = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from(["model", "dataset"]), st.integers(0, 9)),
    max_size=60,
)


@given(ROWS, st.integers(1, 7))
def test_columns_are_the_same_however_the_rows_came(
    changes: list[tuple[int, str, int]], step: int
) -> None:
    """At once or one after the other; the last row of a component counts."""
    rows = [row(number, kind, updated=at, size=at) for number, kind, at in changes]
    slowly = Columns()
    for at in range(0, len(rows), step):
        slowly.take(at + 1, rows[at : at + step])
    at_once = Columns()
    last = {each[0]: each for each in rows}
    at_once._take_all(list(last.values()))
    assert slowly.everything == at_once.everything
    for name in ("updated", "name", "size"):
        assert slowly.orders[name] == at_once.orders[name]
    everything = slowly.everything
    assert slowly.narrow(everything, Query()) == at_once.narrow(everything, Query())
    counted = {each.value: each.count for each in slowly.narrow(everything, Query())[1]["kind"]}
    assert counted == Counter(json.loads(each[1])[0][0] for each in last.values())


@pytest.mark.parametrize("count", [10, 5000], ids=["few are sorted", "many are walked"])
@pytest.mark.parametrize("sort", ["updated", "name", "size"])
def test_pages_follow_the_order_whatever_the_size(sort: str, count: int) -> None:
    rows = [row(at, updated=(at * 7919) % count, size=(at * 31) % count) for at in range(count)]
    columns = Columns()
    columns.take(1, rows)
    half = from_ids([each for each in range(count) if each % 2])
    keys = {
        "updated": lambda each: (-each[2], each[0]),
        "name": lambda each: (each[4], each[0]),
        "size": lambda each: (each[3], each[0]),
    }
    odd = [each for each in rows if each[0] % 2]
    expected = [each[0] for each in sorted(odd, key=keys[sort])]
    seen = [number for at in range(0, len(odd), 7) for number in columns.page([half], sort, at, 7)]
    assert seen == expected


def test_the_first_set_comes_first() -> None:
    columns = Columns()
    columns.take(1, [row(at, updated=at) for at in range(10)])
    sets = [from_ids([3]), from_ids([0, 9]), from_ids([5])]
    assert columns.page(sets, "relevance", 0, 10) == [3, 9, 0, 5]
    assert columns.page(sets, "relevance", 1, 2) == [9, 0]
    assert columns.page(sets, "relevance", 3, 2) == [5]
    assert columns.page(sets, "relevance", 4, 2) == []


def test_changes_are_remembered_for_a_while() -> None:
    columns = Columns()
    columns.take(5, [row(each) for each in range(2000)])
    assert columns.changed_since(4) is None
    assert columns.changed_since(5) == frozenset()
    columns.take(6, [row(1)])
    columns.take(7, [row(2)])
    assert columns.changed_since(5) == {1, 2}
    assert columns.changed_since(6) == {2}
    for at in range(8, 8000):
        columns.take(at, [row(3)])
    assert columns.changed_since(6) is None
    assert columns.changed_since(7998) == {3}


def test_of_many_values_the_commonest_are_counted_and_the_chosen() -> None:
    columns = Columns()
    columns.take(1, [row(at, f"kind-{at}") for at in range(500)] + [row(500, "kind-7")])
    query = Query(chosen={"kind": frozenset(["kind-0"])})
    left, facets = columns.narrow(columns.everything, query)
    assert left.bit_count() == 1
    assert len(facets["kind"]) <= 40
    assert [each.value for each in facets["kind"]][:2] == ["kind-0", "kind-7"]
