"""Logging in with somebody's approval on another machine, and who might misuse that."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from server_fixtures import World, _fresh_registry, copied_world
from sqlalchemy import select
from werkzeug.test import TestResponse

from forge_server.app import create_app
from forge_server.db.login_models import DeviceCode
from forge_server.domain.scopes import ACTIONS
from forge_server.services.callers import OPERATOR
from forge_server.services.device_logins import LIFE, PER_ADDRESS, TOKEN_DAYS

__all__ = ["_fresh_registry"]

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
LANGUAGES = ("ar", "fr", "zgh", "en")
ADDRESSES = count(1)


@dataclass
class Desk:
    """A registry with two users; each test comes from an address of its own, so that nobody's
    failures count against another."""

    world: World
    flask: FlaskClient
    sara: str
    omar: str
    address: str = "192.0.2.1"

    def send(self, method: str, path: str, **options: Any) -> TestResponse:
        return self.flask.open(
            path, method=method, environ_overrides={"REMOTE_ADDR": self.address}, **options
        )

    def ask(self, path: str = "/oauth/device", **form: str) -> dict[str, Any]:
        response = self.send("POST", path, data={"client_id": "forge", **form})
        assert response.status_code == 200, response.data
        assert response.headers["Cache-Control"] == "no-store"
        found: dict[str, Any] = response.get_json()
        return found

    def poll(self, asked: dict[str, Any], path: str = "/oauth/token") -> dict[str, Any]:
        form = {"grant_type": GRANT, "client_id": "x", "device_code": asked["device_code"]}
        response = self.send("POST", path, data=form)
        found: dict[str, Any] = response.get_json()
        assert response.status_code == (200 if "access_token" in found else 400)
        assert response.headers["Cache-Control"] == "no-store"
        return found

    def decide(self, asked: dict[str, Any], token: str, decision: str = "approve") -> TestResponse:
        return self.send(
            "POST", f"/api/v1/logins/{asked['user_code']}", json={"decision": decision},
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip

    def whoami(self, token: str, path: str = "/api/v1/whoami") -> dict[str, Any]:
        response = self.send("GET", path, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 200, response.data
        found: dict[str, Any] = response.get_json()
        return found

    def token(self, *actions: str, user: str = "sara") -> str:
        return self.world.token(user, actions)


@pytest.fixture(scope="module")
def built(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    worlds = copied_world(_fresh_registry, tmp_path_factory.mktemp("logins"))
    world = next(worlds)
    sara, omar = world.user("sara"), world.user("omar")
    yield Desk(world, create_app(world.registry).test_client(), sara, omar)
    next(worlds, None)


@pytest.fixture
def desk(built: Desk) -> Iterator[Desk]:
    built.address = f"198.51.100.{next(ADDRESSES)}"
    built.world.clock.stop()
    yield built
    built.world.clock.go_on()


def test_a_program_gets_a_token_once_somebody_approved_it(desk: Desk) -> None:
    asked = desk.ask(scope="read publish", device_name="ws-12")
    assert asked["verification_uri"] == "http://localhost/login"
    assert asked["verification_uri_complete"].endswith(f"?user_code={asked['user_code']}")
    assert (asked["expires_in"], asked["interval"]) == (600, 5)
    assert desk.poll(asked)["error"] == "authorization_pending"
    shown = desk.decide(asked, desk.sara).get_json()
    assert (shown["device"], shown["address"]) == ("ws-12", desk.address)
    assert shown["actions"] == ["publish", "read"]
    given = desk.poll(asked)
    assert given["token_type"] == "Bearer"
    assert given["scope"] == "publish read"
    assert given["expires_in"] == pytest.approx(TOKEN_DAYS * 86400, abs=60)
    about = desk.whoami(given["access_token"])
    assert about["user"] == "sara"
    assert about["token"]["scopes"] == ["publish", "read"]
    assert about["token"]["name"].startswith("forge login on ws-12, 20")
    assert desk.poll(asked)["error"] == "invalid_grant", "a code brings one token"
    listed = desk.whoami(desk.sara, "/api/v1/tokens")["tokens"]
    assert about["token"]["id"] in {row["id"] for row in listed}, "and can be revoked there"


def test_a_hub_client_gets_no_more_than_reading(desk: Desk) -> None:
    asked = desk.ask("/hf/oauth/device", scope="manage publish", device_name="x")
    desk.decide(asked, desk.sara)
    given = desk.poll(asked, "/hf/oauth/token")
    about = desk.whoami(given["access_token"], "/hf/api/whoami-v2")
    assert about["auth"]["accessToken"]["role"] == "read"
    assert about["auth"]["accessToken"]["displayName"].startswith("hf login, 20")
    assert desk.whoami(given["access_token"])["token"]["scopes"] == ["read"]
    assert desk.decide(desk.ask(), given["access_token"]).get_json()["code"] == "scope-missing"


def test_what_is_stored_logs_nobody_in(desk: Desk) -> None:
    asked = desk.ask()
    with desk.world.registry.database.read() as session:
        (row,) = session.scalars(
            select(DeviceCode).where(DeviceCode.user_code == asked["user_code"].replace("-", ""))
        )
        values = {str(getattr(row, column.name)) for column in DeviceCode.__table__.columns}
    assert not any(asked["device_code"] in value for value in values)
    assert desk.poll(asked | {"device_code": row.digest})["error"] == "invalid_grant"


def test_refused(desk: Desk) -> None:
    asked = desk.ask()
    assert desk.decide(asked, desk.sara, "refuse").status_code == 200
    assert desk.poll(asked)["error"] == "access_denied"
    (event,) = desk.world.registry.audit.newest(1, "login.take")
    assert event.outcome == "login-denied"
    assert desk.decide(asked, desk.sara).get_json()["code"] == "login-decided"


def test_decided_once(desk: Desk) -> None:
    asked = desk.ask()
    assert desk.decide(asked, desk.sara).status_code == 200
    assert desk.decide(asked, desk.sara).status_code == 200, "the same again"
    for token, decision in ((desk.omar, "approve"), (desk.omar, "refuse"), (desk.sara, "refuse")):
        answer = desk.decide(asked, token, decision)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "login-decided")
    assert desk.whoami(desk.poll(asked)["access_token"])["user"] == "sara"
    assert desk.decide(asked, desk.sara).status_code == 200, "still no second token"
    assert desk.poll(asked)["error"] == "invalid_grant"


def at_once(*tasks: Any) -> list[Any]:
    """What each task answers, all begun together."""
    barrier, answers = threading.Barrier(len(tasks)), [None] * len(tasks)

    def run(at: int) -> None:
        barrier.wait()
        answers[at] = tasks[at]()

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_two_people_at_once_one_decides_and_of_many_polls_one_gets_the_token(
    desk: Desk,
) -> None:
    asked = desk.ask()
    app = create_app(desk.world.registry)

    def approve(token: str) -> int:
        return app.test_client().post(
            f"/api/v1/logins/{asked['user_code']}", json={"decision": "approve"},
            headers={"Authorization": f"Bearer {token}"},
        ).status_code  # fmt: skip

    def poll() -> str:
        form = {"grant_type": GRANT, "device_code": asked["device_code"]}
        found = app.test_client().post("/oauth/token", data=form).get_json()
        return "token" if "access_token" in found else str(found["error"])

    assert sorted(at_once(lambda: approve(desk.sara), lambda: approve(desk.omar))) == [200, 409]
    assert sorted(at_once(*[poll] * 6)) == ["invalid_grant"] * 5 + ["token"]


def test_time_is_up_to_the_second(desk: Desk) -> None:
    early, late, unfetched = desk.ask(), desk.ask(), desk.ask()
    desk.world.clock.ahead = LIFE - timedelta(microseconds=1)
    assert desk.decide(early, desk.sara).status_code == 200
    assert desk.decide(unfetched, desk.sara).status_code == 200
    assert "access_token" in desk.poll(early)
    assert desk.poll(late)["error"] == "authorization_pending"
    desk.world.clock.ahead = LIFE
    answer = desk.decide(late, desk.sara)
    assert (answer.status_code, answer.get_json()["code"]) == (410, "login-expired")
    assert desk.poll(late)["error"] == "expired_token"
    assert desk.poll(unfetched)["error"] == "expired_token"
    page = desk.send("GET", f"/en/login?user_code={late['user_code']}")
    assert page.status_code == 410
    assert b"too old" in page.data
    desk.world.clock.ahead = LIFE + timedelta(days=1, seconds=1)
    desk.ask()
    assert desk.poll(late)["error"] == "invalid_grant", "forgotten"


def test_nobody_approves_more_than_they_may(desk: Desk) -> None:
    asked = desk.ask(scope="publish read")
    for token, code in (
        (desk.token("publish", "read"), "scope-missing"),
        (desk.token("manage", "read"), "scope-exceeded"),
        (desk.world.token("sara", ACTIONS, organisation="minds-lab"), "scope-missing"),
    ):
        answer = desk.decide(asked, token)
        assert (answer.status_code, answer.get_json()["code"]) == (403, code)
    nobodys = desk.decide({"user_code": "BBBB-BBBB"}, desk.sara)
    assert (nobodys.status_code, nobodys.get_json()["code"]) == (404, "login-not-found")
    assert desk.decide(asked, "forge_x").status_code == 401
    assert desk.send("POST", f"/api/v1/logins/{asked['user_code']}").status_code == 401
    assert desk.poll(asked)["error"] == "authorization_pending"


@pytest.mark.parametrize("how", ["revoked", "disabled"])
def test_who_approved_must_still_be_there(desk: Desk, how: str) -> None:
    user = f"left-{how}"
    token = desk.world.user(user)
    asked = desk.ask()
    desk.decide(asked, token)
    if how == "disabled":
        desk.world.registry.accounts.disable_user(OPERATOR, user)
    else:
        number = desk.whoami(token)["token"]["id"]
        desk.world.registry.accounts.revoke_token(OPERATOR, number)
    assert desk.poll(asked)["error"] == "access_denied"


@pytest.mark.parametrize("way", ["page", "form", "api"])
def test_guessing_codes_ends_soon_also_with_a_token(desk: Desk, way: str) -> None:
    asked = desk.ask()
    headers = {"Authorization": f"Bearer {desk.sara}"}

    def guess(code: str) -> int:
        if way == "page":
            return desk.send("GET", f"/en/login?user_code={code}").status_code
        if way == "form":
            form = {"user_code": code, "token": desk.sara, "decision": "approve"}
            return desk.send("POST", "/en/login", data=form).status_code
        return desk.send("GET", f"/api/v1/logins/{code}", headers=headers).status_code

    limit = desk.world.registry.settings.max_failures_per_minute
    assert [guess(f"BBBB-BB{a}{b}") for a in "BCDFGH" for b in "BCDFG"] == [404] * limit
    assert guess("BBBB-BBZZ") == 429
    assert guess(asked["user_code"]) == 429, "nor is the right one answered"
    assert desk.decide(asked, desk.sara).status_code == 429
    desk.world.clock.ahead = timedelta(minutes=1, seconds=1)
    assert guess(asked["user_code"]) == 200


def test_guessing_tokens_on_the_page_ends_soon(desk: Desk) -> None:
    asked = desk.ask()
    form = {"user_code": asked["user_code"], "token": "forge_wrong", "decision": "approve"}
    limit = desk.world.registry.settings.max_failures_per_minute
    answers = [desk.send("POST", "/en/login", data=form).status_code for _ in range(limit + 1)]
    assert answers == [401] * limit + [429]


def test_few_may_wait_at_a_time(desk: Desk) -> None:
    for _ in range(PER_ADDRESS):
        desk.ask()
    answer = desk.send("POST", "/oauth/device", data={"client_id": "forge"})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 601
    assert answer.get_json()["error"] == "slow_down"
    desk.address = "203.0.113.77"
    desk.ask()


def test_who_has_a_network_of_ipv6_may_have_no_more(desk: Desk) -> None:
    for number in range(PER_ADDRESS):
        desk.address = f"2001:db8:0:7::{number:x}"
        desk.ask()
    desk.address = "2001:db8:0:7:ffff::1"
    assert desk.send("POST", "/oauth/device", data={"client_id": "forge"}).status_code == 429
    limit = desk.world.registry.settings.max_failures_per_minute
    for number in range(limit):
        desk.address = f"2001:db8:0:9:{number:x}::1"
        assert desk.send("GET", "/en/login?user_code=BBBBBBBB").status_code == 404
    desk.address = "2001:db8:0:9:ffff::1"
    assert desk.send("GET", "/en/login?user_code=BBBBBBBB").status_code == 429


def test_who_asks_too_often_is_told_so_and_not_refused(desk: Desk) -> None:
    asked = desk.ask()
    answers = [desk.poll(asked)["error"] for _ in range(20)]
    assert answers[0] == "authorization_pending"
    assert answers[-1] == "slow_down"
    desk.world.clock.ahead = timedelta(seconds=10)
    assert desk.poll(asked)["error"] == "authorization_pending"
    desk.decide(asked, desk.sara)
    assert "access_token" in desk.poll(asked)


@pytest.mark.parametrize("prefix", ["/oauth", "/hf/oauth"])
def test_errors_are_those_of_oauth(desk: Desk, prefix: str) -> None:
    code = {"grant_type": GRANT, "device_code": "x"}
    for path, form, status, error in (
        ("device", {}, 411, "invalid_request"),
        ("device", {"scope": "read"}, 400, "invalid_request"),
        ("device", {"client_id": ["a", "b"]}, 400, "invalid_request"),
        ("token", {"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        ("token", {"grant_type": GRANT}, 400, "invalid_request"),
        ("token", code, 400, "invalid_grant"),
        ("token", code | {"device_code": "x" * 20_000}, 413, "invalid_request"),
    ):
        answer = desk.send("POST", f"{prefix}/{path}", data=form)
        assert (answer.status_code, answer.get_json()["error"]) == (status, error), form
        assert answer.headers["Cache-Control"] == "no-store"
        assert "x" * 200 not in answer.get_data(as_text=True)
    assert desk.send("POST", f"{prefix}/token", json=code).status_code == 400, "no form"
    for method in ("GET", "HEAD", "PUT"):
        assert desk.send(method, f"{prefix}/token").status_code == 405


def test_scopes_and_names_that_are_none(desk: Desk) -> None:
    for form in ({"scope": "everything"}, {"device_name": "Security desk: approve now"}):
        answer = desk.send("POST", "/oauth/device", data={"client_id": "forge", **form})
        assert answer.status_code == 400
        assert answer.get_json()["error"] == "invalid_request"


class TestThePage:
    def test_leads_to_the_readers_language(self, desk: Desk) -> None:
        answer = desk.send("GET", "/login?user_code=WDJB-MJHT&x=y",
                           headers={"Accept-Language": "fr"})  # fmt: skip
        assert answer.status_code == 302
        assert answer.headers["Location"] == "/fr/login?user_code=WDJB-MJHT"

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_says_who_asks_and_for_what(self, desk: Desk, language: str) -> None:
        asked = desk.ask(scope="manage", device_name="ws-13")
        page = desk.send("GET", f"/{language}/login?user_code={asked['user_code'].lower()}")
        text = page.get_data(as_text=True)
        assert page.status_code == 200
        assert page.headers["Cache-Control"] == "no-store"
        for part in (asked["user_code"], desk.address, "ws-13", "forge login on ws-13"):
            assert part in text
        assert asked["device_code"] not in text
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]

    def test_approves_and_refuses_with_a_token_that_it_forgets(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        for decision, outcome in (("approve", "access_token"), ("refuse", "error")):
            asked = desk.ask()
            form = {"user_code": asked["user_code"], "token": f" {desk.sara}\n"}
            page = desk.send("POST", "/en/login", data=form | {"decision": decision})
            assert page.status_code == 200
            assert page.headers["Cache-Control"] == "no-store"
            assert desk.sara not in page.get_data(as_text=True)
            assert desk.sara not in str(page.headers)
            assert outcome in desk.poll(asked)
        assert desk.sara not in caplog.text
        events = desk.world.registry.audit.newest(50)
        assert {"login.approve", "login.refuse"} <= {event.action for event in events}
        assert desk.sara not in str(events)

    @pytest.mark.parametrize("token", ["", "forge_x", "OTHER", "WEAK"])
    def test_without_a_good_token_nothing_is_decided(self, desk: Desk, token: str) -> None:
        """Another site can send the form, but not a token of its visitor's: there is no cookie
        that would go along."""
        asked = desk.ask()
        given = {"OTHER": "forge_" + "a" * 58, "WEAK": desk.token("read")}.get(token, token)
        form = {"user_code": asked["user_code"], "token": given, "decision": "approve"}
        page = desk.send("POST", "/en/login", data=form)
        assert page.status_code == (403 if token == "WEAK" else 401)
        assert b"Nothing was decided" in page.data
        assert asked["user_code"].encode() in page.data, "it can be tried again"
        assert desk.poll(asked)["error"] == "authorization_pending"
        (event,) = desk.world.registry.audit.newest(1, "login.decide")
        assert event.outcome == ("scope-missing" if token == "WEAK" else "token-invalid")

    def test_refuses_what_is_no_form_of_it(self, desk: Desk) -> None:
        asked = desk.ask()
        form = {"user_code": asked["user_code"], "token": desk.sara}
        assert desk.send("POST", "/en/login", data=form).status_code == 400
        big = form | {"decision": "approve", "x": "x" * 20_000}
        assert desk.send("POST", "/en/login", data=big).status_code == 413
        in_address = f"/en/login?user_code={asked['user_code']}&token={desk.sara}"
        assert desk.send("GET", in_address).status_code == 400
        assert desk.poll(asked)["error"] == "authorization_pending"

    def test_shows_no_words_of_the_address(self, desk: Desk) -> None:
        page = desk.send("GET", "/en/login?user_code=%3Cscript%3Ealert(1)%3C/script%3E")
        assert page.status_code == 404
        assert b"<script>alert" not in page.data
        assert desk.send("HEAD", "/en/login").status_code == 200
