"""PostgreSQL: one database for any number of processes and machines.

*Reading*: REPEATABLE READ, READ ONLY. All statements of a transaction see one moment, as a reader
of SQLite does; READ COMMITTED would show a snapshot role from before a publish and the roles from
after it.

*Writing*: the first statement takes an advisory lock that lasts as long as the transaction, so
writers go one after the other wherever they run. READ COMMITTED is what this needs: every
statement takes its view when it begins, so all that follow the lock see whatever the one before
us committed (PostgreSQL makes a commit visible before it lets go of its locks). Under REPEATABLE
READ or SERIALIZABLE the view would be taken by the very statement that waits for the lock, and
would be from before the wait: we would sign on top of a state that is no longer the newest. That
nobody writes beside us makes the weaker level as strong as the strongest.

The lock is the transaction's and not the session's, so a pooler between us and the server that
hands out connections by transaction changes nothing about it.
"""

from __future__ import annotations

from select import POLLIN, poll
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DataError, DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from ..errors import TABLE, RegistryError
from ..logs import LOGGER
from .url import DatabaseUrl

LOCK_TIMEOUT_MS = 30_000
_STATEMENT_TIMEOUT_MS = 60_000
# A process that was stopped in the middle of a transaction must not stop everybody else.
_IDLE_TIMEOUT_MS = 120_000
_HOLDING_TIMEOUT_MS = 600_000  # longer than any witness or store is waited for
_READERS: Final = 16  # connections, opened when they are needed and kept
_QUIET_SECONDS: Final = (
    1.0  # without an answer, after which a connection is tried before it is used
)
_USED: Final = "forge used"
_CONNECT: Final = {
    "connect_timeout": 10,
    # A server that vanished without a word is noticed after a minute, not after two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "forge-server",
}
# Advisory locks are numbers, one space of them for each database: "forge" and what is locked.
WRITE_LOCK: Final = 0x666F7267_65000001
PUBLISH_LOCK: Final = 0x666F7267_65000002
MIGRATE_LOCK: Final = 0x666F7267_65000003
COLLECT_LOCK: Final = 0x666F7267_65000004

_BUSY: Final = frozenset(
    (
        "55P03",  # lock_not_available: lock_timeout
        "57014",  # query_canceled: statement_timeout
        "40001",  # serialization_failure: a standby that could not keep our view
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
    )
)
_GONE: Final = ("08", "57P", "25P03", "25006", "28", "3D")
"""Classes of SQLSTATE: connection lost, server going or coming, our idle transaction ended, a
standby that takes no writes, an account or a database that is no longer there."""


def sessions(url: DatabaseUrl) -> tuple[sessionmaker[Session], sessionmaker[Session]]:
    """(reading, writing) factories; each has connections of its own.

    Raises:
        RegistryError: it cannot be reached (``database-unavailable``), or the driver is not
            installed (``postgresql-missing``).
    """
    readers = _engine(
        url,
        # None beyond those that are kept: each would be opened anew, for a single question.
        pool_size=_READERS,
        max_overflow=0,
        pool_use_lifo=True,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
    )
    require_reachable(url, readers)
    # The writers of a process queue before they ask for a connection, so one is in use.
    writers = _engine(url, pool_size=1, max_overflow=4, isolation_level="READ COMMITTED")

    @event.listens_for(writers, "begin")
    def _began(connection: Any) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")

    return (
        sessionmaker(readers, expire_on_commit=False),
        sessionmaker(writers, expire_on_commit=False),
    )


def engine_for_locks(url: DatabaseUrl) -> Engine:
    """An engine for connections that do nothing but hold a lock."""
    return _engine(
        url, idle_ms=_HOLDING_TIMEOUT_MS, pool_size=1, max_overflow=4,
        isolation_level="READ COMMITTED",
    )  # fmt: skip


def engine_for_migration(url: DatabaseUrl) -> Engine:
    """An engine without limits of time, on which one migration waits for the other."""
    engine = _engine(url, limits=False, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def _began(connection: Any) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATE_LOCK})")

    return engine


def require_reachable(url: DatabaseUrl, engine: Engine) -> None:
    """Establishes that a connection can be had, and says to the operator why not.

    Raises:
        RegistryError: ``database-unavailable`` with the server's reason.
    """
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except SQLAlchemyError as error:
        raise RegistryError(
            "database-unavailable",
            f"{url}: {_reason(error)}",
            "start PostgreSQL, or correct database in server.toml; a password belongs into "
            "~/.pgpass, PGPASSFILE or PGPASSWORD",
        ) from error


def require_trigrams(connection: Connection) -> None:
    """Establishes that the extension pg_trgm is in the database, or can be created there.

    Raises:
        RegistryError: ``database-lacks-extension``, with what the operator does about it.
    """
    there = "SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'"
    known = "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
    may = "SELECT has_database_privilege(current_database(), 'CREATE')"
    if connection.scalar(text(there)) is not None:
        return
    if connection.scalar(text(known)) is None:
        raise RegistryError(
            "database-lacks-extension",
            "PostgreSQL: expected the extension pg_trgm, found it not installed on the server",
            "install it where PostgreSQL runs (it comes with Debian's postgresql; elsewhere the "
            "package is often called postgresql-contrib), then repeat this command",
        )
    if not connection.scalar(text(may)):
        name = connection.scalar(text("SELECT current_database()"))
        raise RegistryError(
            "database-lacks-extension",
            f"PostgreSQL: expected the extension pg_trgm in the database {name}, found none, and "
            "no right to create it",
            f"let the database's owner run: CREATE EXTENSION pg_trgm   (psql {name})",
        )


def refusal_of(error: SQLAlchemyError) -> RegistryError | None:
    """``busy``, ``database-unavailable`` or ``disk-full``; what exactly failed is for the log."""
    if isinstance(error, DataError):  # NUL in a text, a number of more than 64 bits
        return RegistryError("malformed", "request: a character or a number that cannot be stored")
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if isinstance(error, PoolTimeoutError) or state in _BUSY:
        return RegistryError("busy", "the database is in use; try again")
    if state == "53100":  # disk_full
        LOGGER.error("database: %s", _reason(error))
        return RegistryError("disk-full", TABLE["disk-full"].help)
    if isinstance(error, DBAPIError) and _is_lost(error, state):
        LOGGER.error("database: %s", _reason(error))
        return RegistryError(
            "database-unavailable",
            "the database could not be reached, or was lost on the way",
            "the same command again, a little later, says what was done",
        )
    return None


def _is_lost(error: DBAPIError, state: str) -> bool:
    # Without a state it is libpq that speaks, of a connection that it lost or did not get.
    speechless = not state and isinstance(error.orig, _driver().OperationalError)
    return error.connection_invalidated or speechless or state.startswith(_GONE)


def _reason(error: SQLAlchemyError) -> str:
    """The server's or libpq's words on one line. They never hold a password; the statement and
    its parameters, which SQLAlchemy would add, are left out."""
    return " ".join(str(getattr(error, "orig", error)).split())[:300]


def _driver() -> Any:
    """psycopg, which is imported only where a PostgreSQL URL is opened."""
    try:
        import psycopg
    except ImportError as error:
        raise RegistryError(
            "postgresql-missing",
            f"PostgreSQL: expected the driver psycopg, found none ({error})",
            "install national-software-forge[postgresql]",
        ) from error
    return psycopg


def _engine(
    url: DatabaseUrl, *, limits: bool = True, idle_ms: int = _IDLE_TIMEOUT_MS, **options: Any
) -> Engine:
    """An engine whose connections libpq opens from the URL itself."""
    driver = _driver()

    def connect() -> Any:
        try:
            return driver.connect(url.text, **_CONNECT)
        except driver.ProgrammingError:  # a URL that libpq does not take; its words repeat it
            raise driver.OperationalError("libpq does not understand this URL") from None

    if options.get("poolclass") is None:
        options.update(pool_timeout=30, pool_recycle=3600)
    engine = create_engine("postgresql+psycopg://", creator=connect, **options)

    times = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "statement_timeout": _STATEMENT_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": idle_ms,
    }
    # The server, too, notices when we vanish, and frees our locks.
    session = {
        "tcp_keepalives_idle": 30,
        "tcp_keepalives_interval": 10,
        "tcp_keepalives_count": 3,
        **{name: value if limits else 0 for name, value in times.items()},
    }

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"SET {name} = {value}" for name, value in session.items()))
            # A receipt must still be true after a power cut; a stronger setting is left alone.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
        connection.commit()

    @event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: Any, _proxy: Any) -> None:
        # A restart of the server costs no request its answer.
        now = monotonic()
        if not _is_alive(connection, now - record.info.get(_USED, -_QUIET_SECONDS)):
            raise InvalidatePoolError("the connection is gone, and those of its time with it")
        record.info[_USED] = now

    @event.listens_for(engine, "checkin")
    def _given_back(_connection: Any, record: Any) -> None:
        record.info[_USED] = monotonic()

    return engine


def _is_alive(connection: Any, idle_seconds: float) -> bool:
    """Whether the server still answers on a connection that was not used for so long.

    A server that ends says so and hangs up: then there is something to read where nothing was asked
    for, which the kernel knows without a round trip. One that vanished says nothing; who was
    answered a moment ago is not asked again."""
    driver = _driver()
    try:
        waiting = poll()
        waiting.register(connection.fileno(), POLLIN)
        if waiting.poll(0) or idle_seconds >= _QUIET_SECONDS:
            connection.execute("SELECT 1")
            connection.rollback()
    except (driver.Error, OSError, ValueError):
        return False
    return True
