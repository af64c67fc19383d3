"""The witness over HTTP: each clause of c2sp.org/tlog-witness, and what it does beyond it."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asked_witness import LOG_NAME, ask, client, evidence, grown, log, size_seen, witness
from flask.testing import FlaskClient
from log_builders import NamedKey, TileTree, checkpoint_of
from witness_fixtures import FORK, NAME, TREE, GrowingLog, client_of, line_with, make_witness

from forge_server.witness.service import Witness
from signing.errors import VerificationError
from signing.tlog.checkpoint import check_cosignature, open_checkpoint, sign_checkpoint
from signing.tlog.merkle import prove_consistency
from signing.tlog.note import merge_signatures, parse_note
from signing.tlog.policy import LogPolicy, with_witnesses
from signing.tlog.witnessing import (
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    parse_cosignatures,
    render_add_checkpoint,
)

__all__ = ["client", "log", "witness"]


class TestAddCheckpoint:
    def test_the_answer_is_a_cosignature(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        answer = client.post("/add-checkpoint", data=log.ask(0, 7))
        assert answer.status_code == 200
        assert answer.content_type == "text/plain; charset=utf-8"
        (signature,) = parse_cosignatures(answer.data)
        text = parse_note(log.checkpoint(7)).text
        assert signature.name == NAME
        assert check_cosignature(signature, text, witness.folder.own) >= before

    def test_a_log_grows_step_by_step(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        sizes = [0, 0, 1, 2, 3, 7, 7, 8, 100, 255, 256, 257, 300]
        for old, size in zip([0, *sizes], sizes, strict=False):
            assert ask(client, log.ask(old, size))[0] == 200
            assert size_seen(witness, log) == size

    @pytest.mark.parametrize(
        "body",
        [b"", b"old 0\n\n", b"old x\n\ny", b"<html>", b"\xff", b"old 0\n\na\nb\n\nc\n"],
    )
    def test_400_another_form(self, client: FlaskClient, body: bytes) -> None:
        status, text = ask(client, body)
        assert status == 400
        assert "expected" in text

    def test_400_a_checkpoint_with_an_empty_line_in_its_head(
        self, client: FlaskClient, log: GrowingLog
    ) -> None:
        note = log.checkpoint(5).replace(b"\n5\n", b"\n5\n\n")
        assert ask(client, log.ask(0, 5, note))[0] == 400

    def test_400_old_larger_than_the_checkpoint(self, client: FlaskClient, log: GrowingLog) -> None:
        grown(client, log, 9)
        status, text = ask(client, log.ask(9, 8))
        assert status == 400
        assert "at most 8" in text

    def test_403_signed_by_nobody_known(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        stranger = GrowingLog(NamedKey(LOG_NAME))
        status, text = ask(client, stranger.ask(0, 5))
        assert status == 403
        assert f"{LOG_NAME} ({log.key.as_log.key_id.hex()})" in text
        assert size_seen(witness, log) == 0

    def test_403_a_signature_that_does_not_verify(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        note = parse_note(log.checkpoint(5))
        good = note.signatures[0].line
        for lines in (line_with(good, b"\x01"), good + line_with(good, b"\x01")):
            body = log.ask(0, 5, f"{note.text}\n{lines}".encode())
            assert ask(client, body)[0] == 403
        assert size_seen(witness, log) == 0

    def test_signatures_of_unknown_keys_are_ignored_and_not_kept(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        other = NamedKey("someone.example")
        note = merge_signatures(
            parse_note(log.checkpoint(5)),
            parse_note(checkpoint_of(other, 5, TREE.root(5))).signatures,
        )
        assert ask(client, log.ask(0, 5, note.to_bytes()))[0] == 200
        assert b"someone.example" not in client.get(f"/{log.hash}/checkpoint").data

    def test_404_an_unknown_log(self, client: FlaskClient) -> None:
        for name in ("elsewhere.example/log", "a name with spaces"):
            body = GrowingLog(NamedKey("x")).ask(0, 5).replace(b"\nx\n", f"\n{name}\n".encode())
            status, text = ask(client, body)
            assert status == 404
            assert name in text

    def test_409_says_the_size(self, client: FlaskClient, log: GrowingLog) -> None:
        grown(client, log, 20)
        for old, size in ((0, 30), (19, 30), (21, 30), (0, 20), (5, 10)):
            answer = client.post("/add-checkpoint", data=log.ask(old, size))
            assert answer.status_code == 409
            assert answer.headers["Content-Type"] == SIZE_TYPE
            assert answer.data == b"20\n"

    def test_409_where_nothing_was_cosigned(self, client: FlaskClient, log: GrowingLog) -> None:
        answer = client.post("/add-checkpoint", data=log.ask(3, 5))
        assert (answer.status_code, answer.data) == (409, b"0\n")

    def test_422_the_empty_tree_with_another_root(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        note = checkpoint_of(log.key, 0, bytes(32))
        assert ask(client, log.ask(0, 0, note))[0] == 422
        assert ask(client, log.ask(0, 0))[0] == 200
        assert size_seen(witness, log) == 0

    def test_422_a_proof_where_none_is_needed(self, client: FlaskClient, log: GrowingLog) -> None:
        body = render_add_checkpoint(0, [bytes(32)], log.checkpoint(5))
        assert ask(client, body)[0] == 422
        grown(client, log, 5)
        body = render_add_checkpoint(5, [bytes(32)], log.checkpoint(5))
        assert ask(client, body)[0] == 422

    def test_422_a_proof_that_does_not_hold(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 6)
        good = prove_consistency(6, 20, TREE.reader(20))
        for proof in ([], good[:-1], [*good, bytes(32)], [bytes(32), *good[1:]], good[::-1]):
            assert ask(client, render_add_checkpoint(6, proof, log.checkpoint(20)))[0] == 422
        assert size_seen(witness, log) == 6

    def test_the_same_tree_again_is_cosigned_again(
        self, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 6)
        assert ask(client, log.ask(6, 6))[0] == 200

    def test_a_log_with_two_keys(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        newer = GrowingLog(NamedKey(LOG_NAME))
        assert len(witness.folder.add_log(newer.key.as_log.vkey)) == 2
        assert len(witness.folder.add_log(newer.key.as_log.vkey)) == 2
        grown(client, log, 6)
        assert ask(client, newer.ask(6, 9))[0] == 200
        both = merge_signatures(
            parse_note(log.checkpoint(12)), parse_note(newer.checkpoint(12)).signatures
        )
        assert ask(client, log.ask(9, 12, both.to_bytes()))[0] == 200
        served = parse_note(client.get(f"/{log.hash}/checkpoint").data)
        assert len(served.signatures) == 3

    def test_extension_lines_are_cosigned_with_the_rest(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        plain = parse_note(log.checkpoint(5))
        text = plain.text + "an extension\n"
        own = sign_checkpoint(_Text(text), log.key.key)  # type: ignore[arg-type]
        answer = client.post("/add-checkpoint", data=log.ask(0, 5, own.to_bytes()))
        assert answer.status_code == 200
        (signature,) = parse_cosignatures(answer.data)
        assert check_cosignature(signature, text, witness.folder.own)

    def test_logs_do_not_disturb_each_other(self, witness: Witness, client: FlaskClient) -> None:
        logs = [GrowingLog(NamedKey(f"log{number}.example")) for number in range(3)]
        for number, each in enumerate(logs):
            witness.folder.add_log(each.key.as_log.vkey)
            grown(client, each, 10 + number)
        assert [size_seen(witness, log) for log in logs] == [10, 11, 12]


class _Text:
    """A checkpoint with a text of its own choice."""

    origin = LOG_NAME

    def __init__(self, text: str) -> None:
        self.text = text


class TestForks:
    """A witness that cosigns two histories is worth nothing."""

    def test_a_fork_is_never_cosigned(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        fork = GrowingLog(log.key, FORK)
        grown(client, log, 20)
        for size in (20, 21, 40, 300):
            bodies = [fork.ask(20, size)]
            # The honest tree's proof for the forked root, and the reverse.
            honest = prove_consistency(20, size, TREE.reader(size))
            bodies.append(render_add_checkpoint(20, honest, fork.checkpoint(size)))
            bodies.append(render_add_checkpoint(20, [], fork.checkpoint(size)))
            for body in bodies:
                assert ask(client, body)[0] == 422
        for size in (1, 5, 19, 20, 21, 40):
            assert ask(client, fork.ask(0, size))[0] == 409
        assert size_seen(witness, log) == 20
        assert ask(client, log.ask(20, 40))[0] == 200

    def test_both_signed_notes_are_kept(
        self,
        witness: Witness,
        client: FlaskClient,
        log: GrowingLog,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        grown(client, log, 20)
        fork = GrowingLog(log.key, FORK)
        with caplog.at_level(logging.WARNING, logger="forge_server"):
            for _ in range(3):
                assert ask(client, fork.ask(20, 20))[0] == 422
        assert "THE LOG CONTRADICTS ITSELF" in caplog.text
        (path,) = evidence(witness)
        assert path.name.startswith("fork-")
        document = json.loads(path.read_text())
        keys = [log.key.as_log]
        seen = open_checkpoint(document["seen"].encode(), keys, [witness.folder.own])
        offered = open_checkpoint(document["offered"].encode(), keys, [])
        assert seen.checkpoint.size == offered.checkpoint.size == 20
        assert seen.checkpoint.root != offered.checkpoint.root
        assert seen.witnesses
        assert document["log_keys"] == [log.key.as_log.vkey]

    def test_a_fork_is_noticed_whatever_the_answer_is(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        fork = GrowingLog(log.key, FORK)
        assert ask(client, fork.ask(0, 20))[0] == 409
        assert ask(client, checkpoint_request(21, fork.checkpoint(20)))[0] == 400
        assert [path.name[:5] for path in evidence(witness)] == ["fork-"]

    def test_what_strangers_send_fills_no_disk(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        for junk in range(5):
            body = render_add_checkpoint(20, [bytes([junk]) * 32], log.checkpoint(30))
            assert ask(client, body)[0] == 422
        other = parse_note(checkpoint_of(NamedKey("x"), 30, TREE.root(30))).signatures
        padded = merge_signatures(parse_note(log.checkpoint(30)), other).to_bytes()
        assert ask(client, render_add_checkpoint(20, [], padded))[0] == 422
        (path,) = evidence(witness)
        assert path.name.startswith("unproven-")
        for size in range(31, 151):
            assert ask(client, render_add_checkpoint(20, [], log.checkpoint(size)))[0] == 422
        assert len(evidence(witness)) == 100
        padded = merge_signatures(parse_note(log.checkpoint(200)), other).to_bytes()
        evidence(witness)[0].unlink()
        assert ask(client, render_add_checkpoint(20, [], padded))[0] == 422
        assert not [path for path in evidence(witness) if "\u2014 x " in path.read_text()]
        # Such a heap keeps no fork from being written down.
        assert ask(client, GrowingLog(log.key, FORK).ask(20, 20))[0] == 422
        assert len(evidence(witness)) == 101

    def test_nothing_is_kept_of_what_the_log_did_not_sign(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        assert ask(client, GrowingLog(NamedKey(LOG_NAME), FORK).ask(20, 20))[0] == 403
        assert evidence(witness) == []


@pytest.mark.parametrize("first", list(itertools.product((TREE, FORK), repeat=3)))
def test_two_histories_never_both_reach_two_of_three(
    tmp_path: Path, first: tuple[TileTree, ...]
) -> None:
    """A log may ask each witness for either history first; afterwards it asks all for both."""
    key = NamedKey(LOG_NAME)
    witnesses = [make_witness(tmp_path / f"w{n}", GrowingLog(key), name=f"w{n}") for n in range(3)]
    policy = with_witnesses(
        LogPolicy(keys=(key.as_log,)), [each.folder.own for each in witnesses], quorum=None
    )
    assert policy.quorum == 2
    notes = {id(tree): parse_note(GrowingLog(key, tree).checkpoint(20)) for tree in (TREE, FORK)}
    orders = [(tree, *(other for other in (TREE, FORK) if other is not tree)) for tree in first]
    for one, order in zip(witnesses, orders, strict=True):
        for tree in order:
            for old in (0, 20):
                answer = client_of(one).post(
                    "/add-checkpoint", data=GrowingLog(key, tree).ask(old, 20)
                )
                if answer.status_code == 200:
                    added = parse_cosignatures(answer.data)
                    notes[id(tree)] = merge_signatures(notes[id(tree)], added)
    believed = []
    for note in notes.values():
        with suppress(VerificationError):
            policy.require_quorum(open_checkpoint(note.to_bytes(), policy.keys, policy.witnesses))
            believed.append(note)
    assert len(believed) == 1
    assert all(evidence(one) for one in witnesses), "each of them was shown both"


def checkpoint_request(old: int, checkpoint: bytes) -> bytes:
    return render_add_checkpoint(old, [], checkpoint)


class TestMonitoring:
    def test_serves_the_last_checkpoint_with_both_signatures(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 6)
        line = ask(client, log.ask(6, 9))[1]
        served = client.get(f"/{log.hash}/checkpoint")
        assert served.status_code == 200
        opened = open_checkpoint(served.data, [log.key.as_log], [witness.folder.own])
        assert opened.checkpoint.size == 9
        assert set(opened.witnesses) == {NAME}
        assert line in served.text

    def test_404_where_nothing_was_cosigned(self, client: FlaskClient, log: GrowingLog) -> None:
        for name in (log.hash, "0" * 64, log.hash.upper(), "..", "x", log.hash[:-1]):
            assert client.get(f"/{name}/checkpoint").status_code == 404

    def test_the_front_page_says_who_this_is(self, witness: Witness, client: FlaskClient) -> None:
        assert client.get("/").text.startswith(witness.folder.own.vkey)


class TestTheBorder:
    def test_405_for_other_methods(self, client: FlaskClient, log: GrowingLog) -> None:
        answer = client.get("/add-checkpoint")
        assert answer.status_code == 405
        assert "expected POST" in answer.text
        assert client.put(f"/{log.hash}/checkpoint").status_code == 405

    def test_404_elsewhere_says_what_there_is(self, client: FlaskClient) -> None:
        answer = client.get("/sign-subtree")
        assert answer.status_code == 404
        assert "/add-checkpoint" in answer.text

    def test_413_for_what_is_longer_than_any_request(self, client: FlaskClient) -> None:
        status, text = ask(client, bytes(MAX_REQUEST_BYTES + 1))
        assert status == 413
        assert str(MAX_REQUEST_BYTES) in text

    def test_no_inner_fault_is_shown(
        self,
        witness: Witness,
        client: FlaskClient,
        log: GrowingLog,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", "/srv/secret")

        monkeypatch.setattr("forge_server.witness.memory.replace_durably", broken)
        status, text = ask(client, log.ask(0, 5))
        assert status == 500
        assert "/srv" not in text
        assert size_seen(witness, log) == 0

    def test_no_word_of_a_stranger_reaches_a_terminal(self, client: FlaskClient) -> None:
        body = GrowingLog(NamedKey("x")).ask(0, 5).replace(b"\nx\n", "\n\u202ex\x9b\n".encode())
        status, text = ask(client, body)
        assert status == 404
        assert "\u202e" not in text
        assert "\x9b" not in text


class TestRaces:
    def test_50_at_once_never_roll_back(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        """Each asks for its own size, learns what was cosigned last, and asks again."""
        app = client.application
        granted: list[int] = []
        start = threading.Barrier(50)

        def insist(size: int) -> None:
            own, old = app.test_client(), 0
            start.wait()
            while old <= size:
                answer = own.post("/add-checkpoint", data=log.ask(old, size))
                if answer.status_code == 200:
                    granted.append(size)
                    return
                assert answer.status_code == 409
                assert int(answer.data) >= old
                old = int(answer.data)

        threads = [threading.Thread(target=insist, args=(5 * n,)) for n in range(1, 51)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert size_seen(witness, log) == 250
        assert 250 in granted

    def test_of_two_forks_at_once_one_is_cosigned(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        app = client.application
        for attempt in range(20):
            key = NamedKey(f"log{attempt}.example")
            witness.folder.add_log(key.as_log.vkey)
            start = threading.Barrier(8)
            statuses: list[tuple[int, bool]] = []

            def post(body: bytes, fork: bool, start: threading.Barrier = start) -> None:
                start.wait()
                answer = app.test_client().post("/add-checkpoint", data=body)
                statuses.append((answer.status_code, fork))  # noqa: B023

            threads = [
                threading.Thread(
                    target=post, args=(GrowingLog(key, (TREE, FORK)[n % 2]).ask(0, 20), n % 2 == 1)
                )
                for n in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(status for status, _ in statuses) == [200] + [409] * 7
