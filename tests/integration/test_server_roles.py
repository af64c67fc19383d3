"""Applications, approval, role updates, and everything that a role update may not do."""

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

from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName, parse_version
from signing.refusals import sign_refusal
from signing.role_edits import add_project, new_role, set_yanked

NAME = ComponentName.parse(f"{ORG}/my-model")
OTHERS_KEY = generate_key("p256")


def refusal(world: World, application: str, key: PrivateKey) -> dict[str, str]:
    data = sign_refusal(ORG, application.encode(), "no stamp", [key], world.clock())
    return {"refusal": data.decode()}


@pytest.fixture
def applicant(world: World, client: Client) -> Client:
    return Client(client.flask, world.user("sara"))


class TestApplications:
    def test_from_application_to_organisation(self, world: World, applicant: Client) -> None:
        body = world.application()
        answer = applicant.post("/api/v1/applications", body, expect=201)
        assert answer == {"organisation": ORG, "state": "pending"}
        stranger = Client(applicant.flask)
        listed = stranger.get("/api/v1/applications?state=pending")["applications"]
        assert [row["organisation"] for row in listed] == [ORG]
        shown = stranger.get(f"/api/v1/applications/{ORG}", expect=200)
        assert (shown["application"], shown["role"]) == (body["application"], body["role"])
        assert shown["applicant"] == "sara"
        stranger.get(f"/api/v1/organisations/{ORG}", expect=409, code="organisation-pending")
        answer = stranger.post("/api/v1/roles", {"roles": world.approval()}, expect=200)
        assert answer == {"accepted": {"registrar": 2, ORG: 1}, "snapshot": 2}
        shown = stranger.get(f"/api/v1/organisations/{ORG}", expect=200)
        assert (shown["kind"], shown["display_name"]) == ("startup", "Minds Lab")
        assert stranger.get("/api/v1/organisations")["organisations"] == [shown]
        assert stranger.get("/api/v1/applications?state=pending") == {"applications": []}
        for name in ("2.registrar.json", f"1.{ORG}.json", "2.snapshot.json"):
            stranger.get(f"/tuf/{name}", expect=200)

    def test_once_more_by_the_same_user_replaces_it(self, world: World, applicant: Client) -> None:
        applicant.post("/api/v1/applications", world.application(), expect=201)
        world.keys.clear()
        applicant.post("/api/v1/applications", world.application(), expect=201)
        applicant.post("/api/v1/roles", {"roles": world.approval()}, expect=200)

    def test_a_refusal_is_signed_and_the_applicant_may_try_again(
        self, world: World, applicant: Client
    ) -> None:
        body = world.application()
        applicant.post("/api/v1/applications", body, expect=201)
        registrar = Client(applicant.flask)
        address = f"/api/v1/applications/{ORG}/refusal"
        signed = refusal(world, body["application"], world.authority_key("registrar"))
        answer = registrar.post(address, signed, expect=200)
        assert (answer["state"], answer["reason"]) == ("refused", "no stamp")
        shown = registrar.get(f"/api/v1/applications/{ORG}", expect=200)
        assert (shown["state"], shown["reason"]) == ("refused", "no stamp")
        assert shown["refusal"] == signed["refusal"]
        assert registrar.get("/api/v1/applications?state=pending") == {"applications": []}
        registrar.get(f"/api/v1/organisations/{ORG}", expect=409, code="organisation-refused")
        # The name stays with its applicant, who may change the application.
        other = Client(applicant.flask, world.user("other"))
        other.post("/api/v1/applications", world.application(), expect=409, code="name-taken")
        world.clock.ahead += timedelta(minutes=1)
        applicant.post("/api/v1/applications", world.application(), expect=201)
        shown = registrar.get(f"/api/v1/applications/{ORG}", expect=200)
        assert (shown["state"], shown["refusal"]) == ("pending", None)
        # What was said of the first application says nothing of the second.
        answer = registrar.post(address, signed, expect=422, code="digest-mismatch")
        registrar.post("/api/v1/roles", {"roles": world.approval()}, expect=200)
        registrar.post(address, signed, expect=409, code="name-taken")

    def test_nobody_but_the_registrar_refuses(self, world: World, applicant: Client) -> None:
        body = world.application()
        applicant.post("/api/v1/applications", body, expect=201)
        address = f"/api/v1/applications/{ORG}/refusal"
        for key in (OTHERS_KEY, world.authority_key("targets"), world.key(ORG)):
            signed = refusal(world, body["application"], key)
            answer = applicant.post(address, signed, expect=422, code="verification-failed")
            assert answer["check"] == "threshold-not-met"
        applicant.post(
            "/api/v1/applications/nobody/refusal", signed, expect=404, code="application-not-found"
        )
        assert applicant.get(f"/api/v1/applications/{ORG}")["state"] == "pending"

    def test_names_are_given_once(self, world: World, applicant: Client) -> None:
        applicant.post("/api/v1/applications", world.application(), expect=201)
        other = Client(applicant.flask, world.user("other"))
        other.post("/api/v1/applications", world.application(), expect=409, code="name-taken")
        applicant.post("/api/v1/roles", {"roles": world.approval()}, expect=200)
        for who in (other, applicant):
            who.post("/api/v1/applications", world.application(), expect=409, code="name-taken")

    @pytest.mark.parametrize("name", ["minds-1ab", "mindslab", "m-inds-lab", "rninds-lab"])
    def test_look_alikes(self, world: World, sara: Client, name: str) -> None:
        answer = sara.post(
            "/api/v1/applications", world.application(name), expect=409, code="name-look-alike"
        )
        assert answer["existing"] == ORG

    def test_the_registrar_is_shown_what_is_similar(self, world: World, sara: Client) -> None:
        sara.post("/api/v1/applications", world.application("minds-lab-official"), expect=201)
        assert sara.get("/api/v1/applications/minds-lab-official")["similar"] == [ORG]

    def test_not_too_many(self, world: World, applicant: Client) -> None:
        for number in range(world.registry.settings.max_pending_applications):
            name = f"org-{'acdefghjkmnopqrstuvwxy34679'[number]}x"
            applicant.post("/api/v1/applications", world.application(name), expect=201)
        applicant.post(
            "/api/v1/applications", world.application("one-more"), expect=409,
            code="too-many-applications",
        )  # fmt: skip

    def test_a_role_by_another_key(self, world: World, applicant: Client) -> None:
        body = world.application()
        body["role"] = new_role([OTHERS_KEY], world.clock(), "organisation").decode()
        answer = applicant.post(
            "/api/v1/applications", body, expect=422, code="verification-failed"
        )
        assert answer["check"] == "threshold-not-met"

    def test_an_altered_application(self, world: World, applicant: Client) -> None:
        body = world.application()
        other = world.application("other-org")
        body["application"] = body["application"][:-40] + other["application"][-40:]
        answer = applicant.post("/api/v1/applications", body)
        assert answer["status"] in (400, 422)

    def test_unknown_members_states_and_names(self, world: World, applicant: Client) -> None:
        body = world.application() | {"extra": 1}
        answer = applicant.post("/api/v1/applications", body, expect=400, code="malformed")
        assert "extra" in answer["detail"]
        applicant.get("/api/v1/applications?state=x", expect=400, code="malformed")
        applicant.get("/api/v1/applications/no", expect=404, code="application-not-found")
        applicant.token = None
        applicant.post(
            "/api/v1/applications", world.application(), expect=401, code="not-authenticated"
        )


class TestRoleUpdates:
    def post(self, who: Client, roles: dict[str, Any], **expected: Any) -> Any:
        return who.post("/api/v1/roles", {"roles": roles}, **expected)

    def test_registrar_without_an_application(self, world: World, client: Client) -> None:
        self.post(client, world.approval(), expect=422, code="role-missing")
        assert world.registry.roles.current("registrar") == world.current("registrar")
        assert client.get("/tuf/2.registrar.json")["code"] == "not-found"

    def test_registrar_signed_by_a_stranger(self, world: World, client: Client) -> None:
        from signing.role_edits import add_signatures  # noqa: F401

        role = new_role([OTHERS_KEY], world.clock(), "registrar").decode()
        answer = self.post(client, {"registrar": role}, expect=422, code="verification-failed")
        assert answer["check"] == "threshold-not-met"

    def test_the_same_version_again(self, world: World, sara: Client) -> None:
        role = (world.current("registrar") or b"").decode()
        answer = self.post(sara, {"registrar": role}, expect=409, code="role-version")
        assert answer["current_version"] == 2

    def test_delegating_a_project_ahead_of_its_first_release(
        self, world: World, sara: Client
    ) -> None:
        current = world.current(ORG) or b""
        key = generate_key("p256")
        role = add_project(current, NAME, [key.public], 1, [world.key(ORG)], world.clock())
        sara.token = None
        answer = self.post(sara, {ORG: role.decode()}, expect=200)
        assert answer["accepted"] == {ORG: 2}

    def test_projects_that_look_alike(self, world: World, sara: Client) -> None:
        sara.publish(world.release("model-1"))
        built = world.release("model-l")
        sara.put_blobs(built)
        sara.post("/api/v1/releases", built.body(), expect=409, code="name-look-alike")
        self.post(sara, {ORG: built.roles[ORG].decode()}, expect=409, code="name-look-alike")

    def test_yank_and_unyank(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        for reason in ("wrong tokenizer", None):
            role = set_yanked(
                world.current(NAME.role) or b"", NAME, parse_version("1.0.0"), reason,
                [world.key(ORG)], world.clock(),
            )  # fmt: skip
            self.post(Client(sara.flask), {NAME.role: role.decode()}, expect=200)
            shown = sara.get(f"/api/v1/components/{NAME}")["versions"][0]
            assert shown["yanked"] == reason
        actions = [event.action for event in world.registry.audit.newest(10)]
        assert "release.yank" in actions
        assert "release.unyank" in actions

    def test_releases_cannot_come_this_way(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        built = world.release(version="1.1.0")
        roles = {NAME.role: built.roles[NAME.role].decode()}
        answer = self.post(sara, roles, expect=422, code="releases-need-offer")
        assert "1.1.0" in answer["detail"]

    def test_expired_and_endless_roles(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        for shift in (timedelta(days=-500), timedelta(days=10)):
            role = set_yanked(
                world.current(NAME.role) or b"", NAME, parse_version("1.0.0"), "x",
                [world.key(ORG)], world.clock() + shift,
            )  # fmt: skip
            roles = {NAME.role: role.decode()}
            answer = self.post(sara, roles, expect=422, code="verification-failed")
            assert answer["check"] == "expired"

    @pytest.mark.parametrize("name", ["root", "snapshot", "timestamp", "../x", "a.b.c",
                                      "", "reviews", "A"])  # fmt: skip
    def test_only_our_levels(self, world: World, client: Client, name: str) -> None:
        role = (world.current("registrar") or b"").decode()
        self.post(client, {name: role}, expect=400, code="malformed")

    @pytest.mark.parametrize("name", ["no-org", "no-org.project"])
    def test_roles_of_nobody(self, world: World, client: Client, name: str) -> None:
        role = (world.current("registrar") or b"").decode()
        self.post(client, {name: role}, expect=404, code="role-not-found")

    @pytest.mark.parametrize("roles", [{}, {"registrar": 1}, {"registrar": "x"}, [], None,
                                       {"registrar": "{}"}])  # fmt: skip
    def test_malformed(self, client: Client, roles: Any) -> None:
        self.post(client, roles, expect=400, code="malformed")

    def test_the_current_bytes(self, world: World, client: Client) -> None:
        answer = client.flask.get("/api/v1/roles/registrar")
        assert answer.data == (world.root / "public" / "1.registrar.json").read_bytes()
        client.get("/api/v1/roles/nope", expect=404, code="role-not-found")

    def test_all_or_none(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        good = set_yanked(
            world.current(NAME.role) or b"", NAME, parse_version("1.0.0"), "x",
            [world.key(ORG)], world.clock(),
        )  # fmt: skip
        bad = new_role([OTHERS_KEY], world.clock(), "organisation")
        self.post(sara, {NAME.role: good.decode(), ORG: bad.decode()}, expect=422)
        assert sara.get(f"/api/v1/components/{NAME}")["versions"][0]["yanked"] is None
