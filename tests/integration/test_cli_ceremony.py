"""The commands of a ceremony: what they refuse, and that nothing is overwritten or half done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import World, signed_by
from cli_fixtures import Forge, new_world
from forge_client import forge
from static_server import StaticServer

from signing.keys import PrivateKey, generate_key

__all__ = ["forge"]


@pytest.fixture
def world(forge: Forge) -> World:
    """A 1-of-1 authority whose metadata lies in ``metadata`` and its keys beside it."""
    made = new_world()
    folder = forge.place / "metadata"
    folder.mkdir()
    for name, data in made.authority.metadata.items():
        (folder / name).write_bytes(data)
    for role in ("root", "targets", "registrar"):
        private(forge.place / f"{role}.pem", getattr(made.authority, f"{role}_key"))
    return made


def private(path: Path, key: PrivateKey) -> str:
    path.write_bytes(key.to_pem(None))
    path.chmod(0o600)
    return str(path)


def public(path: Path, key: PrivateKey | None = None) -> str:
    path.write_bytes((key or generate_key("ed25519")).public.pem)
    return str(path)


def online_keys(path: Path) -> str:
    pems = {role: generate_key("ed25519").public.pem.decode() for role in ("snapshot", "timestamp")}
    path.write_text(json.dumps(pems))
    return str(path)


def renewal(forge: Forge, world: World, role: str = "root", name: str = "plan.json") -> str:
    forge.ok("authority", "renew", role, "--from", "metadata", "--dev", "-o", name)
    return name


def sign(forge: Forge, world: World, plan: str, *roles: str) -> None:
    keys = [option for role in roles for option in ("--key", f"./{role}.pem")]
    forge.ok("authority", "sign", plan, *keys, "--fingerprint", world.fingerprint, "--dev")


class TestPlanning:
    def first(self, forge: Forge, *options: str) -> list[str]:
        keys = [
            option
            for number in range(3)
            for option in ("--root-key", public(forge.place / f"{number}.pub"))
        ]
        online = online_keys(forge.place / "online-keys.json")
        return ["authority", "plan-first", *keys, "--root-threshold", "2", "--online-keys", online,
                "-o", "first.json", *options]  # fmt: skip

    def test_the_others_are_the_roots_keys_unless_given(self, forge: Forge) -> None:
        planned = forge.ok(*self.first(forge), "--json").json
        root, targets, registrar = planned["changes"]
        for change in (root, targets, registrar):
            assert change["signatures"][0]["threshold"] == 2
            assert len(change["signatures"][0]["unsigned"]) == 3
        assert not planned["complete"]

    def test_nothing_is_overwritten(self, forge: Forge) -> None:
        forge.ok(*self.first(forge))
        before = (forge.place / "first.json").read_bytes()
        assert forge(*self.first(forge)).code == 6
        assert (forge.place / "first.json").read_bytes() == before

    @pytest.mark.parametrize("role", ["targets", "registrar"])
    def test_a_threshold_and_its_keys_come_together(self, forge: Forge, role: str) -> None:
        ran = forge(*self.first(forge, f"--{role}-threshold", "1"))
        assert ran.code == 2
        assert f"--{role}-key" in ran.err
        key = public(forge.place / "own.pub")
        ran = forge(*self.first(forge, f"--{role}-key", key))
        assert ran.code == 2
        assert f"--{role}-threshold" in ran.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("snapshot",),
            ("root", "--online-keys", "online.json"),
            ("root",),
            ("snapshot", "--online-keys", "online.json", "--threshold", "2"),
            ("root", "--add", "missing.pub"),
        ],
    )
    def test_a_rotation_that_says_too_little_or_too_much(
        self, forge: Forge, world: World, arguments: tuple[str, ...]
    ) -> None:
        online_keys(forge.place / "online.json")
        ran = forge("authority", "rotate", *arguments, "--from", "metadata", "-o", "x.json")
        assert ran.code == 2, ran.err
        assert not (forge.place / "x.json").exists()

    def test_one_online_key_is_a_warning(self, forge: Forge, world: World) -> None:
        online = online_keys(forge.place / "online.json")
        rotate = ("authority", "rotate", "--online-keys", online, "--from", "metadata", "--dev")
        assert "together" in forge.ok(*rotate, "snapshot", "-o", "one.json").err
        assert "together" not in forge.ok(*rotate, "snapshot", "timestamp", "-o", "two.json").err

    def test_metadata_must_be_whole(self, forge: Forge, world: World) -> None:
        renew = ("authority", "renew", "root", "--from", "metadata", "--dev", "-o", "x.json")
        (forge.place / "metadata" / "3.root.json").write_bytes(world.root)
        assert forge(*renew).code == 3
        (forge.place / "metadata" / "3.root.json").unlink()
        (forge.place / "metadata" / "1.registrar.json").unlink()
        ran = forge(*renew)
        assert ran.code == 5
        assert "no registrar" in ran.err

    def test_nothing_to_change(self, forge: Forge, world: World) -> None:
        ran = forge("authority", "rotate", "root", "--threshold", "1", "--from", "metadata",
                    "--dev", "-o", "x.json")  # fmt: skip
        assert ran.code == 6
        assert "nothing would change" in ran.err


class TestSigning:
    def test_words_come_before_the_signature(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        ran = forge.ok("authority", "sign", plan, "--key", "./root.pem", "--dev",
                       "--fingerprint", world.fingerprint, "-o", "mine.json")  # fmt: skip
        assert "root is signed by 1 of 1 keys, as before" in ran.err
        shown = forge.ok("authority", "inspect", plan, "--json").json
        assert not shown["complete"]  # the file that was signed is not changed
        shown = forge.ok("authority", "inspect", "mine.json", "--json").json
        assert shown["complete"]
        assert "changes" in shown

    def test_an_unsafe_root_is_not_signed_without_dev(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        before = (forge.place / plan).read_bytes()
        ran = forge("authority", "sign", plan, "--key", "./root.pem", "--fingerprint",
                    world.fingerprint)  # fmt: skip
        assert ran.code == 3
        assert "k >= 2" in ran.err
        assert (forge.place / plan).read_bytes() == before

    def test_a_key_that_is_not_asked(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        ran = forge("authority", "sign", plan, "--key", "./registrar.pem", "--dev",
                    "--fingerprint", world.fingerprint)  # fmt: skip
        assert ran.code == 3
        assert "asked to sign" in ran.err

    def test_different_files_are_not_merged(self, forge: Forge, world: World) -> None:
        one = renewal(forge, world)
        other = renewal(forge, world, "targets", "other.json")
        ran = forge("authority", "merge", one, other, "-o", "merged.json")
        assert ran.code == 3
        assert not (forge.place / "merged.json").exists()

    def test_merging_into_one_of_the_files(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        forge.ok("authority", "sign", plan, "--key", "./root.pem", "--dev",
                 "--fingerprint", world.fingerprint, "-o", "mine.json")  # fmt: skip
        assert forge("authority", "merge", plan, "mine.json", "-o", "metadata/1.root.json").code
        forge.ok("authority", "merge", plan, "mine.json", "-o", plan)
        assert forge.ok("authority", "inspect", plan, "--json").json["complete"]

    def test_finishing_twice_and_into_a_foreign_folder(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        sign(forge, world, plan, "root")
        first = forge.ok("authority", "finish", plan, "--into", "metadata", "--json").json
        assert first["fingerprint"] == world.fingerprint
        assert "2.root.json" in first["files"]
        assert (
            forge.ok("authority", "finish", plan, "--into", "metadata", "--json").json["files"]
            == []
        )
        (forge.place / "metadata" / "2.root.json").write_bytes(b"{}")
        assert forge("authority", "finish", plan, "--into", "metadata").code == 6
        ran = forge("authority", "finish", plan, "--into", "other", "--fingerprint",
                    f"sha256:{'0' * 64}")  # fmt: skip
        assert ran.code == 3
        assert not (forge.place / "other").exists()


class TestSubmitting:
    def test_a_first_root_goes_by_hand(self, forge: Forge, world: World) -> None:
        forge.ok(*TestPlanning().first(forge))
        with StaticServer(world.files()) as server:
            forge.trust(server, world)
            ran = forge("authority", "submit", "first.json")
        assert ran.code == 2
        assert "forge-server adopt" in ran.err

    def test_of_another_authority(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        sign(forge, world, plan, "root")
        other = new_world()
        with StaticServer(other.files()) as server:
            forge.trust(server, other)
            ran = forge("authority", "submit", plan)
            assert ran.code == 3
            assert "/api/v1/roles" not in server.paths()

    def test_a_registry_that_says_yes_and_shows_nothing(self, forge: Forge, world: World) -> None:
        plan = renewal(forge, world)
        sign(forge, world, plan, "root")

        def nod(handler: Any) -> None:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.reply(200, b"{}")

        with StaticServer({**world.files(), "/api/v1/roles": nod}) as server:
            forge.trust(server, world)
            ran = forge("authority", "submit", plan)
        assert ran.code == 3
        assert "does not show it" in ran.err

    def test_fetched_metadata_is_verified(self, forge: Forge, world: World) -> None:
        files = world.files()
        with StaticServer(files) as server:
            forge.trust(server, world)
            forge.ok("authority", "fetch", "fetched")
            fetched = {p.name: p.read_bytes() for p in (forge.place / "fetched").iterdir()}
            assert fetched == world.authority.metadata
            stranger = generate_key("ed25519")
            signed = json.loads(world.root)["signed"]
            server.files["/tuf/2.root.json"] = signed_by({**signed, "version": 2}, stranger)
            assert forge("authority", "fetch", "again").code == 3
        assert not (forge.place / "again").exists()


class TestDrill:
    def test_a_key_is_tried_and_its_loss_rehearsed(self, forge: Forge, world: World) -> None:
        drill = ("authority", "drill", "--from", "metadata")
        tried = forge.ok(*drill, "--key", "./root.pem", "--key", "./targets.pem", "--json").json
        assert [len(role["tried"]) for role in tried["roles"]] == [1, 1, 0]
        assert tried["stands"]
        lost = world.authority.targets_key.public.keyid
        plan = (*drill, "--lost", lost[:8], "--dev", "-o", "repair.json")
        # The root repairs what stands below it.
        ran = forge(*plan, "--add", public(forge.place / "new.pub"))
        assert ran.code == 3
        assert "targets" in ran.err
        shown = forge.ok("authority", "inspect", "repair.json", "--json").json
        assert [change["role"] for change in shown["changes"]] == ["root", "targets"]

    def test_nobody_repairs_the_root(self, forge: Forge, world: World) -> None:
        lost = world.authority.root_key.public.keyid
        ran = forge("authority", "drill", "--from", "metadata", "--lost", lost, "--dev",
                    "--add", public(forge.place / "new.pub"), "-o", "x.json")  # fmt: skip
        assert ran.code == 3
        assert "found a new authority" in ran.err
        assert not (forge.place / "x.json").exists()

    def test_metadata_that_is_no_chain(self, forge: Forge, world: World) -> None:
        stranger = new_world().authority.metadata["1.targets.json"]
        (forge.place / "metadata" / "1.targets.json").write_bytes(stranger)
        assert forge("authority", "drill", "--from", "metadata").code == 3

    def test_strangers(self, forge: Forge, world: World) -> None:
        own = private(forge.place / "own.pem", generate_key("ed25519"))
        drill = ("authority", "drill", "--from", "metadata")
        assert forge(*drill, "--key", own).code == 3
        assert forge(*drill, "--lost", "0" * 12).code == 3
        lost = world.authority.root_key.public.keyid
        assert forge(*drill, "--lost", lost[:7]).code == 3
