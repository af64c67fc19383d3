"""`forge log`, `forge monitor` and `forge trust witnesses`: what they say, and when they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from builders import NAME, World, changed_role, tree
from cli_fixtures import Forge
from forge_client import forge
from log_builders import Log, NamedKey, TileTree
from static_server import StaticServer

from signing.role_edits import add_organisation
from signing.roles import role_version
from signing.tlog.entries import Entry
from signing.tlog.proof import parse_proof

__all__ = ["forge"]


ORG = NAME.org
PROJECT = NAME.role


@pytest.fixture
def world() -> World:
    made = World(now=datetime.now(UTC).replace(microsecond=0), log=Log())
    made.publish(tree())
    return made


def log_of(world: World) -> Log:
    assert world.log is not None
    return world.log


@contextmanager
def served(forge: Forge, world: World, **changed: bytes) -> Iterator[StaticServer]:
    with StaticServer({**world.files(), **changed}) as server:
        forge.trust(server, world)
        yield server


def keys(forge: Forge, world: World) -> list[str]:
    """`--key` for each key of the organisation and its publishers."""
    pems = [key.public.pem for key in (*world.all_org_keys[ORG], *world.project_keys.values())]
    options = []
    for number, pem in enumerate(pems):
        path = forge.place / f"key{number}.pub"
        path.write_bytes(pem)
        options += ["--key", str(path)]
    return options


class TestShow:
    def test_the_checkpoint_and_the_newest_leaves(self, forge: Forge, world: World) -> None:
        log_of(world).add(
            Entry(act="release.yank", subject=f"{NAME}==1.0.0", at=world.now).to_bytes()
        )
        with served(forge, world):
            shown = forge.ok("log", "show", "--entries", "2", "--json").json
            text = forge.ok("log", "show").out
        assert shown["size"] == log_of(world).size
        assert shown["root"] == log_of(world).tree.root(shown["size"]).hex()
        assert [entry["act"] for entry in shown["entries"]] == ["role", "release.yank"]
        assert f"{NAME}==1.0.0" in text

    def test_leaves_that_are_not_the_logs_are_refused(self, forge: Forge, world: World) -> None:
        files = world.files()
        path = next(name for name in files if name.startswith("/log/tile/entries/"))
        other = TileTree([b"{}", *log_of(world).tree.entries[1:]])
        from signing.tlog.tiles import ENTRIES, tile_in

        data = other.tile(tile_in(ENTRIES, 0, log_of(world).size))
        with served(forge, world, **{path: data}):
            ran = forge("log", "show", "--entries", "100")
        assert ran.code == 3
        assert "leaf 0" in ran.err

    def test_what_cannot_be_read_is_shown_as_such(self, forge: Forge, world: World) -> None:
        log_of(world).add(b"\x1b[2Jnot an entry")
        with served(forge, world):
            out = forge.ok("log", "show").out
        assert "(not understood)" in out
        assert "\x1b" not in out

    def test_a_registry_without_a_log(self, forge: Forge) -> None:
        with served(forge, World(now=datetime.now(UTC))):
            ran = forge("log", "show")
        assert ran.code == 5
        assert "no public log" in ran.err


class TestProveAndVerify:
    def test_a_proof_is_written(self, forge: Forge, world: World) -> None:
        with served(forge, world):
            said = forge.ok("log", "prove", str(NAME), "--json").json
        proof = parse_proof((forge.place / said["file"]).read_bytes())
        assert log_of(world).tree.entries[proof.index].decode() == said["leaf"]

    def test_a_receipt_verifies_without_the_registry(self, forge: Forge, world: World) -> None:
        with served(forge, world):
            forge.ok("install", str(NAME), "--into", "out")
        (record,) = forge.place.glob(f"out/forge_components/.forge/**/{NAME.name}.json")
        ran = forge.ok("log", "verify", str(record))
        assert f"{NAME}==1.0.0: leaf" in ran.out

    def test_a_changed_receipt_is_refused(self, forge: Forge, world: World) -> None:
        with served(forge, world):
            forge.ok("install", str(NAME), "--into", "out")
        (record,) = forge.place.glob(f"out/forge_components/.forge/**/{NAME.name}.json")
        evidence = json.loads(json.loads(record.read_text())["evidence"])
        evidence["log_proof"] = evidence["log_proof"].replace("index ", "index 1")
        changed = forge.place / "receipt.json"
        changed.write_text(json.dumps(evidence))
        ran = forge("log", "verify", str(changed))
        assert ran.code == 3
        assert "history" in ran.out

    def test_evidence_of_a_fork(self, forge: Forge, world: World) -> None:
        log = log_of(world)
        log.add(b"then")
        with served(forge, world):
            forge.ok("info", str(NAME))
        log.tree = TileTree([*log.tree.entries[:-1], b"now"])
        with served(forge, world):
            assert forge("info", str(NAME)).code == 3
        (path,) = forge.home.rglob("fork-*.json")
        ran = forge.ok("log", "verify", str(path))
        assert "PROVED: the log forge.example/log signed two histories" in ran.out
        value = json.loads(path.read_text())
        value["second"] = value["first"]
        innocent = forge.place / "innocent.json"
        innocent.write_text(json.dumps(value, separators=(",", ":"), sort_keys=True))
        ran = forge("log", "verify", str(innocent))
        assert ran.code == 3
        assert "may both be true" in ran.err

    @pytest.mark.parametrize("data", [b"", b"[]", b"text", b'{"schema":"forge-log-fork-1"}'])
    def test_something_else_is_refused(self, forge: Forge, world: World, data: bytes) -> None:
        with served(forge, world):
            (forge.place / "file").write_bytes(data)
            ran = forge("log", "verify", "file")
        assert ran.code in (1, 2)
        assert "Traceback" not in ran.err
        assert forge("log", "verify", "nothing").code == 2


class TestAudit:
    def test_an_honest_log(self, forge: Forge, world: World) -> None:
        for number in range(600):
            entry = Entry(act="release.yank", subject=f"a/b=={number}", at=world.now)
            log_of(world).add(entry.to_bytes())
        with served(forge, world):
            said = forge.ok("log", "audit", "--json").json
        assert said["size"] == log_of(world).size
        assert said["acts"]["release.yank"] == 600
        assert said["problems"] == []

    def test_leaves_that_nobody_signed(self, forge: Forge, world: World) -> None:
        log = log_of(world)
        real = log.files(world.now)
        log.tree = TileTree([*log.tree.entries[:-1], b"{}"])
        lies = {
            path: data
            for path, data in log.files(world.now).items()
            if path.startswith("/log/tile/entries/")
        }
        log.tree = TileTree(log.tree.entries)
        with served(forge, world, **{**real, **lies}):
            ran = forge("log", "audit")
        assert ran.code == 3
        assert "not the ones that the log signed" in ran.err

    def test_a_version_that_was_skipped(self, forge: Forge, world: World) -> None:
        entry = Entry(act="role", subject="minds-lab", version=9, sha256="0" * 64)
        log_of(world).add(entry.to_bytes())
        with served(forge, world):
            ran = forge("log", "audit")
        assert ran.code == 3
        assert "role minds-lab: expected version" in ran.err


class TestMonitor:
    def test_nothing_but_our_own(self, forge: Forge, world: World) -> None:
        with served(forge, world):
            first = forge.ok("monitor", "--org", ORG, *keys(forge, world), "--json").json
            second = forge.ok("monitor", "--org", ORG, *keys(forge, world), "--json").json
        assert first["seen"] == 3  # the organisation's role twice, its project's once
        assert second["seen"] == 0

    def test_it_goes_on_where_it_ended(self, forge: Forge, world: World) -> None:
        with served(forge, world):
            forge.ok("monitor", "--org", ORG, *keys(forge, world))
        world.publish(tree(version="1.1.0"))
        with served(forge, world):
            assert (
                forge.ok("monitor", "--org", ORG, *keys(forge, world), "--json").json["seen"] == 1
            )

    def alarm(self, forge: Forge, world: World, *options: str) -> str:
        with served(forge, world):
            ran = forge("monitor", "--org", ORG, *keys(forge, world), *options)
            again = forge("monitor", "--org", ORG, *keys(forge, world), *options)
        assert ran.code == again.code == 3, ran.err
        evidence = json.loads((forge.place / f"alarm-{ORG}.json").read_text())
        assert evidence["alarms"]
        assert "checkpoint" in evidence
        return ran.out

    def test_a_role_of_ours_that_a_stranger_signed(self, forge: Forge, world: World) -> None:
        stranger = NamedKey("x").key
        changed = changed_role(
            world.roles[ORG], [stranger], lambda r: r.update(version=r["version"] + 1)
        )
        log_of(world).add_role(ORG, role_version(changed), changed)
        world.history[f"{role_version(changed)}.{ORG}.json"] = changed
        assert "no key of yours signed" in self.alarm(forge, world)

    def test_an_index_that_no_publisher_of_ours_signed(self, forge: Forge, world: World) -> None:
        stranger = NamedKey("x").key
        changed = changed_role(
            world.roles[PROJECT], [stranger], lambda r: r.update(version=r["version"] + 1)
        )
        log_of(world).add_role(PROJECT, role_version(changed), changed)
        world.history[f"{role_version(changed)}.{PROJECT}.json"] = changed
        assert PROJECT in self.alarm(forge, world)

    def test_a_registrar_that_gives_our_name_to_others(self, forge: Forge, world: World) -> None:
        stranger = NamedKey("x").key
        registrar = changed_role(
            world.roles["registrar"],
            [world.authority.registrar_key],
            lambda r: r["delegations"].update(roles=[]),
        )
        from signing.profile import OrgProfile

        taken = add_organisation(
            registrar, ORG, OrgProfile(kind="startup", display_name="X"), [stranger.public], 1,
            [world.authority.registrar_key], world.now,
        )  # fmt: skip
        log_of(world).add_role("registrar", role_version(taken), taken)
        world.history[f"{role_version(taken)}.registrar.json"] = taken
        assert "keys for minds-lab that are not yours" in self.alarm(forge, world)

    def test_a_logged_role_that_is_not_shown(self, forge: Forge, world: World) -> None:
        del world.history[f"1.{PROJECT}.json"]
        world.publish(tree(version="1.1.0"))
        assert "does not show what it logged" in self.alarm(forge, world)

    def test_a_release_that_is_not_on_the_list(self, forge: Forge, world: World) -> None:
        release = next(iter(world.releases.values()))
        path = forge.place / "released.txt"
        path.write_text(f"# ours\n{NAME}==1.0.0 {release.manifest.digest}\n")
        with served(forge, world):
            forge.ok("monitor", "--org", ORG, *keys(forge, world), "--releases", str(path))
        world.publish(tree(version="1.1.0"))
        said = self.alarm(forge, world, "--releases", str(path))
        assert f"{NAME}==1.1.0" in said
        assert "not on your list" in said

    def test_it_needs_a_key(self, forge: Forge, world: World) -> None:
        with served(forge, world):
            assert forge("monitor", "--org", ORG).code == 4
            assert forge("monitor", "--org", ORG, "--key", "nothing.pub").code == 2


class TestTrustWitnesses:
    def test_chosen_and_given_up_again(self, forge: Forge, world: World) -> None:
        one, two = (NamedKey(f"w{number}.example").as_witness.vkey for number in (1, 2))
        with served(forge, world):
            assert "authority names" in forge.ok("trust", "witnesses").out
            forge.ok("trust", "witnesses", "--witness", one, "--witness", two)
            ran = forge("info", str(NAME))
            assert ran.code == 3
            assert "cosignatures of 2 of 2 witnesses" in ran.err
            forge.ok("trust", "witnesses", "--witness", one, "--quorum", "0")
            forge.ok("info", str(NAME))
            forge.ok("trust", "witnesses", "--reset")
            assert forge.ok("trust", "witnesses", "--json").json["own"] is False

    @pytest.mark.parametrize(
        "options",
        [
            ("--witness", "x"),
            ("--witness", Log().key.as_log.vkey),
            ("--quorum", "1"),
            ("--witness", NamedKey("w").as_witness.vkey, "--quorum", "2"),
            ("--witness", NamedKey("w").as_witness.vkey, "--reset"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, forge: Forge, world: World, options: tuple[str, ...]
    ) -> None:
        with served(forge, world):
            assert forge("trust", "witnesses", *options).code in (1, 2)
            assert forge.ok("trust", "witnesses", "--json").json["own"] is False
