"""The operator's commands: init, adopt, run, users, audit; and the schema."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from operators import _own_logging, run
from server_fixtures import (
    ON_SQLITE,
    Client,
    World,
    _fresh_registry,
    client,
    engine_of,
    new_database,
    now,
    sara,
    schema_engine,
    start_server,
    url_of,
    world,
)
from sqlalchemy import text, update

from forge_server.db.migrate import current_revision, migrate
from forge_server.db.models import (
    Base,
    MetadataVersion,
)
from forge_server.db.revisions import newest_revision
from forge_server.db.url import DatabaseUrl
from forge_server.operate import initialise as initialise_module
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.operate.serve import prepare
from forge_server.services.throttle import Throttle
from forge_server.settings import DataFolder
from signing.authority import new_authority
from signing.keys import PublicKey, generate_key
from signing.roles import EXPIRY, parse_signed

__all__ = ["_fresh_registry", "_own_logging", "client", "sara", "world"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestInit:
    def test_dev(self, tmp_path: Path) -> None:
        root, authority = tmp_path / "reg", tmp_path / "reg-authority"
        out = run("init", root, "--dev").stdout
        fingerprint = (root / "root.fingerprint").read_text().strip()
        assert fingerprint in out
        assert mode(root / "keys") == 0o700
        assert mode(authority) == 0o700
        for folder, names in ((root / "keys", ("snapshot", "timestamp")),
                              (authority, ("root", "targets", "registrar"))):  # fmt: skip
            for name in names:
                assert mode(folder / f"{name}.pem") == 0o600
        assert "DEVELOPMENT ONLY" in (authority / "README").read_text()
        assert sorted(p.name for p in (root / "public").glob("*.json")) == [
            "1.registrar.json", "1.root.json", "1.snapshot.json", "1.targets.json",
            "timestamp.json",
        ]  # fmt: skip
        assert sorted(path.name for path in tmp_path.iterdir()) == ["reg", "reg-authority"]
        assert not (root / "root.pem").exists()
        run("check", root)

    @pytest.mark.parametrize("taken", ["reg/x", "reg-authority/x"])
    def test_never_into_what_is_there(self, tmp_path: Path, taken: str) -> None:
        (tmp_path / taken).parent.mkdir()
        (tmp_path / taken).write_text("mine")
        result = run("init", tmp_path / "reg", "--dev", code=1)
        assert "not empty" in result.stderr or "expected nothing" in result.stderr
        assert "Traceback" not in result.stderr
        assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == [
            Path(taken).parent.as_posix(), taken,
        ]  # fmt: skip

    def test_into_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "reg").mkdir()
        run("init", tmp_path / "reg", "--dev")
        run("init", tmp_path / "reg", "--dev", code=1)

    @pytest.mark.parametrize("fails", [False, True], ids=["made", "fails-at-the-end"])
    def test_settings_that_lie_in_the_new_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
    ) -> None:
        own = tmp_path / "reg" / "server.toml"
        own.parent.mkdir()
        own.write_text("scan = false\n")
        if fails:
            own.with_name("other").write_text("came meanwhile")
            monkeypatch.setattr(initialise_module, "require_empty", lambda *_, **__: None)
            result = run("init", tmp_path / "reg", "--settings", own, code=1)
            assert "Traceback" not in result.stderr
            assert sorted(own.parent.iterdir()) == [own.with_name("other"), own]
        else:
            run("init", tmp_path / "reg", "--settings", own)
            assert (tmp_path / "reg" / "online-keys.json").exists()
        assert own.read_text() == "scan = false\n"
        assert list(tmp_path.iterdir()) == [tmp_path / "reg"]

    def test_settings_in_the_new_folder_under_another_name(self, tmp_path: Path) -> None:
        begin = tmp_path / "reg" / "begin.toml"
        begin.parent.mkdir()
        begin.write_text("scan = false\n")
        result = run("init", tmp_path / "reg", "--settings", begin, code=1)
        assert "reg/server.toml" in result.stderr
        assert list(begin.parent.iterdir()) == [begin]

    def test_all_or_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("forge_server.operate.initialise.adopt", fail)
        result = run("init", tmp_path / "reg", "--dev", code=1)
        assert "No space left" in result.stderr
        assert list(tmp_path.iterdir()) == []


class TestAdopt:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        initialise(tmp_path / "reg", dev=False)
        return tmp_path / "reg"

    def metadata(self, root: Path, folder: Path, *, ours: bool = True) -> Path:
        pems = json.loads((root / "online-keys.json").read_text())
        keys = [
            PublicKey.from_pem(pems[role].encode()) if ours else generate_key("ed25519").public
            for role in ("snapshot", "timestamp")
        ]
        folder.mkdir()
        for name, data in new_authority(now(), *keys).metadata.items():
            (folder / name).write_bytes(data)
        return folder

    def test_before_it_the_server_does_not_run(self, root: Path) -> None:
        result = run("run", root, "--port", "0", code=1)
        assert "forge-server adopt" in result.stderr
        assert not (root / "root.fingerprint").exists()

    def test_once_and_again(self, root: Path, tmp_path: Path) -> None:
        metadata = self.metadata(root, tmp_path / "metadata")
        out = run("adopt", root, metadata).stdout
        assert (root / "root.fingerprint").read_text().strip() in out
        run("check", root)
        assert "nothing new" in run("adopt", root, metadata).stderr

    def test_an_authority_that_names_other_keys(self, root: Path, tmp_path: Path) -> None:
        metadata = self.metadata(root, tmp_path / "metadata", ours=False)
        result = run("adopt", root, metadata, code=1)
        assert "snapshot key" in result.stderr
        assert not (root / "root.fingerprint").exists()
        assert not list((root / "public").glob("*.json"))

    def test_another_authority_later(self, root: Path, tmp_path: Path) -> None:
        run("adopt", root, self.metadata(root, tmp_path / "one"))
        result = run("adopt", root, self.metadata(root, tmp_path / "two"), code=1)
        assert "keeps its authority" in result.stderr

    @pytest.mark.parametrize("name", ["1.root.json", "1.targets.json", "1.registrar.json"])
    def test_incomplete_and_altered(self, root: Path, tmp_path: Path, name: str) -> None:
        metadata = self.metadata(root, tmp_path / "metadata")
        good = (metadata / name).read_bytes()
        (metadata / name).unlink()
        assert name in run("adopt", root, metadata, code=1).stderr
        (metadata / name).write_bytes(good.replace(b'"version":1', b'"version":2', 1))
        run("adopt", root, metadata, code=1)
        (metadata / name).write_bytes(b"{}")
        run("adopt", root, metadata, code=1)
        (metadata / name).write_bytes(good)
        run("adopt", root, metadata)

    def test_nothing_there(self, root: Path, tmp_path: Path) -> None:
        assert "found no 1.root.json" in run("adopt", root, tmp_path / "no", code=1).stderr


class TestFreshness:
    def versions(self, world: World) -> tuple[int, int]:
        public = world.root / "public"
        stamp = parse_signed((public / "timestamp.json").read_bytes(), "t", "timestamp").signed
        return stamp.version, stamp.snapshot_meta.version

    def test_signed_again_in_time(self, world: World) -> None:
        publication = world.registry.publication
        assert self.versions(world) == (1, 1)
        assert publication.refresh() is False
        world.clock.ahead = timedelta(minutes=61)
        assert publication.refresh() is True
        assert publication.refresh() is False
        assert self.versions(world) == (2, 1)
        world.clock.ahead = EXPIRY["snapshot"] / 2 + timedelta(minutes=1)
        assert publication.refresh() is True
        assert self.versions(world) == (3, 2)
        assert check_registry(world.registry, deep=True).problems == ()

    def test_two_processes_sign_once(self, world: World) -> None:
        world.clock.ahead = timedelta(minutes=61)
        other = World(world.root, clock=world.clock)
        stale = other.registry.publication
        assert world.registry.publication.refresh() is True
        assert stale.refresh() is False
        other.close()
        assert self.versions(world) == (2, 1)

    def test_hourly_signing_costs_no_space(self, world: World) -> None:
        for hour in range(1, 40):
            world.clock.ahead = timedelta(minutes=61 * hour)
            world.registry.publication.refresh()
        with world.registry.database.read() as session:
            rows = session.query(MetadataVersion).filter_by(role="timestamp").count()
        assert rows <= 2
        assert check_registry(world.registry, deep=True).problems == ()

    def test_a_start_finishes_and_refreshes(self, world: World) -> None:
        with world.registry.database.write() as session:
            session.execute(update(MetadataVersion).values(published_at=None))
        (world.root / "public" / "timestamp.json").unlink()
        world.close()
        assert prepare(DataFolder(world.root)) is None
        run("check", world.root)


class TestUsersAndAudit:
    def test_users_and_tokens(self, world: World) -> None:
        root = world.root
        added = run("user", "add", root, "sara")
        token = added.stdout.strip()
        assert added.stdout == f"{token}\n"
        assert world.registry.accounts.authenticate(token).user == "sara"
        assert "exists" in run("user", "add", root, "sara", code=1).stderr
        assert "lower-case" in run("user", "add", root, "Sara\x1b[31m", code=1).stderr
        assert "sara" in run("user", "list", root).stdout
        second = run("token", "new", root, "sara").stdout.strip()
        assert world.registry.accounts.authenticate(second).user == "sara"
        listed = run("token", "list", root).stdout
        assert len(listed.splitlines()) == 2
        assert token not in listed
        run("token", "revoke", root, "1")
        assert "revoked" in run("token", "list", root, "sara").stdout
        run("token", "revoke", root, "9", code=1)
        run("user", "disable", root, "sara")
        assert "disabled" in run("user", "list", root).stdout
        run("user", "disable", root, "nobody", code=1)

    def test_audit_lines_cannot_be_forged(self, world: World, client: Client) -> None:
        path = "/api/v1/organisations/a%0A2026-01-01T00:00:00Z%20root%20did%20it%1b[31m/members/x"
        client.call("PUT", path, {"role": "reader"}, expect=401)
        lines = run("audit", world.root, "--action", "member.set").stdout.splitlines()
        assert len(lines) == 1
        assert "\x1b" not in lines[0]
        assert "not-authenticated" in lines[0]

    def test_not_a_registry(self, tmp_path: Path) -> None:
        for command in (["check"], ["audit"], ["migrate"], ["run"], ["user", "list"]):
            result = run(*command, tmp_path, code=1)
            assert "forge-server init" in result.stderr
            assert "Traceback" not in result.stderr

    def test_unreadable_keys(self, world: World) -> None:
        (world.root / "keys" / "snapshot.pem").unlink()
        assert "keys" in run("check", world.root, code=1).stderr
        (world.root / "keys" / "snapshot.pem").write_text("rubbish")
        assert "private key" in run("check", world.root, code=1).stderr


class TestSchema:
    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_models_and_migrations_agree(
        self, kind: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        made = new_database(request, kind)
        url = DatabaseUrl.of_file(tmp_path / "x.db") if made is None else DatabaseUrl(made)
        assert migrate(url) == (None, newest_revision())
        assert migrate(url) == (newest_revision(), newest_revision())
        with engine_of(url) as engine, engine.connect() as connection:
            # The index for search is derived, and knows its tables itself.
            options = {
                "compare_type": True,
                "include_object": lambda _, name, *others: not str(name).startswith("search_"),
            }
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Base.metadata) == []

    def test_an_old_schema_does_not_run(self, world: World) -> None:
        world.close()
        with schema_engine(world.root) as engine, engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        assert "forge-server migrate" in run("run", world.root, code=1).stderr

    def test_the_revision_is_known(self, world: World) -> None:
        assert current_revision(url_of(world.root)) == newest_revision()
        assert "nothing to do" in run("migrate", world.root).stderr


class TestRun:
    def test_port_taken(self, world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = run("run", world.root, "--port", port, code=1)
        assert "the port is taken" in result.stderr
        assert "--port" in result.stderr

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_starts_quietly_and_stops(self, world: World, how: int) -> None:
        world.close()
        server = start_server(world.root)
        code = server.stop(how)
        assert code == 0
        text = "".join(server.lines)
        assert (world.root / "root.fingerprint").read_text().strip() in text
        assert "Ctrl-C" in text
        assert len(text.splitlines()) == 3, text

    def test_read_only_is_said(self, world: World) -> None:
        (world.root / "keys" / "snapshot.pem").write_bytes(generate_key("ed25519").to_pem(None))
        world.close()
        server = start_server(world.root)
        server.stop()
        assert "READ-ONLY" in "".join(server.lines)

    def test_the_authority_is_never_opened(self, world: World) -> None:
        """The server runs and publishes without the authority's folder."""
        token = world.user("sara")
        world.organisation(token)
        world.close()
        authority = world.root.with_name(f"{world.root.name}-authority")
        os.rename(authority, authority.with_name("gone"))
        server = start_server(world.root)
        server.stop()
        run("check", world.root)


def test_help_is_quick() -> None:
    """Neither Flask nor SQLAlchemy is imported before a command needs it."""
    code = (
        "import sys, forge_server.manage as m; m.cli.main(['--help'], standalone_mode=False);"
        "print([n for n in ('flask', 'sqlalchemy', 'gunicorn', 'tuf') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@ON_SQLITE
@pytest.mark.parametrize("args", [("stats",), ("user", "add", "sara")], ids=lambda args: args[0])
def test_a_command_imports_only_what_it_needs(args: tuple[str, ...], world: World) -> None:
    """What is here for migrations, for object stores, for other clients and for the web is not
    imported by who counts and adds users; each would cost a tenth of a second."""
    code = (
        "import atexit, sys; from forge_server.manage import main\n"
        "names = lambda: [name for name, module in sys.modules.items() if module is not None]\n"
        "atexit.register(lambda: print(*names(), file=sys.stderr)); main()"
    )
    command, *rest = args
    at = [*rest[:-1], str(world.root), *rest[-1:]] if rest else [str(world.root)]
    done = subprocess.run(
        [sys.executable, "-c", code, command, *at], capture_output=True, text=True, check=True
    )
    loaded = done.stderr.split()
    heavy = {"alembic", "mako", "pygments", "boto3", "botocore", "pkcs11", "flask", "gunicorn"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    unused = ("api", "app", "compat", "operate", "scans", "web", "services.releases")
    parts = tuple(f"forge_server.{part}" for part in unused)
    assert not [name for name in loaded if name.startswith(parts)]


@ON_SQLITE
def test_a_registry_has_one_of_each_service(world: World) -> None:
    """Whoever asks first, and however many ask at once; one that was given stays."""
    registry = world.registry
    start = threading.Barrier(8)

    def ask() -> object:
        start.wait()
        return registry.publication

    with ThreadPoolExecutor(8) as pool:
        made = [each.result() for each in [pool.submit(ask) for _ in range(8)]]
    assert {id(each) for each in made} == {id(registry.publication)}
    changed = registry.differing(throttle=(mine := Throttle(1)))
    assert changed.publication is registry.publication
    assert changed.throttle is mine
    assert registry.throttle is not mine
    with pytest.raises(TypeError, match="no throttel"):
        registry.differing(throttel=mine)
