"""What is PostgreSQL's own: locks between machines, lost connections, words without passwords."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from on_postgresql import _fresh_registry, stranger, terminate
from operators import run
from postgres import PostgresServer, clear_away_dead, name_of, running
from server_fixtures import (
    SERVERS,
    Client,
    World,
    client,
    copy_registry,
    database_url,
    replica,
    sara,
    world,
)
from sqlalchemy import select, text

from forge_server.app import create_app
from forge_server.db import postgresql
from forge_server.db.models import User
from forge_server.db.postgresql import WRITE_LOCK
from forge_server.db.url import DatabaseUrl
from forge_server.errors import RegistryError
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.search.documents import Document
from forge_server.services.callers import OPERATOR
from forge_server.settings import Settings, parse_settings
from signing.errors import MalformedError

__all__ = ["_fresh_registry", "client", "sara", "world"]


def connects(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


class TestUrl:
    @pytest.mark.parametrize(
        "url",
        ["postgresql://sara:secret@db/forge", "postgresql://db/forge?password=secret",
         "postgresql://db/forge?sslmode=require&sslpassword=secret", "postgresql://:secret@/forge",
         "postgresql://sara:@db/forge"],
    )  # fmt: skip
    def test_a_password_is_refused_and_not_repeated(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(RegistryError) as caught:
            parse_settings({"database": url}, tmp_path / "server.toml")
        assert "PGPASSFILE" in caught.value.message
        assert "secret" not in caught.value.message
        with pytest.raises(MalformedError) as refused:
            DatabaseUrl.parse(url, "--database")
        assert "secret" not in refused.value.message
        result = run("init", tmp_path / "reg", "--database", url, code=1)
        assert "secret" not in result.output
        assert not (tmp_path / "reg").exists()

    @pytest.mark.parametrize("url", ["mysql://db/x", "sqlite:///x", "db", "postgresql://[x/", " "])
    def test_other_databases_are_refused(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="postgresql://USER@HOST/NAME"):
            parse_settings({"database": url}, tmp_path / "server.toml")

    def test_empty_is_sqlite(self, tmp_path: Path) -> None:
        assert parse_settings({"database": ""}, tmp_path) == Settings()

    def test_a_password_from_the_environment(
        self, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The password is asked for, found where libpq looks, and never shown."""
        server = postgres_server
        server.execute("CREATE ROLE guarded LOGIN PASSWORD 'rightword'")
        hba = server.folder / "data" / "pg_hba.conf"
        kept = hba.read_text()
        url = server.create().replace("forge@", "guarded@")
        server.execute(f"ALTER DATABASE {name_of(url)} OWNER TO guarded")
        try:
            hba.write_text(f"local all guarded scram-sha-256\n{kept}")
            server.execute("SELECT pg_reload_conf()")
            while connects(url):  # until the server has read it
                pass
            monkeypatch.setenv("PGPASSWORD", "wrongword")
            result = run("init", tmp_path / "reg", "--dev", "--database", url, code=1)
            assert "guarded" in result.stderr
            assert "password" in result.stderr
            assert "wrongword" not in result.output
            assert not (tmp_path / "reg").exists()
            passwords = tmp_path / "pgpass"
            passwords.write_text("*:*:*:guarded:rightword\n")
            passwords.chmod(0o600)
            monkeypatch.delenv("PGPASSWORD")
            monkeypatch.setenv("PGPASSFILE", str(passwords))
            run("init", tmp_path / "reg", "--dev", "--database", url)
            assert "rightword" not in run("check", tmp_path / "reg").output
            opened = World(tmp_path / "reg")
            assert "rightword" not in repr(opened.registry)
            opened.close()
        finally:
            hba.write_text(kept)
            server.execute("SELECT pg_reload_conf()")
            server.drop(url)
            server.execute("DROP ROLE guarded")


class TestInit:
    def test_a_registry_on_postgresql(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        url = postgres_server.create()
        made = run("init", tmp_path / "reg", "--dev", "--database", url)
        assert f"database   {url}" in made.stdout
        assert not (tmp_path / "reg" / "registry.db").exists()
        run("user", "add", tmp_path / "reg", "sara")
        assert "nothing wrong" in run("check", tmp_path / "reg", "--deep").stderr
        assert "nothing to do" in run("migrate", tmp_path / "reg").stderr
        postgres_server.drop(url)

    def test_only_into_an_empty_database(self, world: World, tmp_path: Path) -> None:
        url = database_url(world.root)
        result = run("init", tmp_path / "other", "--database", url, code=1)
        assert "expected an empty database" in result.stderr
        assert not (tmp_path / "other").exists()
        assert check_registry(world.registry, deep=True).problems == ()

    def test_a_failure_leaves_the_database_empty(
        self, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device", "reg")

        url = postgres_server.create()
        with monkeypatch.context() as patch:
            patch.setattr("forge_server.operate.initialise.os.rename", fail)
            with pytest.raises(OSError, match="No space"):
                initialise(tmp_path / "reg", dev=True, database=url)
        initialise(tmp_path / "reg", dev=True, database=url)
        postgres_server.drop(url)

    def test_no_registry_in_the_database(
        self, world: World, postgres_server: PostgresServer
    ) -> None:
        url = postgres_server.create()
        settings = world.root / "server.toml"
        settings.write_text(f'database = "{url}"\n')
        assert "--database" in run("check", world.root, code=1).stderr
        settings.write_text(f'database = "{url.replace(name_of(url), "nowhere", 1)}"\n')
        unknown = run("run", world.root, code=1).stderr
        assert 'database "nowhere" does not exist' in unknown
        assert "Traceback" not in unknown
        settings.write_text('database = "postgresql://forge@/x?host=/nonexistent"\n')
        assert "start PostgreSQL" in run("user", "list", world.root, code=1).stderr
        settings.write_text('database = "postgresql://forge@/x?nonsense=1"\n')
        assert "does not understand" in run("user", "list", world.root, code=1).stderr
        postgres_server.drop(url)

    def test_without_the_driver(self, world: World) -> None:
        code = (
            "import sys; sys.modules['psycopg'] = None; from forge_server.manage import main;"
            f"sys.argv = ['forge-server', 'check', {str(world.root)!r}]; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "national-software-forge[postgresql]" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_driver_is_imported_for_postgresql_alone(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from forge_server.operate.initialise import initialise\n"
            f"initialise(Path({str(tmp_path / 'reg')!r}), dev=True)\n"
            "print('psycopg' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "False"


class TestExtension:
    """Search needs pg_trgm, and says to the operator how to get it."""

    def test_is_created_where_the_account_may(self, world: World) -> None:
        url = database_url(world.root)
        assert url is not None
        query = "SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'"
        assert SERVERS[-1].execute(query, name_of(url)) == [("pg_trgm",)]

    def test_who_may_not_create_it_hears_what_the_owner_runs(
        self, world: World, tmp_path: Path
    ) -> None:
        server = SERVERS[-1]
        name = name_of(server.create())
        server.execute("DROP ROLE IF EXISTS poor")
        server.execute("CREATE ROLE poor LOGIN")
        server.execute("GRANT ALL ON SCHEMA public TO poor", name)
        url = server.url(name, "poor")
        result = run("init", tmp_path / "new", "--dev", "--database", url, code=1)
        assert "expected the extension pg_trgm in the database" in result.stderr
        assert "CREATE EXTENSION pg_trgm" in result.stderr
        assert not (tmp_path / "new").exists()
        server.execute("CREATE EXTENSION pg_trgm", name)
        run("init", tmp_path / "new", "--dev", "--database", url)
        server.drop(url)
        server.execute("DROP ROLE poor")

    def test_where_it_is_not_installed_the_package_is_named(self) -> None:
        class Without:
            """A server whose catalogues hold no such extension."""

            def scalar(self, _: object) -> None:
                return None

        with pytest.raises(RegistryError) as caught:
            postgresql.require_trigrams(Without())  # type: ignore[arg-type]
        assert caught.value.code == "database-lacks-extension"
        assert "postgresql-contrib" in (caught.value.hint or "")


class TestSchema:
    def test_every_text_sorts_by_code_point(self, world: World) -> None:
        with stranger(world) as connection:
            rows = connection.execute(
                "SELECT table_name, column_name, collation_name FROM information_schema.columns "
                "WHERE table_schema = 'public' AND data_type IN ('text', 'character varying') "
                "AND table_name <> 'alembic_version'"
            ).fetchall()
        assert len(rows) > 30
        assert [row for row in rows if row[2] != "C"] == []

    def test_numbers_have_64_bits(self, world: World) -> None:
        with stranger(world) as connection:
            rows = connection.execute(
                "SELECT table_name, column_name FROM information_schema.columns "
                "WHERE table_schema = 'public' AND data_type IN ('integer', 'smallint')"
            ).fetchall()
            assert rows == []
            connection.execute("ALTER SEQUENCE events_id_seq RESTART WITH 3000000000")
        world.user("late")
        assert "late" in {row.name for row in world.registry.accounts.users()}
        assert "late" in {event.subject for event in world.registry.audit.newest(10)}


class TestSessions:
    def test_a_reader_sees_one_moment_and_cannot_write(self, world: World) -> None:
        database = world.registry.database
        with database.read() as session:
            before = session.scalars(select(User.name)).all()
            world.user("meanwhile")
            assert session.scalars(select(User.name)).all() == before
        with pytest.raises(RegistryError), database.read() as session:
            session.execute(text("DELETE FROM users"))
        assert "meanwhile" in {row.name for row in world.registry.accounts.users()}

    def test_writers_of_two_machines_take_turns(self, world: World, tmp_path: Path) -> None:
        """Each reads a number and writes one more; nothing is lost, as it would be without the
        lock, and as it would be were the view from before the wait."""
        other = replica(world, tmp_path / "second")
        with stranger(world) as connection:
            connection.execute("CREATE TABLE counter (value bigint)")
            connection.execute("INSERT INTO counter VALUES (0)")

        def count(registry: World) -> None:
            for _ in range(50):
                with registry.registry.database.write() as session:
                    value = session.scalar(text("SELECT value FROM counter"))
                    session.execute(text("UPDATE counter SET value = :v"), {"v": value + 1})

        threads = [threading.Thread(target=count, args=(each,)) for each in (world, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with stranger(world) as connection:
            assert connection.execute("SELECT value FROM counter").fetchone() == (100,)
            connection.execute("DROP TABLE counter")
        other.close()

    def test_busy(self, world: World, sara: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another process writes for too long: reading goes on, writing says so."""
        built = world.release()
        monkeypatch.setattr(postgresql, "LOCK_TIMEOUT_MS", 50)
        impatient = Client(create_app(world.reopen()).test_client(), sara.token)
        impatient.put_blobs(built)
        with stranger(world) as holder:
            holder.execute(f"SELECT pg_advisory_lock({WRITE_LOCK})")
            impatient.get("/api/v1/components", expect=200)
            answer = impatient.flask.post(
                "/api/v1/releases",
                json=built.body(),
                headers={"Authorization": f"Bearer {sara.token}"},
            )
        assert (answer.status_code, answer.json["code"]) == (503, "busy")
        assert answer.headers["Retry-After"] == "5"
        impatient.publish(built)

    def test_lost_connections_cost_no_request(
        self, world: World, sara: Client, postgres_server: PostgresServer
    ) -> None:
        sara.publish(world.release(version="1.0.0"))
        terminate(world, postgres_server)
        sara.publish(world.release(version="1.1.0"))
        terminate(world, postgres_server)
        sara.get("/api/v1/components", expect=200)

    def test_lost_in_the_middle(
        self, world: World, sara: Client, postgres_server: PostgresServer
    ) -> None:
        built = world.release()
        sara.put_blobs(built)
        together = world.registry.releases.together
        original = together.announce

        def announce(session: Any) -> None:
            original(session)
            terminate(world, postgres_server)

        object.__setattr__(together, "announce", announce)
        answer = sara.post(
            "/api/v1/releases", built.body(), expect=503, code="database-unavailable"
        )
        assert "terminat" not in str(answer)
        object.__setattr__(together, "announce", original)
        sara.publish(built)
        assert check_registry(world.registry, deep=True).problems == ()

    def test_nothing_that_cannot_be_stored_is_a_fault(self, world: World, sara: Client) -> None:
        """PostgreSQL keeps no NUL, and no number of more than 64 bits."""
        for path in (
            "/api/v1/components?q=a%00b",
            "/api/v1/components/minds-lab/a%00b",
            "/api/v1/components/a%00/b",
            "/blobs/%00",
        ):
            answer = sara.flask.get(path)
            assert answer.status_code in (200, 400, 404), (path, answer.status_code)
            answer.close()
        for path in ("/api/v1/blobs/%00", "/api/v1/tokens/99999999999999999999999", "/x%00y"):
            answer = sara.flask.delete(path, headers={"Authorization": f"Bearer {sara.token}"})
            assert answer.status_code in (400, 404, 405), (path, answer.status_code)
            answer.close()
        answer = sara.call("PUT", "/api/v1/blobs/a%00b?component=minds-lab/x", data=b"x")
        assert answer["code"] != "internal"
        subjects = [event.subject for event in world.registry.audit.newest(3)]
        assert "/api/v1/blobs/a\ufffdb" in subjects


class TestServerGone:
    @pytest.fixture
    def own(self) -> Iterator[PostgresServer]:
        with running() as server:
            yield server

    def test_away_and_back(self, own: PostgresServer, tmp_path: Path) -> None:
        """Everything is refused honestly while it is away; nothing needs a restart afterwards."""
        initialise(tmp_path / "reg", dev=True, database=own.create())
        world = World(tmp_path / "reg")
        token = world.user("sara")
        world.organisation(token)
        client = Client(create_app(world.registry).test_client(), token)
        built = world.release()
        own.stop("immediate")
        refused = client.get("/api/v1/components", expect=503, code="database-unavailable")
        assert str(own.folder) not in str(refused)
        parts = client.get("/readyz", expect=503)["parts"]
        assert parts == {"database": False, "published": True, "blobs": True}
        client.post("/api/v1/releases", built.body(), expect=503, code="database-unavailable")
        assert client.text("/tuf/timestamp.json")  # the static plane needs no database
        own.start()
        client.publish(built)
        assert check_registry(world.registry, deep=True).problems == ()
        world.close()


def test_commands_work_on_a_copy(world: World, sara: Client, tmp_path: Path) -> None:
    """All of the operator's commands, on a registry that was moved."""
    sara.publish(world.release())
    world.close()
    root = copy_registry(world.root, tmp_path / "moved")
    for arguments in (
        ("check", root, "--deep"),
        ("check", root, "--finish"),
        ("audit", root),
        ("user", "list", root),
        ("token", "list", root),
        ("keys", "list", root),
        ("keys", "new", root),
        ("worker", root, "--once"),
        ("migrate", root),
    ):
        assert "Traceback" not in run(*arguments).output
    moved = World(root)
    moved.registry.accounts.disable_user(OPERATOR, "sara")
    moved.close()
    assert os.listdir(root / "public")


def test_rows_of_the_search_index_are_narrow(world: World) -> None:
    """A search for a common word visits the rows of most components: their lexemes lie aside."""
    lexemes = frozenset(f"b{'lexeme' * 2}{number}" for number in range(40))
    documents = [
        Document(
            component_id=number, name="n", full_name="o/n", updated=0, size=0, facets="[]",
            shown="{}", lexemes=lexemes, words=frozenset(["word"]), falls_at=None, look_at=None,
        )
        for number in range(1, 301)
    ]  # fmt: skip
    with world.registry.database.write() as session:
        world.registry.index.engine.put(session, documents)
        size, lexemes_size = session.execute(
            text(
                "SELECT pg_relation_size('search_lexemes'), sum(pg_column_size(lexemes)) "
                "FROM search_lexemes"
            )
        ).one()
    assert lexemes_size > 300 * 600
    assert size < 300 * 150


def test_what_a_killed_run_of_the_tests_left_is_cleared_away(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True,
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    for number in (dead, os.getpid(), "x"):
        (tmp_path / f"forge-pg-{number}-1/data").mkdir(parents=True)
    clear_away_dead(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"forge-pg-{os.getpid()}-1", "forge-pg-x-1"}
