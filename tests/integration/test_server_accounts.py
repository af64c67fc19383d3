"""Tokens, scopes and members through the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from server_fixtures import (  # noqa: F401
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    world,
)

from forge_server.services.callers import OPERATOR


def test_whoami_says_who_and_what_for(sara: Client) -> None:
    answer = sara.get("/api/v1/whoami", expect=200)
    assert answer["user"] == "sara"
    assert answer["token"]["scopes"] == ["publish", "read", "manage", "inventory"]
    assert answer["organisations"] == [{"name": ORG, "role": "owner"}]


class TestBadTokens:
    def test_none(self, client: Client) -> None:
        client.get("/api/v1/whoami", expect=401, code="not-authenticated")

    @pytest.mark.parametrize(
        "header", ["Bearer forge_x", "Bearer ", "Basic c2FyYTp4", "forge_" + "a" * 58, "Bearer",
                   "Bearer " + "x" * 5000, "Bearer ' OR 1=1 --"],
    )  # fmt: skip
    def test_not_one_of_ours(self, client: Client, header: str) -> None:
        headers = {"Authorization": header}
        answer = client.get("/api/v1/whoami", headers=headers, expect=401, code="token-invalid")
        assert "x" * 20 not in str(answer)

    def test_well_formed_but_unknown(self, world: World, client: Client) -> None:
        from forge_server.domain.tokens import new_token

        client.token = new_token(bytes(32))
        answer = client.get("/api/v1/whoami", expect=401, code="token-invalid")
        assert client.token not in str(answer)

    def test_expired(self, world: World, sara: Client) -> None:
        world.clock.ahead = timedelta(days=31)
        sara.get("/api/v1/whoami", expect=401, code="token-expired")

    def test_revoked(self, world: World, sara: Client) -> None:
        mine = sara.get("/api/v1/whoami")["token"]["id"]
        sara.call("DELETE", f"/api/v1/tokens/{mine}", expect=200)
        sara.get("/api/v1/whoami", expect=401, code="token-revoked")

    def test_disabled_account(self, world: World, sara: Client) -> None:
        world.registry.accounts.disable_user(OPERATOR, "sara")
        sara.get("/api/v1/whoami", expect=403, code="account-disabled")

    @pytest.mark.parametrize("place", ["/api/v1/whoami?token={}", "/{}", "/blobs/{}"])
    def test_in_an_address(self, sara: Client, place: str) -> None:
        token = sara.token or ""
        answer = sara.call("GET", place.format(token))
        assert token not in str(answer)
        sara.get(f"/api/v1/components?q={token}", expect=400, code="token-in-url")

    def test_a_bad_token_is_refused_where_none_is_needed(self, client: Client) -> None:
        headers = {"Authorization": "Bearer forge_bad"}
        path = f"/api/v1/organisations/{ORG}"
        client.get(path, headers=headers, expect=401, code="token-invalid")

    def test_guessing_becomes_slow(self, world: World, client: Client) -> None:
        world.clock.stop()
        for _ in range(world.registry.settings.max_failures_per_minute):
            client.get("/api/v1/whoami", headers={"Authorization": "Bearer forge_guess"})
        answer = client.get(
            "/api/v1/whoami", headers={"Authorization": "Bearer forge_guess"},
            expect=429, code="too-many-failures",
        )  # fmt: skip
        assert 0 < answer["retry_after_seconds"] <= 61
        world.clock.ahead = timedelta(minutes=2)
        client.get("/api/v1/whoami", headers={"Authorization": "Bearer x"}, code="token-invalid")


class TestTokens:
    def test_create_list_use_revoke(self, world: World, sara: Client) -> None:
        body = {"name": "ci", "actions": ["publish"], "component": f"{ORG}/my-model",
                "organisation": None, "expires_in_days": 7}  # fmt: skip
        made = sara.post("/api/v1/tokens", body, expect=201)
        Client(sara.flask, made["token"]).get("/api/v1/whoami", expect=200)
        rows = sara.get("/api/v1/tokens", expect=200)["tokens"]
        row = rows[-1]
        assert row["name"] == "ci"
        assert row["component"] == f"{ORG}/my-model"
        assert row["organisation"] == ORG
        assert row["last_used_at"] is not None
        assert made["token"] not in str(rows)
        sara.call("DELETE", f"/api/v1/tokens/{made['id']}", expect=200)
        sara.call("DELETE", f"/api/v1/tokens/{made['id']}", expect=200)
        assert sara.get("/api/v1/tokens")["tokens"][-1]["revoked_at"] is not None

    def test_only_the_hash_is_stored(self, world: World, sara: Client) -> None:
        token = (sara.token or "").encode()
        files = [path for path in world.root.rglob("*") if path.is_file()]
        assert not any(token in path.read_bytes() for path in files)

    def test_last_use_is_coarse(self, world: World, sara: Client) -> None:
        def used() -> Any:
            return sara.get("/api/v1/tokens")["tokens"][0]["last_used_at"]

        first = used()
        assert used() == first
        world.clock.ahead = timedelta(minutes=11)
        used()
        assert used() > first

    @pytest.mark.parametrize(
        "body",
        [
            {"name": "x", "actions": ["fly"]},
            {"name": "x", "actions": []},
            {"name": "x", "expires_in_days": 367},
            {"name": "x", "expires_in_days": 0},
            {"name": "x", "expires_in_days": True},
            {"name": "x" * 101},
            {"name": 1},
            {},
            {"name": "x", "scope": "all"},
            {"name": "x", "component": "../etc"},
            {"name": "x", "organisation": "other", "component": f"{ORG}/a"},
        ],
    )
    def test_malformed(self, sara: Client, body: dict[str, Any]) -> None:
        sara.post("/api/v1/tokens", body, expect=400, code="malformed")

    def test_a_token_hands_on_no_more_than_it_has(self, world: World, sara: Client) -> None:
        narrow = Client(sara.flask, world.token("sara", ("manage",), ORG))
        body = {"name": "x", "actions": ["publish"], "organisation": ORG}
        narrow.post("/api/v1/tokens", body, expect=403, code="scope-exceeded")
        body = {"name": "x", "actions": ["manage"]}
        narrow.post("/api/v1/tokens", body, expect=403, code="scope-missing")
        body = {"name": "x", "actions": ["manage"], "organisation": ORG}
        narrow.post("/api/v1/tokens", body, expect=201)

    def test_tokens_of_others_are_not_found(self, world: World, sara: Client) -> None:
        other = Client(sara.flask, world.user("other"))
        mine = other.get("/api/v1/whoami")["token"]["id"]
        sara.call("DELETE", f"/api/v1/tokens/{mine}", expect=404, code="token-not-found")
        sara.call("DELETE", "/api/v1/tokens/999", expect=404, code="token-not-found")
        sara.call("DELETE", "/api/v1/tokens/x", expect=400, code="malformed")

    def test_a_leaked_token_can_end_itself(self, world: World, sara: Client) -> None:
        narrow = Client(sara.flask, world.token("sara", ("publish",), ORG))
        mine = narrow.get("/api/v1/whoami")["token"]["id"]
        narrow.call("DELETE", f"/api/v1/tokens/{mine - 1}", expect=403, code="scope-missing")
        narrow.call("DELETE", f"/api/v1/tokens/{mine}", expect=200)


# Which of (publish, read, manage) suffices for what, whatever the role of the person is.
MATRIX = [
    ("GET", "/api/v1/whoami", None, {"publish", "read", "manage"}),
    ("GET", "/api/v1/tokens", None, {"read", "manage"}),
    ("POST", "/api/v1/tokens", {"name": "x", "actions": ["manage"]}, {"manage"}),
    ("PUT", f"/api/v1/organisations/{ORG}/members/other", {"role": "reader"}, {"manage"}),
    ("HEAD", f"/api/v1/blobs/{'a' * 64}?component={ORG}/m", None, {"publish"}),
]


@pytest.mark.parametrize("action", ["publish", "read", "manage"])
@pytest.mark.parametrize(("method", "path", "body", "enough"), MATRIX)
def test_scopes(
    world: World, sara: Client, action: str, method: str, path: str, body: object, enough: set[str]
) -> None:
    world.user("other")
    narrow = Client(sara.flask, world.token("sara", (action,)))
    refused = (
        narrow.flask.open(
            path, method=method, json=body, headers={"Authorization": f"Bearer {narrow.token}"}
        ).status_code
        == 403
    )
    assert refused is (action not in enough)


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ({}, True),
        ({"organisation": ORG}, True),
        ({"component": f"{ORG}/my-model"}, True),
        ({"organisation": "other"}, False),
        ({"component": f"{ORG}/other"}, False),
        ({"component": "other/my-model"}, False),
    ],
)
def test_publishing_within_the_scope(
    world: World, sara: Client, scope: dict[str, str], allowed: bool
) -> None:
    built = world.release()
    narrow = Client(sara.flask, world.token("sara", ("publish",), **scope))
    digest, data = next(iter(built.blobs().items()))
    path = f"/api/v1/blobs/{digest}?component={ORG}/my-model"
    if allowed:
        narrow.call("PUT", path, data=data, expect=201)
        narrow.publish(built)
    else:
        narrow.call("PUT", path, data=data, expect=403, code="scope-missing")
        answer = narrow.post("/api/v1/releases", built.body(), expect=403, code="scope-missing")
        assert answer["scope"] == f"publish:{ORG}/my-model"


class TestMembers:
    @pytest.fixture
    def lina(self, world: World, sara: Client) -> Client:
        return Client(sara.flask, world.user("lina"))

    @pytest.mark.parametrize(
        ("role", "publishes", "manages"),
        [(None, False, False), ("reader", False, False), ("publisher", True, False),
         ("owner", True, True)],
    )  # fmt: skip
    def test_what_each_role_may(
        self, world: World, sara: Client, lina: Client, role: str, publishes: bool, manages: bool
    ) -> None:
        world.user("third")
        members = f"/api/v1/organisations/{ORG}/members"
        if role:
            sara.call("PUT", f"{members}/lina", {"role": role}, expect=200)
        refusal = "not-a-member" if role is None else "role-too-low"
        sees = "members" in lina.get(f"/api/v1/organisations/{ORG}", expect=200)
        assert sees is (role is not None)
        built = world.release()
        if publishes:
            lina.publish(built)
        else:
            lina.post("/api/v1/releases", built.body(), expect=403, code=refusal)
        expected = (200, None) if manages else (403, refusal)
        lina.call("PUT", f"{members}/third", {"role": "reader"}, expect=expected[0],
                  code=expected[1])  # fmt: skip

    def test_a_removed_member_keeps_nothing(self, world: World, sara: Client, lina: Client) -> None:
        path = f"/api/v1/organisations/{ORG}/members/lina"
        sara.call("PUT", path, {"role": "owner"}, expect=200)
        sara.call("DELETE", path, expect=200)
        lina.post("/api/v1/releases", world.release().body(), expect=403, code="not-a-member")
        assert "members" not in lina.get(f"/api/v1/organisations/{ORG}")
        sara.call("DELETE", path, expect=404, code="member-not-found")

    def test_one_owner_stays(self, sara: Client, lina: Client) -> None:
        path = f"/api/v1/organisations/{ORG}/members"
        sara.call("DELETE", f"{path}/sara", expect=409, code="last-owner")
        sara.call("PUT", f"{path}/sara", {"role": "reader"}, expect=409, code="last-owner")
        sara.call("PUT", f"{path}/lina", {"role": "owner"}, expect=200)
        sara.call("DELETE", f"{path}/sara", expect=200)

    def test_unknown_names(self, sara: Client) -> None:
        role = {"role": "reader"}
        path = "/api/v1/organisations/{}/members/{}"
        sara.call("PUT", path.format(ORG, "nobody"), role, expect=404, code="user-not-found")
        sara.call("PUT", path.format("no-org", "sara"), role, expect=404,
                  code="organisation-not-found")  # fmt: skip
        sara.call("PUT", path.format(ORG, "sara"), {"role": "king"}, expect=400, code="malformed")

    def test_members_are_shown_to_tokens_that_may_read(self, world: World, sara: Client) -> None:
        narrow = Client(sara.flask, world.token("sara", ("publish",)))
        assert "members" not in narrow.get(f"/api/v1/organisations/{ORG}")
        sara.token = None
        assert "members" not in sara.get(f"/api/v1/organisations/{ORG}")


def test_user_names(world: World) -> None:
    from forge_server.errors import RegistryError

    world.user("a.b-c_d")
    for name, code in (("a.b-c_d", "user-exists"), ("A", "malformed"), ("a--b", "malformed")):
        with pytest.raises(RegistryError) as error:
            world.user(name)
        assert error.value.code == code
