"""Pages on releases that were scanned and reviewed: in words that are true, in four languages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from assurances import (
    CLEAN,
    EVIL,
    NOW,
    FakeAssurances,
    assessed,
    decision,
    everything,
    finding,
    scan,
)
from flask import Flask
from flask.testing import FlaskClient
from server_fixtures import World, copied_world
from showcase import build

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.services.assurance import Assurance
from forge_server.web import assurance as words
from forge_server.web import languages
from forge_server.web.languages import LANGUAGES

REVIEWED, APPROVED = "digital-agency/name-parser", "minds-lab/darija-lid"
REJECTED, LAPSED = "casa-mobility/traffic-2025", "atlas-health/drug-names"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("showcase") / "reg"
    initialise(root, dev=True, database=None)
    made = World(root)
    build(made)
    made.close()
    return root


@pytest.fixture(scope="module")
def world(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from copied_world(filled, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def app(world: World) -> Flask:
    return create_app(world.registry.differing(assurances=everything()))


@pytest.fixture(scope="module")
def browser(app: Flask) -> FlaskClient:
    return app.test_client(use_cookies=False)


def text(browser: FlaskClient, path: str) -> str:
    """The words of a page, in one line."""
    answer = browser.get(path)
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    html = page[page.index("<main") : page.index("</main>")].replace("<td", " <td")
    parts, _, rest = html.partition("<")
    for piece in rest.split("<"):
        parts += piece.partition(">")[2]
    return " ".join(unescape(parts).split())


def said(app: Flask, language: str, known: Assurance) -> str:
    """The sentences for ``known`` in a language, without their markup."""
    with app.test_request_context(f"/{language}/"):
        shown = " ".join(str(each) for each in words.sentences(known))
    found = "".join(ElementTree.fromstring(f"<p>{shown}</p>").itertext())
    return found.replace("\xa0", " ")


# What each number of open findings is in each language: Arabic has six forms.
COUNTED = {
    "en": {1: "1 open finding counts", 2: "2 open findings count", 11: "11 open findings count"},
    "fr": {1: "1 constat ouvert pèse", 2: "2 constats ouverts pèsent"},
    "zgh": {1: "ⵜⵍⵍⴰ 1 ⵜⵎⵓⵖⵍⵉ", 2: "ⵍⵍⴰⵏⵜ 2 ⵜⵎⵓⵖⵍⵉⵡⵉⵏ"},
    "ar": {
        1: "ملاحظة مفتوحة واحدة", 2: "ملاحظتان مفتوحتان", 3: "3 ملاحظات مفتوحة",
        10: "10 ملاحظات مفتوحة", 11: "11 ملاحظةً مفتوحة", 99: "99 ملاحظةً مفتوحة",
        100: "100 ملاحظة مفتوحة", 103: "103 ملاحظات مفتوحة",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "count", "expected"),
    [(name, count, form) for name, forms in COUNTED.items() for count, form in forms.items()],
    ids=[f"{name}-{count}" for name, forms in COUNTED.items() for count in forms],
)
def test_findings_are_counted_as_the_language_counts(
    app: Flask, language: str, count: int, expected: str
) -> None:
    known = Assurance(scans=CLEAN, findings=[finding(at, "low") for at in range(count)])
    assert expected in said(app, language, known)


CASES: dict[str, tuple[Assurance, str, str]] = {
    "nothing": (Assurance(), "Nobody has reviewed it.", "nobody has scanned it"),
    "clean": (
        Assurance(scans=CLEAN),
        "No open finding counts against it.",
        "It was scanned on",
    ),
    "failed": (
        Assurance(scans=[*CLEAN, scan("formats", "failed")]),
        "failed: what it would have found is not known.",
        "Nobody has reviewed it.",
    ),
    "stale": (
        Assurance(scans=[*CLEAN, scan("osv", "stale")]),
        "with knowledge too old.",
        "It was last scanned on",
    ),
    "in part": (
        Assurance(scans=[*CLEAN, scan("onnx", "not-scanned")]),
        "but not by every scanner.",
        "It was scanned on",
    ),
    "not at all": (
        Assurance(scans=[scan("onnx", "not-scanned")]),
        "nobody has scanned it",
        "Nobody has reviewed it.",
    ),
    "critical": (
        Assurance(scans=CLEAN, findings=[finding(1, "low"), finding(2, "critical")]),
        "2 open findings count against it.",
        "The gravest is critical.",
    ),
    "answered": (
        Assurance(scans=CLEAN, findings=[finding(2, "critical", open_=False)]),
        "No open finding counts against it.",
        "It was scanned on",
    ),
    "reviewed": (
        Assurance(assessment=assessed(REVIEWED, decision(REVIEWED))),
        "Reviewed by rabat-institute until",
        "nobody has scanned it",
    ),
    "approved": (
        Assurance(
            assessment=assessed(
                APPROVED, decision(APPROVED), decision(APPROVED, "cert-ma", number=3)
            ),
            bodies={"cert-ma": "The CERT"},
        ),
        "Approved by The CERT and rabat-institute until",
        "nobody has scanned it",
    ),
    "rejected": (
        Assurance(
            assessment=assessed(
                REJECTED, decision(REJECTED), decision(REJECTED, "cert-ma", passed=False)
            )
        ),
        "cert-ma looked at it and decided against it.",
        "nobody has scanned it",
    ),
    "expired": (
        Assurance(assessment=assessed(LAPSED, decision(LAPSED, ago=100, days=99))),
        "What rabat-institute said about it does not count any more.",
        "nobody has scanned it",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_situation_has_its_sentence(app: Flask, case: str) -> None:
    known, *expected = CASES[case]
    found = said(app, "en", known)
    for part in expected:
        assert part in found, found
    if case not in ("reviewed", "approved"):
        assert "Reviewed by" not in found
        assert "Approved by" not in found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_each_sentence_is_filled_in_each_language(app: Flask, language: str, case: str) -> None:
    known = CASES[case][0]
    with app.test_request_context(f"/{language}/"):
        shown = " ".join(str(each) for each in words.sentences(known))
    assert "%(" not in shown
    assert 'lang="fr"' not in shown, "no French in a trust sentence of another language"
    if language != "en":
        assert said(app, language, known) != said(app, "en", known)


def test_until_is_the_day_on_which_the_level_falls(app: Flask) -> None:
    """Of two bodies the earlier end: then one of them is missing."""
    known = Assurance(
        assessment=assessed(
            APPROVED,
            decision(APPROVED, days=90),
            decision(APPROVED, "cert-ma", number=3, days=40),
        )
    )
    with app.test_request_context("/en/"):
        assert str(languages.day(NOW + timedelta(days=30))) in str(words.reviews(known))


def test_the_head_of_a_component_says_it(browser: FlaskClient) -> None:
    page = text(browser, f"/en/{REVIEWED}")
    assert "Reviewed by Institut d’examen de Rabat until" in page
    assert "2 open findings count against it." in page
    arabic = text(browser, f"/ar/{APPROVED}")
    assert "موافَق عليه من طرف مركز اليقظة والرصد وInstitut d’examen de Rabat" in arabic


def test_the_security_page_shows_the_evidence(browser: FlaskClient) -> None:
    page = browser.get(f"/en/{APPROVED}/security").get_data(as_text=True)
    words_ = text(browser, f"/en/{APPROVED}/security")
    for part in ("Level 3", "Offline use only", "Letters of administrations", "Passed"):
        assert part in words_, part
    assert f"/tuf/targets/reviews/cert-ma/{APPROVED}/{'cd' * 32}.1.0.0.vsa.json" in page


@pytest.mark.parametrize(
    ("name", "chip", "banners"),
    [
        (REVIEWED, "Reviewed", 0),
        (APPROVED, "Approved", 0),
        (REJECTED, "Rejected", 2),
        (LAPSED, "", 0),
    ],
)
def test_the_gravest_stands_on_top(
    browser: FlaskClient, name: str, chip: str, banners: int
) -> None:
    page = browser.get(f"/en/{name}").get_data(as_text=True)
    heading = page[page.index("<h1") : page.index("</h1>")]
    assert ("chip" in heading) == bool(chip)
    assert chip in heading
    head = page.partition('class="tabs"')[0]
    assert head.count('<div class="banner bad"') == banners
    if banners:
        assert f'href="/en/{name}/security#reviews"' in head
        assert f'href="/en/{name}/security#findings"' in head


@pytest.mark.parametrize(
    ("name", "word"),
    [(REVIEWED, "Reviewed"), (APPROVED, "Approved"), (REJECTED, "Rejected"), (LAPSED, "In force")],
)
def test_a_badge_says_what_counts_and_until_when(
    browser: FlaskClient, name: str, word: str
) -> None:
    svg = browser.get(f"/en/{name}/badge.svg").get_data(as_text=True)
    root = ElementTree.fromstring(svg)
    label = root.attrib["aria-label"]
    assert word in label
    if name != LAPSED:
        from_, until = (f"{NOW + timedelta(days=days):%F}" for days in (-10, 80))
        assert f"{from_}/{until}" in label
        assert f"/en/{name}/security" in svg


def test_programs_get_the_same(browser: FlaskClient) -> None:
    found = browser.get(f"/en/{APPROVED}.json").get_json()["assurance"]
    assert found["assessment"]["level"] == "approved"
    assert found["open_findings"] == 0
    assert found["scan_state"] == "clean"
    first = found["assessment"]["standing"][0]
    assert first["envelope"] == (
        f"/tuf/targets/reviews/cert-ma/{APPROVED}/{'cd' * 32}.1.0.0.vsa.json"
    )
    lapsed = browser.get(f"/en/{LAPSED}.json").get_json()["assurance"]["assessment"]["lapsed"]
    assert [each["code"] for each in lapsed] == ["unreadable", "review-expired"]
    assert lapsed[0]["envelope"] is None


def test_every_finding_shows_what_became_of_it(browser: FlaskClient) -> None:
    page = text(browser, f"/en/{REVIEWED}/security")
    for part in (
        "Medium GLOBAL os.system Open", "High GLOBAL os.system Settled",
        "The publisher says: Mitigated Read with weights_only Confirmed by a reviewer",
        "GLOBAL os.system Waived", "Waived by مركز اليقظة والرصد until",
        "Critical GLOBAL os.system Gone", "weights.bin", "picklescan 1.2", "Nothing found",
    ):  # fmt: skip
        assert part in page, part
    grown = text(browser, "/en/casa-mobility/traffic-2025/security")
    assert "counts again until somebody looks anew. Severity then: Low" in grown
    assert "counts again" not in page
    assert page.index("Open") < page.index("Settled"), "what is open comes first"


def test_a_scan_that_failed_is_never_clean(browser: FlaskClient) -> None:
    page = text(browser, f"/en/{REJECTED}/security")
    assert "Scan failed out of memory" in page
    assert "A scan on" in text(browser, f"/en/{REJECTED}")
    stale = text(browser, f"/en/{LAPSED}/security")
    assert "Out of date" in stale
    assert "Not scanned Not stated" in stale


def test_what_does_not_count_says_why(browser: FlaskClient) -> None:
    page = text(browser, f"/en/{LAPSED}/security")
    assert "Institut d’examen de Rabat Does not count" in page
    assert "It has expired." in page
    assert "no JSON" in page
    rejected = text(browser, f"/en/{REJECTED}/security")
    assert "Names of drivers are in it" in rejected


@pytest.mark.parametrize("path", ["", "/security"])
def test_strangers_words_do_nothing(browser: FlaskClient, path: str) -> None:
    html = browser.get(f"/en/{LAPSED}{path}").get_data(as_text=True)
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert EVIL not in html


def test_the_page_on_reviews(browser: FlaskClient) -> None:
    page = text(browser, "/en/reviews")
    for part in (
        "مركز اليقظة والرصد", "2 reviewers’ keys", "1 reviewer’s key",
        "never reviews: digital-agency", "nobody yet", "Ending soon", "Reviewed",
        "CERT-2026-1", "Nothing that Institut d’examen de Rabat signed counts after",
    ):  # fmt: skip
        assert part in page, part
    value: dict[str, Any] = browser.get("/en/reviews.json").get_json()
    assert [each["name"] for each in value["bodies"]] == ["cert-ma", "rabat-institute"]
    assert value["expiring"][0]["level"] == "reviewed"
    assert value["queue"][0]["body"] is None


def test_without_bodies_the_page_says_so(world: World) -> None:
    empty = world.registry.differing(assurances=FakeAssurances())
    browser = create_app(empty).test_client(use_cookies=False)
    assert "The authority names no reviewer body yet." in text(browser, "/en/reviews")
    assert browser.get("/en/reviews.json").get_json() == {
        "bodies": [], "queue": [], "expiring": [], "waivers": [], "roles": [],
    }  # fmt: skip
