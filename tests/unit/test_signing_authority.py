"""The authority's first files, and the fingerprint that people compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from builders import NOW, changed_role, sha256

from signing.authority import FIRST_FILES, check_online_keys, new_authority, verify_authority
from signing.digests import fingerprint, parse_fingerprint
from signing.errors import MalformedError, SigningError, VerificationError
from signing.keys import generate_key
from signing.roles import EXPIRY, delegations_of, parse_root, role_expires, role_version

SNAPSHOT, TIMESTAMP = generate_key("ed25519"), generate_key("ed25519")
ONLINE = (SNAPSHOT.public, TIMESTAMP.public)
AUTHORITY = new_authority(NOW, *ONLINE)
ROOT = AUTHORITY.metadata["1.root.json"]


def test_a_new_authority_is_a_sound_chain() -> None:
    verify_authority(AUTHORITY.metadata, *ONLINE)
    assert tuple(AUTHORITY.metadata) == FIRST_FILES
    root = parse_root(ROOT).signed
    assert root.consistent_snapshot is True
    assert root.version == 1
    assert root.expires == NOW + EXPIRY["root"]
    assert role_version(AUTHORITY.metadata["1.registrar.json"]) == 1
    assert role_expires(AUTHORITY.metadata["1.registrar.json"]) == NOW + EXPIRY["registrar"]
    delegation = delegations_of(AUTHORITY.metadata["1.targets.json"])["registrar"]
    assert delegation.keys == (AUTHORITY.registrar_key.public,)


def test_every_role_has_a_key_of_its_own() -> None:
    root = parse_root(ROOT).signed
    ids = [keyid for role in root.roles.values() for keyid in role.keyids]
    ids.append(AUTHORITY.registrar_key.public.keyid)
    assert len(set(ids)) == 5
    assert root.roles["snapshot"].keyids == [SNAPSHOT.public.keyid]
    assert root.roles["timestamp"].keyids == [TIMESTAMP.public.keyid]


def spoilt(file: str, key: Any, change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    return {
        **AUTHORITY.metadata,
        file: changed_role(AUTHORITY.metadata[file], [key], change),
    }


STRANGER = generate_key("ed25519")
BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    **{
        f"no-{name}": ({n: d for n, d in AUTHORITY.metadata.items() if n != name}, "chain-broken")
        for name in FIRST_FILES
    },
    "root-by-a-stranger": (spoilt("1.root.json", STRANGER, lambda s: None), "threshold-not-met"),
    "targets-by-a-stranger": (
        spoilt("1.targets.json", STRANGER, lambda s: None),
        "threshold-not-met",
    ),
    "registrar-by-a-stranger": (
        spoilt("1.registrar.json", STRANGER, lambda s: None),
        "threshold-not-met",
    ),
    "registrar-by-the-server": (
        spoilt("1.registrar.json", SNAPSHOT, lambda s: None),
        "threshold-not-met",
    ),
    "registrar-not-delegated": (
        spoilt("1.targets.json", AUTHORITY.targets_key, lambda s: s.pop("delegations")),
        "chain-broken",
    ),
    "targets-as-root": ({**AUTHORITY.metadata, "1.root.json": b"{}"}, "malformed"),
    "root-key-twofold": (
        spoilt(
            "1.root.json",
            AUTHORITY.root_key,
            lambda s: (
                s["keys"].update({"0" * 64: s["keys"][AUTHORITY.root_key.public.keyid]}),
                s["roles"]["root"].update(
                    keyids=[AUTHORITY.root_key.public.keyid, "0" * 64], threshold=1
                ),
            ),
        ),
        "malformed",
    ),
    "root-key-not-there": (
        spoilt(
            "1.root.json",
            AUTHORITY.root_key,
            lambda s: s["roles"]["targets"]["keyids"].append("0" * 64),
        ),
        "malformed",
    ),
}


@pytest.mark.parametrize(("metadata", "code"), BROKEN.values(), ids=BROKEN)
def test_refuses_a_broken_chain(metadata: dict[str, bytes], code: str) -> None:
    with pytest.raises(SigningError) as caught:
        verify_authority(metadata, *ONLINE)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "online",
    [
        (TIMESTAMP.public, SNAPSHOT.public),
        (SNAPSHOT.public, STRANGER.public),
        (STRANGER.public, TIMESTAMP.public),
    ],
    ids=["swapped", "another-timestamp", "another-snapshot"],
)
def test_the_root_must_name_the_servers_keys(online: tuple[Any, Any]) -> None:
    for check in (
        lambda: verify_authority(AUTHORITY.metadata, *online),
        lambda: check_online_keys(ROOT, *online),
    ):
        with pytest.raises(VerificationError) as caught:
            check()
        assert caught.value.code == "key-unlisted"


def test_the_fingerprint_is_of_the_exact_bytes() -> None:
    assert fingerprint(ROOT) == f"sha256:{sha256(ROOT)}"
    again = json.dumps(json.loads(ROOT)).encode()
    assert fingerprint(again) != fingerprint(ROOT)


HEX = "0123456789abcdef" * 4
PAIRS = ":".join(HEX[n : n + 2] for n in range(0, 64, 2))


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        f"sha256:{HEX}",
        HEX.upper(),
        f"SHA256:{HEX.upper()}",
        f"  sha256: {HEX}\n",
        PAIRS,
        f"sha256:{PAIRS}",
        " ".join(HEX[n : n + 4] for n in range(0, 64, 4)),
    ],
    ids=["bare", "prefixed", "upper", "all-upper", "spaces", "pairs", "prefixed-pairs", "groups"],
)
def test_reads_a_whole_fingerprint(text: str) -> None:
    assert parse_fingerprint(text) == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        HEX[:-1],
        HEX[:12],
        f"sha256:{HEX[:32]}",
        f"{HEX}0",
        f"sha512:{HEX}",
        f"sha256:sha256:{HEX}",
        f"{HEX[:-1]}g",
        f"{HEX[:-1]}…",
        "٠" * 64,
        f"sha256-{HEX}",
    ],
)
def test_refuses_a_shortened_or_other_fingerprint(text: str) -> None:
    with pytest.raises(MalformedError, match="fingerprint"):
        parse_fingerprint(text)
