"""Policies on the server: what may be published as one, and an organisation's own view."""

from __future__ import annotations

import pytest
from server_fixtures import Client, World, _fresh_registry, client, forge_toml, sara, world

__all__ = ["_fresh_registry", "client", "sara", "world"]
RULES = b'schema = 1\ntitle = "Baseline"\n[rules]\nlicences = ["Apache-2.0"]\n'


def policy_files(rules: bytes = RULES) -> dict[str, bytes]:
    return {"policy.toml": rules}


def toml(name: str = "baseline", version: str = "1.0.0") -> bytes:
    return forge_toml(name, version, kind="policy")


def test_a_policy_is_published_like_any_component(world: World, sara: Client) -> None:
    sara.publish(world.release(toml=toml(), files=policy_files()))
    assert sara.get("/api/v1/components/minds-lab/baseline")["kind"] == "policy"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"weights.bin": b"w"}, "a policy.toml among its files"),
        (policy_files(b"# none\n"), "an empty policy allows nothing"),
        (policy_files(RULES.replace(b"licences", b"licenses")), "did you mean 'licences'?"),
        (policy_files(b"#" * 300_000), "at most 262144 bytes"),
    ],
    ids=["none", "empty", "misspelt", "too large"],
)
def test_a_policy_that_nobody_can_read_is_not_published(
    world: World, sara: Client, files: dict[str, bytes], words: str
) -> None:
    built = world.release(toml=toml(), files=files)
    sara.put_blobs(built)
    answer = sara.post("/api/v1/releases", built.body(), expect=400, code="malformed")
    assert words in f"{answer['detail']} {answer.get('hint')}"
    sara.get("/api/v1/components/minds-lab/baseline", expect=404)
