"""Whatever is asked, a witness refuses in one way and never cosigns what the log did not sign."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_builders import NamedKey
from witness_fixtures import FORK, NAME, TREE, GrowingLog

from forge_server.witness.errors import Refused
from forge_server.witness.judging import (
    Seen,
    read_request,
    require_growth,
    require_remembered,
    require_signed,
)
from signing.tlog.checkpoint import Checkpoint

LOG = GrowingLog(NamedKey("forge.example/log"))
OWN = NamedKey(NAME).as_witness
RELAXED = settings(deadline=None)


def seen(size: int) -> Seen:
    head = Checkpoint(origin=LOG.key.name, size=size, root=TREE.root(size))
    return Seen(head=head, raw=b"")


def judge(body: bytes, last: Seen | None) -> Checkpoint:
    asked = read_request(body)
    require_signed(asked.note, [LOG.key.as_log])
    require_remembered(asked, last, OWN)
    require_growth(asked, last)
    return asked.head


@RELAXED
@given(body=st.binary(max_size=300))
def test_whatever_the_bytes_only_a_refusal_comes_out(body: bytes) -> None:
    for each in (body, b"old 0\n\n" + body, b"old 0\n\nx\n1\n" + body):
        with pytest.raises(Refused) as refusal:
            judge(each, None)
        assert refusal.value.status in (400, 403, 422)


@RELAXED
@given(data=st.data())
def test_one_byte_changed_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    body = LOG.ask(20, 40)
    at = data.draw(st.integers(0, len(body) - 1))
    byte = data.draw(st.binary(max_size=2))
    try:
        head = judge(body[:at] + byte + body[at + 1 :], seen(20))
    except Refused:
        return
    assert (head.size, head.root) == (40, TREE.root(40))


@RELAXED
@given(last=st.integers(0, 60), old=st.integers(0, 60), size=st.integers(0, 60))
def test_growth_and_nothing_else_is_cosigned(last: int, old: int, size: int) -> None:
    known = seen(last) if last else None
    if last == old <= size:
        assert judge(LOG.ask(old, size), known).size == size
        return
    with pytest.raises(Refused) as refused:
        judge(LOG.ask(old, size), known)
    assert not refused.value.contradicts, "an honest log was accused"
    assert refused.value.status == (400 if old > size else 409)
    assert refused.value.size == (None if old > size else last)


@RELAXED
@given(last=st.integers(6, 60), size=st.integers(6, 60), old=st.integers(0, 60))
def test_a_fork_is_never_cosigned(last: int, size: int, old: int) -> None:
    """The forked tree shares the first five leaves alone."""
    fork = GrowingLog(LOG.key, FORK)
    for tree in (TREE, FORK):  # with the honest tree's proof, and with the forked one's
        body = GrowingLog(LOG.key, tree).ask(old, size, fork.checkpoint(size))
        with pytest.raises(Refused) as refusal:
            judge(body, seen(last))
        assert refusal.value.contradicts == (size == last)
