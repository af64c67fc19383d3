"""Whether a registry that was brought back from a backup may sign.

Whoever signs on top of an old copy begins a second history of the public log, and clients never
accept that registry again. The database cannot know what the world saw since the backup. So what
was restored signs nothing until somebody says it: with a checkpoint that a client, a witness or the
status host has, or by declaring that nobody can have seen anything newer. A checkpoint that is
newer than the database ends the matter: this backup is too old.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from signing.errors import SigningError
from signing.tlog.checkpoint import open_checkpoint
from signing.tlog.merkle import root_of
from signing.tlog.note import NoteKey
from signing.tlog.policy import policy_of

from ..errors import RegistryError
from .clock import Clock
from .log import hash_reader, log_size
from .rolebook import current_role
from .upkeep import RESTORED, forget, recall, remember


def why_unconfirmed(session: Session) -> str | None:
    """Why a registry that was restored signs nothing; None where it may, or never was restored."""
    found = recall(session, RESTORED)
    if found is None:
        return None
    if found.get("seen"):
        return (
            f"it was restored from a backup of {found['size']} log entries, and the world has seen "
            f"{found['seen']}: restore a newer backup"
        )
    return (
        f"it was restored from the backup of {found['made_at']} ({found['size']} log entries), and "
        "nobody has said yet that the world has seen nothing newer: forge-server confirm"
    )


def set_restored(session: Session, made_at: str, clock: Clock) -> None:
    """From now on nothing is signed until somebody confirms."""
    value = {"made_at": made_at, "size": log_size(session), "seen": None}
    remember(session, RESTORED, value, clock())


def judge_checkpoint(
    session: Session, data: bytes, own: tuple[NoteKey, ...], where: str
) -> int | None:
    """How many entries the log had that somebody saw, when those are more than are here; None
    when the log here continues what was seen.

    Raises:
        RegistryError: not a checkpoint of this log (``checkpoint-foreign``), or one of another
            history of it (``log-fork``).
    """
    targets = current_role(session, "targets")
    policy = None if targets is None else policy_of(targets)
    keys = (*own, *(() if policy is None else policy.keys))
    try:
        seen = open_checkpoint(data, keys, (), where).checkpoint
    except SigningError as error:
        raise RegistryError("checkpoint-foreign", error.message, error.hint) from None
    have = log_size(session)
    if seen.size > have:
        return seen.size
    if seen.size and root_of(seen.size, hash_reader(session, seen.size)) != seen.root:
        raise RegistryError(
            "log-fork",
            f"{where}: the log here is another one than was seen: its first {seen.size} entries "
            "differ",
            "keep both: this is evidence; restore another backup",
        )
    return None


def confirm(session: Session, seen: int | None, clock: Clock) -> bool:
    """Ends the wait, or makes it final where the world has ``seen`` more entries than are here;
    returns whether it ended just now."""
    found = recall(session, RESTORED)
    if found is None:
        return False
    if seen is not None:
        remember(session, RESTORED, {**found, "seen": max(seen, found["seen"] or 0)}, clock())
    elif found["seen"] is None:
        forget(session, RESTORED)
        return True
    return False
