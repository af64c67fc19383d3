"""Findings, answers by the publisher, verdicts by reviewers: who may, and what is open then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import ORG, Client, World, copied_world, new_database, now

from forge_server.app import create_app
from forge_server.db.models import Finding
from forge_server.operate.initialise import initialise
from forge_server.scans.base import Answer, FoundItem
from forge_server.scans.running import Opened
from forge_server.services.findings import MAX_ANSWERS, open_findings
from forge_server.services.scans import Due
from signing.bodies import Body
from signing.keys import generate_key
from signing.names import ComponentName
from signing.role_edits import delegate, next_version, sign_role
from signing.waivers import Waiver

NAME = ComponentName.parse(f"{ORG}/my-model")
PATH = f"/api/v1/components/{NAME}/1.0.0/findings"
ID = "picklescan:global-import:0123456789ab"
OTHER = "secrets:token:ba9876543210"


def name_bodies(world: World, client: Client) -> None:
    """``institute`` belongs to the organisation tech-house, ``ours`` to the publisher's."""
    signed = next_version(world.registry.roles.current("targets"), "targets", now())
    for body, organisations in (("institute", {"tech-house"}), ("ours", {ORG})):
        role = f"reviews-{body}"
        delegate(signed, role, [generate_key("p256").public], 1)
        assert signed.delegations is not None
        assert signed.delegations.roles is not None
        said = Body(display_name=body.title(), organisations=frozenset(organisations))
        signed.delegations.roles[role].unrecognized_fields["forge"] = said.to_json()
    targets = sign_role(signed, [world.authority_key("targets")]).decode()
    client.post("/api/v1/roles", {"roles": {"targets": targets}}, expect=200)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("findings") / "reg"
    initialise(root, dev=True, database=new_database(request, request.param))
    world = World(root)
    flask = create_app(world.registry).test_client()
    owners = {"sara": ORG, "rita": "institute", "tarik": "tech-house", "omar": "elsewhere"}
    for user, organisation in owners.items():
        token = world.user(user)
        world.organisation(token, organisation)
        if user == "sara":
            Client(flask, token).publish(world.release())
    for user, organisation in (("reader", ORG), ("rita-reader", "institute"), ("both", ORG),
                               ("both", "institute")):  # fmt: skip
        if user not in owners:
            owners[user] = organisation
            world.user(user)
        owner = next(name for name, each in owners.items() if each == organisation)
        role = "publisher" if user == "both" else "reader"
        Client(flask, world.token(owner)).call(
            "PUT", f"/api/v1/organisations/{organisation}/members/{user}", {"role": role},
            expect=200,
        )  # fmt: skip
    name_bodies(world, Client(flask))
    digest = Client(flask).get(f"/api/v1/components/{NAME}")["versions"][0]["manifest_sha256"]
    with world.registry.database.write() as session:
        for number, severity in ((ID, "high"), (OTHER, "critical")):
            session.add(
                Finding(
                    manifest_sha256=digest, id=number, scanner=number.partition(":")[0],
                    severity=severity, path="weights.bin", location="offset 3", title="os.system",
                    first_seen_at=now(), last_seen_at=now(), gone_at=None,
                )
            )  # fmt: skip
    world.close()
    return root


@pytest.fixture
def world(_published: Path, tmp_path: Path) -> Iterator[World]:
    yield from copied_world(_published, tmp_path)


class Desk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.flask = create_app(world.registry).test_client()

    def as_(self, user: str | None, *actions: str, organisation: str | None = None) -> Client:
        if user is None:
            return Client(self.flask)
        scope = (actions, organisation) if actions else ()
        return Client(self.flask, self.world.token(user, *scope))

    def answer(self, user: str | None, type_: str = "false-positive", **more: Any) -> Any:
        body = {
            "type": type_,
            "text": "it is a word in a vocabulary",
            "links": ["https://x.example"],
        }
        return self.as_(user).post(f"{PATH}/{ID}/answers", body, **more)

    def judge(
        self,
        user: str,
        number: int,
        verdict: str = "verified",
        body: str = "institute",
        **more: Any,
    ) -> Any:
        said = {"number": number, "body": body, "verdict": verdict, "reason": "looked at it"}
        return self.as_(user).post(f"{PATH}/{ID}/verdicts", said, **more)

    def open(self) -> list[str]:
        listed = self.as_(None).get(PATH, expect=200)
        found = [one["id"] for one in listed["findings"] if one["open"]]
        assert listed["open"] == len(found)
        with self.world.registry.database.read() as session:
            rows = open_findings(session, listed["manifest_sha256"])
        assert [row.id for row in rows] == found
        return found


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_nobody_judges_what_they_answered_before_they_left(desk: Desk) -> None:
    number = desk.answer("both", expect=201)["number"]
    path = f"/api/v1/organisations/{ORG}/members/both"
    desk.as_("sara").call("DELETE", path, expect=200)
    desk.judge("both", number, expect=403, code="not-a-reviewer")
    assert desk.open() == [OTHER, ID]
    desk.judge("rita", number, expect=200)
    assert desk.open() == [OTHER]


def test_only_a_verified_answer_settles(desk: Desk) -> None:
    assert desk.open() == [OTHER, ID]  # the gravest first
    number = desk.answer("sara", expect=201)["number"]
    assert desk.open() == [OTHER, ID]
    desk.judge("rita", number, expect=200)
    assert desk.open() == [OTHER]
    shown = desk.as_(None).get(PATH)["findings"][1]["answer"]
    assert (shown["type"], shown["by"], shown["links"]) == (
        "false-positive", "sara", ["https://x.example"],
    )  # fmt: skip
    assert (shown["verdict"], shown["verdict_body"], shown["verdict_by"]) == (
        "verified", "institute", "rita",
    )  # fmt: skip
    # Who answers again needs a verdict again.
    again = desk.answer("sara", expect=201)["number"]
    assert desk.open() == [OTHER, ID]
    desk.judge("rita", number, expect=409, code="answer-changed")
    desk.judge("rita", again, "rejected", expect=200)
    assert desk.open() == [OTHER, ID]
    desk.judge("rita", again, "verified", expect=200)  # a verdict may be corrected
    assert desk.open() == [OTHER]
    acts = [(e.action, e.detail["number"]) for e in desk.world.registry.audit.newest(20)
            if e.action.startswith("finding.") and e.outcome == "done"]  # fmt: skip
    assert acts == [
        ("finding.answer", number), ("finding.judge", number), ("finding.answer", again),
        ("finding.judge", again), ("finding.judge", again),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "settles"),
    [("false-positive", True), ("mitigated", True), ("not-affected", True),
     ("no-fix-available", False), ("wont-fix", False), ("pending", False)],
)  # fmt: skip
def test_what_settles(desk: Desk, type_: str, settles: bool) -> None:
    desk.judge("rita", desk.answer("sara", type_, expect=201)["number"], expect=200)
    assert (ID not in desk.open()) is settles


def test_what_is_confirmed_is_an_advisory(desk: Desk) -> None:
    def known() -> list[dict[str, Any]]:
        package = {"name": str(NAME), "ecosystem": "National Software Forge"}
        body = {"package": package, "version": "1.0.0"}
        found: list[dict[str, Any]] = (
            desk.as_(None).post("/osv/v1/query", body, expect=200).get("vulns", [])
        )
        return found

    number = desk.answer("sara", "wont-fix", expect=201)["number"]
    assert known() == []
    desk.judge("rita", number, "rejected", expect=200)
    assert known() == []
    desk.judge("rita", number, expect=200)
    (one,) = known()
    assert one["id"].endswith("-0123456789ab")
    assert "os.system (weights.bin): it is a word" in one["details"]
    desk.answer("sara", "mitigated", expect=201)
    assert known() == []


def test_what_is_gone_or_waived_is_not_open(desk: Desk) -> None:
    digest = desk.as_(None).get(PATH)["manifest_sha256"]
    with desk.world.registry.database.write() as session:
        waiver = Waiver(
            body="institute", id="I-1", component=NAME, versions=">=1", findings=(OTHER,),
            severity="critical", reason="Until the next version", author="", at=now(),
            expires=now(),
        )  # fmt: skip
        assert [row.id for row in open_findings(session, digest, [waiver])] == [ID]
        less = replace(waiver, severity="high")  # it became graver than what was waived
        assert [row.id for row in open_findings(session, digest, [less])] == [OTHER, ID]
        session.get_one(Finding, (digest, ID)).gone_at = now() + timedelta(minutes=1)
        session.flush()
        assert [row.id for row in open_findings(session, digest)] == [OTHER]


def test_what_grew_graver_than_a_reviewer_saw_is_open_again(desk: Desk) -> None:
    """An answer that was verified for a medium finding says nothing of a critical one."""
    listed = desk.as_(None).get(PATH)
    due = Due(component=NAME, version="1.0.0", manifest_sha256=listed["manifest_sha256"])

    def scan(severity: str) -> dict[str, Any]:
        item = FoundItem(rule="key", severity=severity, title="a key")

        def ask(scanner: str, opened: Sequence[Opened], *_: object) -> list[Answer]:
            items = [item] if scanner == "secrets" else []
            return [Answer(state="findings" if items else "clean", items=items) for _ in opened]

        replace(desk.world.registry.scans, ask=ask).scan(due)
        rows = desk.as_(None).get(PATH)["findings"]
        (found,) = (one for one in rows if one["id"].startswith("secrets:key:"))
        assert found["severity"] == severity
        return dict(found)

    first = scan("medium")
    path = f"{PATH}/{first['id']}"
    number = desk.as_("sara").post(
        f"{path}/answers", {"type": "not-affected", "text": "a sample"}, expect=201
    )["number"]
    said = {"number": number, "body": "institute", "verdict": "verified", "reason": "looked"}
    desk.as_("rita").post(f"{path}/verdicts", said, expect=200)
    for severity, is_open in (("medium", False), ("low", False), ("high", True), ("medium", False)):
        found = scan(severity)
        assert (found["open"], found["answer"]["verdict_severity"]) == (is_open, "medium")
        assert found["first_seen_at"] == first["first_seen_at"]
    desk.world.clock.ahead += timedelta(seconds=2)  # instants are said in seconds
    grown = scan("critical")
    assert grown["open"]
    assert grown["severity_since"] > first["severity_since"]
    desk.as_("rita").post(f"{path}/verdicts", said, expect=200)  # who looks anew says so anew
    found = scan("critical")
    assert (found["open"], found["answer"]["verdict_severity"]) == (False, "critical")
    assert found["severity_since"] == grown["severity_since"]


def test_who_may_answer(desk: Desk) -> None:
    desk.answer(None, expect=401)
    desk.answer("rita", expect=403, code="not-a-member")
    desk.answer("reader", expect=403, code="role-too-low")
    body = {"type": "pending", "text": "x"}
    for actions, organisation in (("read", None), ("manage", None), ("publish", "elsewhere")):
        who = desk.as_("sara", actions, organisation=organisation)
        who.post(f"{PATH}/{ID}/answers", body, expect=403, code="scope-missing")
    desk.as_("sara").call("DELETE", f"/api/v1/organisations/{ORG}/members/both", expect=200)
    desk.answer("both", expect=403, code="not-a-member")


def test_who_may_judge(desk: Desk) -> None:
    number = desk.answer("sara", expect=201)["number"]

    def refused(user: str, body: str = "institute", code: str = "not-a-reviewer") -> None:
        desk.judge(user, number, body=body, expect=403, code=code)

    refused("sara")
    refused("omar")
    refused("rita-reader")
    refused("both")  # of the institute, and of the organisation that it is about
    refused("rita", body="nobody")
    refused("rita", body="elsewhere")
    refused("sara", body="ours")
    said = {"number": number, "body": "institute", "verdict": "verified", "reason": "x"}
    path = f"{PATH}/{ID}/verdicts"
    desk.as_(None).post(path, said, expect=401)
    for actions in ("read", "manage", "inventory"):
        desk.as_("rita", actions).post(path, said, expect=403, code="scope-missing")
    assert ID in desk.open()
    desk.judge("tarik", number, expect=200)  # of the organisation that the body belongs to
    assert ID not in desk.open()
    desk.as_("rita").post(path, said | {"verdict": "perhaps"}, expect=400)
    desk.as_("rita").post(path, said | {"reason": ""}, expect=400)


@pytest.mark.parametrize(
    "body",
    [{"type": "maybe", "text": "x"}, {"type": "pending", "text": " "},
     {"type": "pending", "text": "a\x1bb"}, {"type": "pending", "text": "x" * 5000},
     {"type": "pending", "text": "x", "links": ["javascript:alert(1)"]},
     {"type": "pending", "text": "x", "links": ["https://x.example"] * 11},
     {"type": "pending", "text": "x", "links": ["https://[x"]}, {"type": "pending"}],
)  # fmt: skip
def test_what_is_no_answer(desk: Desk, body: dict[str, Any]) -> None:
    desk.as_("sara").post(f"{PATH}/{ID}/answers", body, expect=400, code="malformed")


def test_of_what_is_not_there(desk: Desk) -> None:
    body = {"type": "pending", "text": "x"}
    desk.as_("sara").post(f"{PATH}/nothing/answers", body, expect=404, code="not-found")
    desk.as_(None).get(PATH.replace("1.0.0", "9.0.0"), expect=404, code="not-found")
    desk.judge("rita", 1, expect=409, code="answer-changed")


def test_answers_end_somewhere(desk: Desk) -> None:
    for _ in range(MAX_ANSWERS):
        desk.answer("sara", "pending", expect=201)
    desk.answer("sara", "pending", expect=403, code="quota-exceeded")
