"""What a witness remembers: it loses none of it, notices where it did, and stops."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from asked_witness import LOG_NAME, ask, client, grown, log, size_seen, witness
from flask.testing import FlaskClient
from log_builders import NamedKey, checkpoint_of
from witness_fixtures import FORK, NAME, TREE, GrowingLog, make_witness, reopened

from forge_server.witness.errors import Refused, UnusableError
from forge_server.witness.memory import WitnessFolder
from forge_server.witness.service import Witness
from signing.errors import SigningError
from signing.tlog.merkle import EMPTY_ROOT
from signing.tlog.note import Note, parse_note

__all__ = ["client", "log", "witness"]


class TestLostMemory:
    """A witness that forgot what it cosigned would cosign a fork of it."""

    def test_a_lost_checkpoint_stops_the_witness(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        checkpoint = witness.folder.root / "logs" / log.hash / "checkpoint"
        kept = checkpoint.read_bytes()
        checkpoint.unlink()
        assert ask(client, GrowingLog(log.key, FORK).ask(0, 20))[0] == 503
        assert client.get(f"/{log.hash}/checkpoint").status_code == 503
        with pytest.raises(UnusableError, match="although one was cosigned") as refusal:
            reopened(witness.folder.root)
        assert "forge-witness recover" in str(refusal.value.hint)
        known = witness.folder.log(LOG_NAME)
        assert known is not None
        known.recover(kept)
        assert size_seen(reopened(witness.folder.root), log) == 20

    @pytest.mark.parametrize("damage", [b"", b"\x00" * 100, None])
    def test_a_damaged_checkpoint_stops_the_witness(
        self, witness: Witness, client: FlaskClient, log: GrowingLog, damage: bytes | None
    ) -> None:
        grown(client, log, 20)
        checkpoint = witness.folder.root / "logs" / log.hash / "checkpoint"
        data = log.checkpoint(5) if damage is None else damage  # genuine, and not cosigned by us
        checkpoint.chmod(0o644)
        checkpoint.write_bytes(data)
        assert ask(client, log.ask(0, 20))[0] == 503
        with pytest.raises(UnusableError):
            reopened(witness.folder.root)

    def test_a_memory_that_was_tampered_with_stops_the_witness(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        checkpoint = witness.folder.root / "logs" / log.hash / "checkpoint"
        changed = checkpoint.read_bytes().replace(b"\n20\n", b"\n10\n")
        checkpoint.chmod(0o644)
        checkpoint.write_bytes(changed)
        assert ask(client, log.ask(10, 40))[0] == 503

    def test_an_old_copy_is_noticed_by_our_own_cosignature(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        checkpoint = witness.folder.root / "logs" / log.hash / "checkpoint"
        old_copy = checkpoint.read_bytes()
        assert ask(client, log.ask(20, 40))[0] == 200
        cosigned = client.get(f"/{log.hash}/checkpoint").data
        checkpoint.unlink()
        checkpoint.write_bytes(old_copy)
        assert ask(client, log.ask(20, 40, cosigned))[0] == 503
        # From now on nothing is cosigned, whatever is asked and after a restart too.
        assert ask(client, GrowingLog(log.key, FORK).ask(20, 41))[0] == 503
        assert ask(client, log.ask(20, 41))[0] == 503
        with pytest.raises(UnusableError, match="old copy"):
            reopened(witness.folder.root)
        known = witness.folder.log(LOG_NAME)
        assert known is not None
        with pytest.raises(UnusableError, match="beyond size 40"):
            known.recover(old_copy)
        known.recover(known.forgotten.read_bytes())
        assert ask(client, log.ask(40, 41))[0] == 200
        assert size_seen(reopened(witness.folder.root), log) == 41

    def test_a_cosignature_that_is_not_ours_stops_nobody(
        self, witness: Witness, client: FlaskClient, log: GrowingLog
    ) -> None:
        grown(client, log, 20)
        own = parse_note(client.get(f"/{log.hash}/checkpoint").data).signatures[-1]
        forged = Note(
            text=(note := parse_note(log.checkpoint(40))).text,
            signatures=(*note.signatures, own),  # over another text
        )
        assert ask(client, log.ask(20, 40, forged.to_bytes()))[0] == 200

    def test_recovering_takes_only_what_the_log_signed_and_we_cosigned(
        self, witness: Witness, client: FlaskClient, log: GrowingLog, tmp_path: Path
    ) -> None:
        grown(client, log, 20)
        known = witness.folder.log(LOG_NAME)
        assert known is not None
        stranger, own = NamedKey(NAME), NamedKey(NAME)
        own.key = witness.key
        elsewhere, at = NamedKey(LOG_NAME), datetime.now(UTC)
        for raw in (
            log.checkpoint(40),
            checkpoint_of(elsewhere, 40, TREE.root(40), [own], at),
            checkpoint_of(log.key, 40, TREE.root(40), [stranger], datetime.now(UTC)),
        ):
            with pytest.raises((SigningError, Refused)):
                known.recover(raw)
        assert size_seen(witness, log) == 20


class TestFolder:
    def test_the_key_is_private_and_never_replaced(self, witness: Witness, tmp_path: Path) -> None:
        folder = witness.folder
        assert folder.key_file.stat().st_mode & 0o777 == 0o600
        assert folder.root.stat().st_mode & 0o777 == 0o700
        with pytest.raises(UnusableError, match="found something"):
            make_witness(folder.root)

    def test_a_key_that_others_may_read_is_refused(self, witness: Witness) -> None:
        witness.folder.key_file.chmod(0o644)
        with pytest.raises(UnusableError, match="0644"):
            reopened(witness.folder.root)

    def test_a_key_of_another_witness_is_refused(self, witness: Witness, tmp_path: Path) -> None:
        other = make_witness(tmp_path / "other")
        witness.folder.key_file.write_bytes(other.folder.key_file.read_bytes())
        with pytest.raises(UnusableError, match="found another"):
            reopened(witness.folder.root)

    def test_a_folder_that_is_none_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UnusableError, match="found none"):
            WitnessFolder(tmp_path)

    @pytest.mark.parametrize(
        "vkey",
        [pytest.param(NamedKey("a").as_witness.vkey, id="a witness's"), "", "x", "x+y+z"],
    )
    def test_only_a_logs_key_can_be_added(self, witness: Witness, vkey: str) -> None:
        with pytest.raises(SigningError):
            witness.folder.add_log(vkey)

    def test_the_empty_root_is_the_one_of_the_standard(self, log: GrowingLog) -> None:
        assert TREE.root(0) == EMPTY_ROOT
