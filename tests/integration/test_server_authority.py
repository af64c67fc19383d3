"""The authority's own roles at the server: adopted, replaced, and never without their quorum."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from keyholders import Keyholders, key_set, online_keys_of
from server_fixtures import (
    Client,
    Clock,
    World,
    copy_registry,
    drop_database,
    new_database,
    now,
)

from forge_server.app import create_app
from forge_server.manage import cli
from forge_server.operate.adopt import adopt
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.operate.serve import prepare
from forge_server.settings import DataFolder
from signing.errors import VerificationError
from signing.keys import generate_key
from signing.role_edits import add_organisation
from signing.roles import OrgProfile, parse_root, parse_signed, parse_targets

STRANGER = generate_key("ed25519")


@dataclass
class National:
    """A registry whose authority has five keyholders."""

    world: World
    holders: Keyholders

    @property
    def public(self) -> Path:
        return self.world.root / "public"

    def client(self) -> Client:
        return Client(create_app(self.world.registry).test_client())

    def send(self, roles: dict[str, bytes], **options: Any) -> Any:
        texts = {name: data.decode() for name, data in roles.items()}
        return self.client().post("/api/v1/roles", {"roles": texts}, **options)

    def taken(self, roles: dict[str, bytes]) -> Any:
        """Sends what must be accepted."""
        answer = self.send(roles, expect=200)
        self.holders.take(roles)
        return answer

    def signer_of(self, name: str) -> set[str]:
        kind = name.removesuffix(".json").rpartition(".")[2]
        return set(parse_signed((self.public / name).read_bytes(), name, kind).signatures)

    def newest_snapshot(self) -> str:
        versions = [int(path.name.split(".")[0]) for path in self.public.glob("*.snapshot.json")]
        return f"{max(versions)}.snapshot.json"

    def fresh_keys(self) -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["keys", "new", str(self.world.root)])
        assert result.exit_code == 0, result.output
        return online_keys_of(self.world.root / "online-keys.json")

    def rotation(self, online: dict[str, Any]) -> dict[str, bytes]:
        keys = {role: key_set(1, key) for role, key in online.items()}
        return self.holders.next(self.world.clock(), keys)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _adopted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Keyholders]:
    folder = tmp_path_factory.mktemp("national")
    initialise(folder / "reg", dev=False, database=new_database(request, request.param))
    holders = Keyholders()
    files = holders.found(online_keys_of(folder / "reg" / "online-keys.json"), now())
    (folder / "metadata").mkdir()
    for name, data in files.items():
        (folder / "metadata" / name).write_bytes(data)
    done = adopt(DataFolder(folder / "reg"), folder / "metadata")
    assert done.fingerprint == holders.fingerprint
    return folder / "reg", holders


@pytest.fixture
def national(_adopted: tuple[Path, Keyholders], tmp_path: Path) -> Iterator[National]:
    source, holders = _adopted
    copy_registry(source, tmp_path)
    own = Keyholders(holders.root, holders.targets, holders.registrar, holders.chain)
    made = National(World(tmp_path / "reg"), own)
    yield made
    made.world.close()
    drop_database(made.world.root)


def sound(national: National) -> None:
    assert check_registry(national.world.registry, deep=True).problems == ()


class TestAdoption:
    def test_three_of_five(self, national: National) -> None:
        assert national.world.registry.publication.read_only is None
        root = parse_root((national.public / "1.root.json").read_bytes()).signed
        assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (3, 5)
        sound(national)

    def test_two_signatures_are_not_three(self, national: National, tmp_path: Path) -> None:
        initialise(tmp_path / "other", dev=False)
        folder = tmp_path / "metadata"
        folder.mkdir()
        files = Keyholders().found(online_keys_of(tmp_path / "other" / "online-keys.json"), now())
        root = json.loads(files["1.root.json"])
        root["signatures"] = root["signatures"][:2]
        files["1.root.json"] = json.dumps(root).encode()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with pytest.raises(VerificationError) as caught:
            adopt(DataFolder(tmp_path / "other"), folder)
        assert caught.value.code == "threshold-not-met"

    @pytest.mark.parametrize("role", ["targets", "registrar"])
    def test_a_role_that_its_keys_did_not_sign(
        self, national: National, tmp_path: Path, role: str
    ) -> None:
        initialise(tmp_path / "other", dev=False)
        folder = tmp_path / "metadata"
        folder.mkdir()
        files = Keyholders().found(online_keys_of(tmp_path / "other" / "online-keys.json"), now())
        metadata = parse_targets(files[f"1.{role}.json"], role)
        metadata.signatures.clear()
        metadata.sign(STRANGER.tuf_signer)
        files[f"1.{role}.json"] = metadata.to_bytes()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with pytest.raises(VerificationError) as caught:
            adopt(DataFolder(tmp_path / "other"), folder)
        assert caught.value.code == "threshold-not-met"
        assert not list((tmp_path / "other" / "public").glob("*.json"))

    def test_an_authority_with_a_past(self, national: National, tmp_path: Path) -> None:
        """A new server takes over an authority whose keys have all been replaced since."""
        initialise(tmp_path / "new", dev=False)
        fresh = online_keys_of(tmp_path / "new" / "online-keys.json")
        keys = {role: key_set(1, key) for role, key in fresh.items()}
        replacement = [generate_key("ed25519") for _ in range(3)]
        holders = national.holders
        files = {"1.root.json": holders.chain.roots[0], "1.targets.json": holders.chain.targets,
                 "1.registrar.json": holders.chain.registrar}  # fmt: skip
        done = holders.next(
            now(), {**keys, "targets": key_set(2, *replacement)},
            signers=[*holders.root, *replacement],
        )  # fmt: skip
        files |= {f"2.{role}.json": data for role, data in done.items()}
        folder = tmp_path / "metadata"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        adopted = adopt(DataFolder(tmp_path / "new"), folder)
        assert adopted.read_only is None
        assert "2.root.json" in adopted.files
        # The old server holds none of the new keys: it takes the root and says what is missing.
        adopted = adopt(DataFolder(national.world.root), folder)
        assert adopted.read_only is not None
        assert "snapshot key" in adopted.read_only
        assert (national.public / "2.root.json").exists()


class TestNewRoots:
    def test_a_new_root_is_published_and_announced(self, national: National) -> None:
        newcomer = generate_key("ed25519")
        keys = {"root": key_set(3, *national.holders.root[1:], newcomer)}
        done = national.holders.next(now(), keys, signers=national.holders.root[1:4])
        answer = national.taken(done)
        assert answer["accepted"] == {"root": 2}
        assert (national.public / "2.root.json").read_bytes() == done["root"]
        assert answer["snapshot"] == 2
        events = national.world.registry.audit.newest(1, "role.accept")
        assert events[0].subject == "root"
        sound(national)
        national.send(done, expect=409, code="role-version")
        signers = [newcomer, *national.holders.root[1:]]
        again = national.holders.next(now(), renew=("root",), signers=signers)
        assert national.taken(again)["accepted"] == {"root": 3}

    def test_targets_and_registrar_keys(self, national: National) -> None:
        new_targets = [generate_key("ed25519") for _ in range(3)]
        new_registrar = generate_key("p256")
        keys = {"targets": key_set(2, *new_targets), "registrar": key_set(1, new_registrar)}
        old_registrar = national.holders.registrar[0]
        signers = [*national.holders.root, *new_targets, new_registrar]
        done = national.holders.next(now(), keys, signers=signers)
        accepted = national.taken(done)["accepted"]
        assert accepted == {"root": 2, "targets": 2, "registrar": 2}
        for key, code in ((old_registrar, "verification-failed"), (new_registrar, "role-missing")):
            role = add_organisation(
                national.holders.chain.registrar, "minds-lab",
                OrgProfile(kind="startup", display_name="Minds Lab"),
                [generate_key("p256").public], 1, [key], now(),
            )  # fmt: skip
            # The new key's role is refused for another reason: nobody applied for the name.
            national.send({"registrar": role}, expect=422, code=code)
        sound(national)


def signed_by(*signers: Any) -> Callable[[National], dict[str, bytes]]:
    """A root update with the signatures of fewer than the quorum."""

    def make(national: National) -> dict[str, bytes]:
        done = national.holders.next(now(), renew=("root",))
        root = json.loads(done["root"])
        chosen = {national.holders.root[index].public.keyid for index in signers}
        root["signatures"] = [s for s in root["signatures"] if s["keyid"] in chosen]
        return {"root": json.dumps(root).encode()}

    return make


def resigned(edit: Callable[[Any], object], *, by: str = "root") -> Any:
    """A root that the whole quorum signed, in a form that it should not have signed."""

    def make(national: National) -> dict[str, bytes]:
        metadata = parse_root(national.holders.next(now(), renew=("root",))["root"])
        edit(metadata.signed)
        metadata.signatures.clear()
        for key in [*national.holders.root, STRANGER]:
            metadata.sign(key.tuf_signer, append=True)
        return {"root": metadata.to_bytes()}

    return make


def newcomers_unasked(national: National) -> dict[str, bytes]:
    """The old quorum names keys of people who never signed."""

    def replace_all(root: Any) -> None:
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        for _ in range(3):
            root.add_key(generate_key("ed25519").public.tuf, "root")

    return dict(resigned(replace_all)(national))


def own_root(national: National) -> dict[str, bytes]:
    """Signed by its own keys alone."""

    def replace_all(root: Any) -> None:
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        root.add_key(STRANGER.public.tuf, "root")
        root.roles["root"].threshold = 1

    metadata = parse_root(national.holders.chain.roots[-1])
    metadata.signed.version = 2
    replace_all(metadata.signed)
    metadata.signatures.clear()
    metadata.sign(STRANGER.tuf_signer)
    return {"root": metadata.to_bytes()}


def left_behind(national: National) -> dict[str, bytes]:
    newcomers = [generate_key("ed25519") for _ in range(3)]
    keys = {"targets": key_set(2, *newcomers)}
    done = national.holders.next(now(), keys, signers=[*national.holders.root, *newcomers])
    return {"root": done["root"]}


def registrar_left_behind(national: National) -> dict[str, bytes]:
    key = generate_key("p256")
    done = national.holders.next(
        now(), {"registrar": key_set(1, key)}, signers=[*national.holders.targets, key]
    )
    return {"targets": done["targets"]}


def targets_by(*names: str) -> Callable[[National], dict[str, bytes]]:
    def make(national: National) -> dict[str, bytes]:
        metadata = parse_targets(national.holders.chain.targets, "targets")
        metadata.signed.version = 2
        metadata.signatures.clear()
        for key in {"one": national.holders.targets[:1], "root": national.holders.root}[names[0]]:
            metadata.sign(key.tuf_signer, append=True)
        return {"targets": metadata.to_bytes()}

    return make


def without_registrar(national: National) -> dict[str, bytes]:
    metadata = parse_targets(national.holders.chain.targets, "targets")
    metadata.signed.version = 2
    metadata.signed.delegations = None
    metadata.signatures.clear()
    for key in national.holders.targets:
        metadata.sign(key.tuf_signer, append=True)
    return {"targets": metadata.to_bytes()}


REFUSED: dict[str, tuple[Callable[[National], dict[str, bytes]], int, str]] = {
    "two-of-three": (signed_by(0, 1), 422, "threshold-not-met"),
    "nobody": (signed_by(), 422, "threshold-not-met"),
    "own-keys-alone": (own_root, 422, "threshold-not-met"),
    "newcomers-did-not-sign": (newcomers_unasked, 422, "threshold-not-met"),
    "skipped": (resigned(lambda root: setattr(root, "version", 9)), 409, "role-version"),
    "expired": (
        resigned(lambda root: setattr(root, "expires", now().replace(microsecond=0))),
        422, "expired",
    ),
    "ten-years": (
        resigned(lambda r: setattr(r, "expires", r.expires + timedelta(days=3650))),
        422, "expired",
    ),
    "no-consistent-snapshot": (
        resigned(lambda root: setattr(root, "consistent_snapshot", False)), 422, "root-form",
    ),
    "targets-left-behind": (left_behind, 422, "left-behind"),
    "registrar-left-behind": (registrar_left_behind, 422, "left-behind"),
    "targets-by-one": (targets_by("one"), 422, "threshold-not-met"),
    "targets-by-root": (targets_by("root"), 422, "threshold-not-met"),
    "registrar-dropped": (without_registrar, 422, "chain-broken"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_nothing_changed(national: National, case: str) -> None:
    make, status, check = REFUSED[case]
    before = sorted(path.name for path in national.public.iterdir())
    answer = national.send(make(national), expect=status)
    assert answer.get("check", answer["code"]) == check, answer
    assert sorted(path.name for path in national.public.iterdir()) == before
    assert national.world.registry.publication.read_only is None


class TestOnlineKeys:
    def test_the_server_changes_over_by_itself(self, national: National) -> None:
        old = national.signer_of("timestamp.json")
        other = World(national.world.root, clock=Clock())
        assert other.registry.publication.read_only is None
        fresh = national.fresh_keys()
        assert national.world.registry.publication.refresh() is False  # not before the root says so
        assert national.signer_of("timestamp.json") == old
        national.taken(national.rotation(fresh))
        assert national.signer_of("timestamp.json") == {fresh["timestamp"].keyid}
        assert national.signer_of(national.newest_snapshot()) == {fresh["snapshot"].keyid}
        # Another process, which was not restarted, signs with the new keys too.
        other.clock.ahead = timedelta(hours=13)
        assert other.registry.publication.refresh() is True
        assert national.signer_of("timestamp.json") == {fresh["timestamp"].keyid}
        other.close()
        sound(national)
        listed = CliRunner().invoke(cli, ["keys", "list", str(national.world.root)]).output
        assert len(listed.splitlines()) == 6  # the log's among them
        for role in ("snapshot", "timestamp"):
            lines = [line for line in listed.splitlines() if line.startswith(role)]
            assert [line for line in lines if fresh[role].keyid in line and "  named" in line]
            assert [line for line in lines if "not named by the root" in line]

    def test_read_only_at_once_when_the_root_names_keys_that_are_not_here(
        self, national: National, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = World(national.world.root)
        assert other.registry.publication.read_only is None
        keys = {role: generate_key("ed25519") for role in ("snapshot", "timestamp")}
        before = (national.public / "timestamp.json").read_bytes()
        done = national.rotation({role: key.public for role, key in keys.items()})
        answer = national.taken(done)
        assert answer["accepted"] == {"root": 2}
        assert (national.public / "2.root.json").exists()
        assert (national.public / "timestamp.json").read_bytes() == before
        assert "read-only from now on" in caplog.text
        for registry in (national.world.registry, other.registry):
            why = registry.publication.read_only
            assert why is not None
            assert keys["snapshot"].public.keyid[:12] in why
            assert registry.publication.refresh() is False
        renewal = national.holders.next(now(), renew=("registrar",))
        answer = national.send(renewal, expect=503, code="read-only")
        assert "snapshot key" in answer["detail"]
        assert b"Read-only" in national.client().get("/en/", expect=200)
        # And after a restart: it runs, and says why.
        assert "snapshot key" in (prepare(DataFolder(national.world.root)) or "")
        # The operator brings the keys: no restart, and everything is signed anew.
        for role, key in keys.items():
            path = national.world.root / "keys" / f"{role}-restored.pem"
            path.write_bytes(key.to_pem(None))
        assert other.registry.publication.refresh() is True
        assert national.signer_of("timestamp.json") == {keys["timestamp"].public.keyid}
        assert national.signer_of(national.newest_snapshot()) == {keys["snapshot"].public.keyid}
        assert national.world.registry.publication.read_only is None
        national.taken(renewal)
        other.close()
        sound(national)

    def test_a_read_only_server_takes_the_root_that_frees_it(self, national: National) -> None:
        strangers = {role: generate_key("ed25519").public for role in ("snapshot", "timestamp")}
        national.taken(national.rotation(strangers))
        assert national.world.registry.publication.read_only is not None
        fresh = national.fresh_keys()
        national.taken(national.rotation(fresh))
        assert national.world.registry.publication.read_only is None
        assert national.signer_of("timestamp.json") == {fresh["timestamp"].keyid}
        sound(national)

    def test_keys_taken_away_while_it_runs(self, national: National) -> None:
        fresh = national.fresh_keys()
        done = national.rotation(fresh)
        for path in (national.world.root / "keys").glob("*-*.pem"):
            path.unlink()
        national.taken(done)
        assert "snapshot key" in (national.world.registry.publication.read_only or "")
