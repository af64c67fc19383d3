"""A ceremony that signs a first root, and what is changed of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import NOW

from signing.ceremony import Ceremony, Change, payload_of
from signing.ceremony_plans import Chain, KeySet, edit_key_set, plan_first, plan_next
from signing.ceremony_signing import add_signature, finish
from signing.digests import fingerprint
from signing.errors import SigningError
from signing.keys import PrivateKey, generate_key

HOLDERS = [generate_key("ed25519") for _ in range(4)] + [generate_key("p256")]
NEWCOMER, STRANGER = generate_key("ed25519"), generate_key("ed25519")
REGISTRAR = generate_key("p256")
SNAPSHOT, TIMESTAMP = generate_key("ed25519"), generate_key("ed25519")


def key_set(threshold: int, *keys: PrivateKey) -> KeySet:
    return KeySet(keys=tuple(key.public for key in keys), threshold=threshold)


def first(**changed: Any) -> Ceremony:
    options: dict[str, Any] = {
        "root": key_set(3, *HOLDERS),
        "targets": key_set(2, *HOLDERS[:3]),
        "registrar": key_set(1, REGISTRAR),
        "snapshot": SNAPSHOT.public,
        "timestamp": TIMESTAMP.public,
    }
    return plan_first(NOW, **{**options, **changed})


def signed(ceremony: Ceremony, *keys: PrivateKey, mark: str | None = None) -> Ceremony:
    for key in keys:
        ceremony = add_signature(ceremony, key, NOW, fingerprint=mark)
    return ceremony


FIRST = finish(signed(first(), *HOLDERS[:3], REGISTRAR), NOW, fingerprint=None)
MARK = fingerprint(FIRST["root"])
CHAIN = Chain(roots=(FIRST["root"],), targets=FIRST["targets"], registrar=FIRST["registrar"])


def swapped() -> Ceremony:
    """The plan that replaces the first keyholder by the newcomer."""
    keys = edit_key_set(
        "root", CHAIN.key_set("root"), add=[NEWCOMER.public], remove=[HOLDERS[0].public.keyid[:12]]
    )
    return plan_next(CHAIN, NOW, keys={"root": keys})


def edited(ceremony: Ceremony, role: str, edit: Callable[[Any], object]) -> Ceremony:
    """The ceremony with one payload edited, as a dishonest planner can make it."""

    def changed(change: Change) -> Change:
        signed = change.metadata.signed
        edit(signed)
        return Change(role=role, payload=payload_of(signed), signatures={})

    return replace(
        ceremony, changes=tuple(changed(c) if c.role == role else c for c in ceremony.changes)
    )


def refused(code: str, function: Callable[[], object]) -> SigningError:
    with pytest.raises(SigningError) as caught:
        function()
    assert caught.value.code == code, caught.value
    return caught.value
