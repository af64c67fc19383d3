"""`forge login` with an approval on another machine, against a registry in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cli_fixtures import Forge
from forge_client import forge
from server_fixtures import World
from sqlalchemy import select
from werkzeug.serving import make_server

from forge_cli.context import Context
from forge_cli.errors import NetworkError
from forge_cli.flows import device_login
from forge_cli.remote.http import Http
from forge_server.app import create_app
from forge_server.db.login_models import DeviceCode
from forge_server.operate.initialise import initialise
from forge_server.services.callers import Caller

__all__ = ["forge"]


@dataclass
class Site:
    """A registry, and what happens while a program waits; ``pauses`` are how long it did."""

    world: World
    url: str
    token: str
    pauses: list[float] = field(default_factory=list)

    @property
    def arguments(self) -> list[str]:
        return ["login", self.url, "--fingerprint", self.world.registry.fingerprint or ""]

    def newest_code(self) -> str:
        with self.world.registry.database.read() as session:
            return session.scalars(
                select(DeviceCode.user_code).order_by(DeviceCode.id.desc())
            ).first() or ""  # fmt: skip

    def decide(self, *, approve: bool = True) -> None:
        identity = self.world.registry.accounts.authenticate(self.token)
        self.world.registry.device_logins.decide(
            Caller(identity=identity), self.newest_code(), approve=approve
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("login") / "reg"
    initialise(root, dev=True, database=None)
    world = World(root)
    token = world.user("sara")
    server = make_server("127.0.0.1", 0, create_app(world.registry), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Site(world, f"http://127.0.0.1:{server.server_port}", token)
    server.shutdown()
    thread.join()
    server.server_close()
    world.close()


@pytest.fixture
def site(built: Site) -> Iterator[Site]:
    built.pauses.clear()
    yield built
    built.world.clock.ahead = timedelta()


@pytest.fixture
def meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what happens in the first pause, the second, and so on; nothing after the last."""

    def happens(*events: Callable[[], object]) -> None:
        left = list(events)

        def pause(seconds: float) -> None:
            site.pauses.append(seconds)
            assert len(site.pauses) < 100
            if left:
                left.pop(0)()

        monkeypatch.setattr(device_login, "pause", pause)

    return happens


def nothing() -> None:
    pass


def test_a_code_is_shown_and_the_token_kept(
    forge: Forge, site: Site, meanwhile: Callable[..., None]
) -> None:
    meanwhile(nothing, site.decide)
    ran = forge.ok(*site.arguments, "--device", "--quiet")
    code = site.newest_code()
    assert f"forge login --approve {code[:4]}-{code[4:]}" in ran.err, "also with --quiet"
    assert f"{site.url}/login?user_code={code[:4]}-{code[4:]}" in ran.err
    assert site.pauses == [5, 5]
    about = forge.ok("whoami", "--json").json
    assert about["user"] == "sara"
    assert about["token"]["scopes"] == ["publish", "read"]
    assert "forge_" not in ran.out + ran.err


def test_on_a_terminal_an_empty_line_is_enough(
    forge: Forge, site: Site, meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "interactive", True)
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "")
    meanwhile(site.decide)
    ran = forge.ok(*site.arguments, "--action", "manage")
    assert "press Enter" in ran.err
    assert forge.ok("whoami", "--json").json["token"]["scopes"] == ["manage"]


def test_refused_and_too_late(forge: Forge, site: Site, meanwhile: Callable[..., None]) -> None:
    def too_late() -> None:
        site.world.clock.ahead = timedelta(minutes=10)

    for event, word in ((lambda: site.decide(approve=False), "refused"), (too_late, "in time")):
        meanwhile(event)
        ran = forge(*site.arguments, "--device")
        assert ran.code == 4
        assert word in ran.err
        site.world.clock.ahead = timedelta()
        assert forge("whoami").code == 4, "nothing was kept"


def test_who_is_told_to_slow_down_does(
    forge: Forge, site: Site, meanwhile: Callable[..., None]
) -> None:
    meanwhile(*[nothing] * 15, site.decide)
    forge.ok(*site.arguments, "--device")
    assert site.pauses == [5] * 14 + [10, 15]


def test_a_line_that_breaks_for_a_moment_ends_no_login(
    forge: Forge,
    site: Site,
    meanwhile: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = Http.open, [True]

    def sometimes(self: Http, method: str, url: str, **options: Any) -> Any:
        if url.endswith("/oauth/token") and broken:
            broken.pop()
            raise NetworkError("no answer")
        return whole(self, method, url, **options)

    monkeypatch.setattr(Http, "open", sometimes)
    meanwhile(site.decide)
    forge.ok(*site.arguments, "--device")
    assert site.pauses == [5, 5]


def test_an_answer_that_was_lost_is_told(
    forge: Forge, site: Site, meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token went to nobody; it can be revoked, and never comes again."""

    def taken() -> None:
        site.decide()
        with site.world.registry.database.write() as session:
            row = session.scalars(select(DeviceCode).order_by(DeviceCode.id.desc())).first()
            assert row is not None
            row.taken_at = site.world.clock()

    meanwhile(taken)
    ran = forge(*site.arguments, "--device")
    assert ran.code == 4
    assert "forge token list" in ran.err


def test_a_registry_that_cannot_do_it(
    forge: Forge, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.ok("trust", "add", *site.arguments[1:])
    monkeypatch.setattr(device_login, "DEVICE_PATH", "/nothing-of-that-sort")
    ran = forge("login", site.url, "--device")
    assert ran.code == 5
    assert "--token-file" in ran.err


@pytest.mark.parametrize("option", ["--approve", "--refuse"])
def test_deciding_shows_who_asks(forge: Forge, site: Site, option: str) -> None:
    (forge.place / "t").write_text(site.token)
    forge.ok(*site.arguments, "--token-file", "t")
    asked = site.world.registry.device_logins.ask(
        Caller(address="192.0.2.7"), "hub", ["read"], "ws-12"
    )
    ran = forge.ok("login", option, asked.user_code.lower())
    for part in ("192.0.2.7", "read", "Hugging Face", "ws-12", asked.user_code, "yourself"):
        assert part in ran.err
    assert forge.ok("login", option, asked.user_code, "--json").json["approved"] is (
        option == "--approve"
    )


def test_what_makes_no_sense(forge: Forge, site: Site) -> None:
    for arguments in (
        ("login", site.url, "--approve", "WDJBMJHT", "--refuse", "WDJBMJHT"),
        ("login", site.url, "--approve", "WDJBMJHT", "--device"),
        ("login", site.url, "--device", "--token-file", "t"),
        ("login",),
    ):
        assert forge(*arguments).code == 2, arguments
    forge.ok("trust", "add", *site.arguments[1:])
    assert forge("login", site.url, "--approve", "WDJBMJHT").code == 4, "not logged in"


def test_nobody_who_says_no_approves(
    forge: Forge, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (forge.place / "t").write_text(site.token)
    forge.ok(*site.arguments, "--token-file", "t")
    asked = site.world.registry.device_logins.ask(Caller(), "forge", ["read"], None)
    monkeypatch.setattr(Context, "interactive", True)
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    ran = forge("login", "--approve", asked.user_code)
    assert ran.code == 4
    assert site.world.registry.device_logins.show(asked.user_code).approved is None
