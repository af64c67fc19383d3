"""Publisher, organisation and registrar with their keys in tokens, against a real registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_registry import LiveRegistry
from softhsm import Tokens, tokens

__all__ = ["tokens"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, tokens: Tokens) -> Iterator[LiveRegistry]:
    with LiveRegistry(tmp_path_factory.mktemp("live"), real=True) as registry:
        registry.environment.update(tokens.environment)
        yield registry


def test_every_role_may_be_signed_in_a_token(live: LiveRegistry, tokens: Tokens) -> None:
    for token in ("organisation", "publisher", "registrar"):
        tokens.create(token)
    tokens.take("registrar", "registrar", live.authority / "registrar.pem")
    registrar = tokens.uri("registrar", "registrar", pin=True)
    for name in ("organisation", "publisher"):
        live.forge("key", "new", name, "--pkcs11", tokens.uri(name, name, pin=True))
    live.forge(
        "org", "create", "token-lab", "--kind", "academic", "--display-name", "Token Lab",
        "--key", "organisation",
    )  # fmt: skip
    live.forge("authority", "approve", "token-lab", "--key", registrar)
    folder = live.new_component("token-lab", "model")
    first = json.loads(live.forge("publish", str(folder), "--key", "publisher", "--json"))
    keyid = json.loads(live.forge("key", "show", "publisher", "--json"))["keyid"]
    assert first["signed_by"] == keyid
    live.forge("verify", "token-lab/model==1.0.0")
    # A reference will do wherever a name does.
    toml = folder / "forge.toml"
    toml.write_text(toml.read_text().replace('"1.0.0"', '"1.1.0"'))
    uri = tokens.uri("publisher", "publisher", pin=True)
    second = json.loads(live.forge("publish", str(folder), "--key", uri, "--json"))
    assert second["signed_by"] == keyid
    live.forge("verify", "token-lab/model==1.1.0")


def test_a_command_signs_releases_too(live: LiveRegistry) -> None:
    live.register("exec-lab")
    program = live.place / "kms-sign"
    live.forge("key", "new", "behind", "--insecure-unencrypted")
    key = Path(live.environment["FORGE_HOME"]) / "keys" / "behind.pem"
    hidden = key.rename(live.place / "behind.pem")
    program.write_text(
        f"#!/bin/sh\nopenssl dgst -sha256 -sign {hidden} | {sys.executable} -m base64 -e\n"
    )
    program.chmod(0o755)
    key.with_suffix(".pub").rename(program.with_suffix(".pub"))
    live.forge("key", "add", "kms", f"exec:{program}")
    folder = live.new_component("exec-lab", "kms-model")
    live.forge("publish", str(folder), "--key", "kms")
    assert "verified: " in live.forge("verify", "exec-lab/kms-model")


def test_a_command_that_signs_wrongly_sends_nothing(live: LiveRegistry) -> None:
    program = live.place / "kms-wrong"
    program.write_text("#!/bin/sh\ncat > /dev/null; printf 'AAAA'\n")
    program.chmod(0o755)
    pem = live.forge("key", "show", "default", "--pem")
    program.with_suffix(".pub").write_text(pem)
    folder = live.new_component("exec-lab", "wrong")
    done = live.forge_with(
        live.environment, "publish", str(folder), "--key", f"exec:{program}", "--json"
    )
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == "key-signature-wrong"
    assert "wrong" not in live.forge("search", "wrong", "--json")
