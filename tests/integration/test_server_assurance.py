"""What the registry reads of scans, findings and reviews, and that search and pages follow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from reviewing import Bodies, levels
from server_fixtures import Client, Clock, World, copied_world
from showcase import BODIES, Showcase, tree
from sqlalchemy import delete, update

from forge_server.app import create_app
from forge_server.db.models import Finding, ReviewStatement, Scan
from forge_server.db.recall_models import Answer as AnswerRow
from forge_server.operate.initialise import initialise
from forge_server.scans.base import Answer, FoundItem
from forge_server.scans.known import known as scanners
from forge_server.scans.running import Opened
from forge_server.services.assurance import Assurance
from forge_server.services.scans import NOTHING_OF_ITS_KIND
from signing.names import ComponentName

NAME = "minds-lab/darija-asr"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two components, made once and not opened again."""
    root = tmp_path_factory.mktemp("filled") / "reg"
    initialise(root, dev=True, database=None)
    made = World(root)
    show = Showcase(made, Client(create_app(made.registry).test_client(), made.user("sara")))
    for body in BODIES[:2]:
        show.organisation(body)
    for name in ("darija-asr", "another"):
        show.publish(tree("minds-lab", name, "model", "Speech", risk="limited"))
    made.registry.index.refresh()
    made.close()
    return root


@pytest.fixture
def world(filled: Path, tmp_path: Path) -> Iterator[World]:
    yield from copied_world(filled, tmp_path)


def known(world: World, name: str = NAME) -> Assurance:
    parsed = ComponentName.parse(name)
    item = world.registry.catalogue.component(parsed).versions[0]
    return world.registry.assurances.of(parsed, item.version, item.manifest_sha256)


def found(world: World, query: str = "") -> dict[str, str]:
    """Levels as search knows them, after the worker looked."""
    world.registry.index.refresh()
    browser = create_app(world.registry).test_client()
    return levels(browser.get(f"/en/search.json{query}").get_json())


def finding(world: World, severity: str, at: timedelta, gone: bool = False) -> None:
    item = world.registry.catalogue.component(ComponentName.parse(NAME)).versions[0]
    now = world.clock()
    with world.registry.database.write() as session:
        session.add(
            Finding(
                manifest_sha256=item.manifest_sha256, id=f"picklescan:{severity}:{at.seconds}",
                scanner="picklescan", severity=severity, path="weights.bin", location="",
                title="os.system", first_seen_at=now + at, last_seen_at=now + at,
                gone_at=now if gone else None,
            )
        )  # fmt: skip


def test_without_bodies_nobody_reviewed_anything(world: World) -> None:
    assert known(world).assessment.level == "community"
    assert found(world) == {NAME: "community", "minds-lab/another": "community"}
    assert not world.registry.assurances.reviews().bodies


def test_a_decision_counts_at_once_for_this_release_alone(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat", ["digital-agency"])
    digest = bodies.decide("rabat", NAME, "1.0.0")
    read = known(world)
    assert read.assessment.level == "reviewed"
    assert read.body("rabat") == "Institut de Rabat"
    assert known(world, "minds-lab/another").assessment.level == "community"
    assert found(world) == {NAME: "reviewed", "minds-lab/another": "community"}
    assert found(world, "?review=reviewed") == {NAME: "reviewed"}
    # The evidence that the page links to is the signed decision.
    browser = create_app(world.registry).test_client()
    address = read.envelope(read.assessment.standing[0])
    assert digest in address
    answer = browser.get(address)
    assert answer.status_code == 200
    answer.close()
    assert address in browser.get(f"/en/{NAME}/security").get_data(as_text=True)


def test_a_second_body_approves_and_a_third_can_refuse(world: World) -> None:
    bodies = Bodies(world)
    for body in ("one", "two", "three"):
        bodies.name(body, body.title())
    bodies.decide("one", NAME, "1.0.0")
    bodies.decide("two", NAME, "1.0.0", number=3)
    assert found(world)[NAME] == "approved"
    bodies.decide("three", NAME, "1.0.0", passed=False)
    assert known(world).assessment.rejected_by == ("three",)
    assert found(world)[NAME] == "community"
    bodies.withdraw("three", NAME, "1.0.0")
    assert found(world)[NAME] == "approved"


def test_who_comes_to_belong_to_the_organisation_has_no_say(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("own", "Own")
    bodies.decide("own", NAME, "1.0.0")
    assert found(world)[NAME] == "reviewed"
    bodies.belongs("own", "Own", ["minds-lab"])
    assert found(world)[NAME] == "community"
    read = known(world).assessment
    assert read.level == "community"
    assert [each.code for each in read.lapsed] == ["own-release"]


def test_an_end_comes_by_itself(world: World) -> None:
    """Nobody acts: the clock goes on, and page, search and the list of what ends follow."""
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0", days=20)
    assert found(world)[NAME] == "reviewed"
    (ending,) = world.registry.assurances.reviews().expiring
    assert (ending.component, ending.level) == (NAME, "reviewed")
    assert ending.until == known(world).assessment.until
    _later(world, days=21)
    assert known(world).assessment.level == "community"
    assert found(world)[NAME] == "community"
    assert world.registry.assurances.reviews().expiring == []
    assert world.registry.index.refresh() == 0, "it is not indexed again and again"


def test_a_role_that_nobody_renewed_counts_no_more(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0")
    assert found(world)[NAME] == "reviewed"
    assert world.registry.assurances.reviews().expiring == [], "the decision goes on for longer"
    _later(world, days=31)
    read = known(world).assessment
    assert read.level == "community"
    assert [each.code for each in read.lapsed] == ["expired"]
    assert found(world)[NAME] == "community"


def test_a_withdrawn_review_and_a_revoked_key_end_it(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0")
    assert found(world)[NAME] == "reviewed"
    bodies.withdraw("rabat", NAME, "1.0.0")
    assert found(world)[NAME] == "community"
    bodies.decide("rabat", NAME, "1.0.0")
    assert found(world)[NAME] == "reviewed"
    bodies.revoke("rabat")
    assert found(world)[NAME] == "community"
    assert known(world).assessment.lapsed[0].body == "rabat"


def test_a_critical_finding_ends_it_until_it_is_gone(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0", at=world.clock() - timedelta(days=1))
    finding(world, "critical", timedelta(seconds=-60), gone=True)
    finding(world, "high", timedelta(seconds=-50))
    assert known(world).assessment.level == "reviewed"
    finding(world, "critical", timedelta(seconds=-40))
    read = known(world)
    assert read.assessment.level == "community"
    assert [each.code for each in read.assessment.lapsed] == ["critical-finding"]
    assert read.gravest == "critical"
    assert [each.severity for each in read.open_findings] == ["critical", "high"]


def test_scans_are_shown_as_they_ended(world: World) -> None:
    item = world.registry.catalogue.component(ComponentName.parse(NAME)).versions[0]
    now = world.clock()
    ran = {"licence": ("clean", ""), "onnx": ("not-scanned", NOTHING_OF_ITS_KIND)}
    assert known(world).scan_state == "not-scanned", "nobody looked yet"
    for state in ("clean", "failed"):
        with world.registry.database.write() as session:
            session.execute(delete(Scan))
            for name, scanner in scanners().items():
                said, detail = ran.get(name, (state, ""))
                session.add(
                    Scan(
                        manifest_sha256=item.manifest_sha256, component=NAME, version="1.0.0",
                        scanner=name, scanner_version=scanner.version, data_date=now.date(),
                        state=said, detail=detail, report=b"{}", report_sha256="ab" * 32,
                        started_at=now, finished_at=now,
                    )
                )  # fmt: skip
        read = known(world)
        assert [each.scanner for each in read.scans] == sorted(scanners())
        assert read.scan_state == state
        assert read.scanned_at == now


def test_only_a_verified_answer_closes_a_finding(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0", at=world.clock() - timedelta(days=1))
    finding(world, "critical", timedelta(seconds=-40))
    item = world.registry.catalogue.component(ComponentName.parse(NAME)).versions[0]
    (one,) = known(world).findings
    for verdict, level in (
        (None, "community"),
        ("rejected", "community"),
        ("verified", "reviewed"),
    ):
        with world.registry.database.write() as session:
            session.add(
                AnswerRow(
                    manifest_sha256=item.manifest_sha256, finding=one.id, type="false-positive",
                    text="It is a word of a text", links=[], user_id=1, verdict=verdict,
                    answered_at=world.clock(), verdict_body=verdict and "rabat",
                    verdict_severity=verdict and "critical",
                )
            )  # fmt: skip
        read = known(world)
        assert read.assessment.level == level
        assert bool(read.open_findings) == (level == "community")
        assert read.findings[0].answer is not None
        assert read.findings[0].answer.verdict == verdict


def test_a_decision_is_older_than_what_became_critical_after_it(world: World) -> None:
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0", at=world.clock() - timedelta(days=1))
    finding(world, "critical", timedelta(days=-2))
    assert known(world).assessment.level == "reviewed", "the reviewer could see it"
    with world.registry.database.write() as session:
        session.execute(update(Finding).values(severity_since=world.clock()))
    assert known(world).assessment.level == "community"


def test_search_follows_a_scan(world: World) -> None:
    """The level falls with the scan that finds something critical, without any other change."""
    bodies = Bodies(world)
    bodies.name("rabat", "Institut de Rabat")
    bodies.decide("rabat", NAME, "1.0.0", at=world.clock() - timedelta(days=1))
    assert found(world)[NAME] == "reviewed"

    def ask(scanner: str, opened: Sequence[Opened], *_: object) -> list[Answer]:
        grave = FoundItem(rule="test", severity="critical", title="It calls home")
        if scanner != "secrets":
            return [Answer(state="clean") for _ in opened]
        return [Answer(state="findings", items=[grave]) for _ in opened]

    scans = replace(world.registry.scans, ask=ask)
    for due in scans.due():
        scans.scan(due)
    assert known(world).gravest == "critical"
    assert found(world)[NAME] == "community"


def test_a_spoilt_envelope_is_told_and_stops_nothing(world: World) -> None:
    bodies = Bodies(world)
    for body in ("one", "two"):
        bodies.name(body, body.title())
    for body in ("one", "two"):
        bodies.decide(body, NAME, "1.0.0")
    with world.registry.database.write() as session:
        session.execute(
            update(ReviewStatement).where(ReviewStatement.body == "one").values(envelope=b"spoilt")
        )
    read = known(world).assessment
    assert read.level == "reviewed"
    assert [(each.body, each.code) for each in read.lapsed] == [("one", "malformed")]


def _later(world: World, *, days: int) -> None:
    clock = world.clock
    assert isinstance(clock, Clock)
    clock.ahead += timedelta(days=days)
