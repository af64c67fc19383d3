"""The pages as a browser without script gets them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from server_fixtures import (
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    copied_world,
    forge_toml,
    sara,
    world,
)
from showcase import BODIES, build, png
from sqlalchemy import event, update
from werkzeug.test import TestResponse

from forge_server.app import create_app
from forge_server.db.models import Component, Organisation, Release
from forge_server.domain.text import harmless
from forge_server.operate.initialise import initialise
from forge_server.web import languages
from forge_server.web.languages import LANGUAGES
from forge_server.web.meanings import MEANINGS
from forge_server.web.words import WORDS
from signing.profile import REGIONS

__all__ = ["_fresh_registry", "client", "sara", "world"]

NAME = "digital-agency/name-parser"
WHOLE = (
    "", "search", "search?q=model", "search?q=zzzz", "regions/", "regions/MA-06", "regions/MA-12",
    "log", "reviews", "tombstones", "trust", "statistics", "verify", "api", "digital-agency",
)  # fmt: skip
TABS = ("", "/versions", "/files", "/lineage", "/security", "/use", "/history", "/1.1.0")
PAGES = [*WHOLE, *(f"{NAME}{tab}" for tab in TABS)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with something in it, made once and not opened again."""
    root = tmp_path_factory.mktemp("showcase") / "reg"
    initialise(root, dev=True, database=None)
    made = World(root)
    build(made)
    made.close()
    return root


@pytest.fixture(scope="module")
def shared(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For tests that only read."""
    yield from copied_world(filled, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def browser(shared: World) -> FlaskClient:
    return create_app(shared.registry).test_client(use_cookies=False)


@pytest.fixture
def own(filled: Path, tmp_path: Path) -> Iterator[World]:
    """For tests that spoil something."""
    yield from copied_world(filled, tmp_path)


def text_of(answer: TestResponse, status: int = 200) -> str:
    assert answer.status_code == status, answer.get_data(as_text=True)[:2000]
    return answer.get_data(as_text=True)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PAGES)
def test_every_page_in_every_language(browser: FlaskClient, path: str, language: str) -> None:
    answer = browser.get(f"/{language}/{path}")
    page = text_of(answer)
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in page
    assert answer.headers["Content-Language"] == language
    assert "<style" not in page
    assert " style=" not in page
    assert ("<script" in page) == (path == "verify")
    for word in ("http://", "https://"):
        rest = page.replace("http://localhost/", "")
        assert word not in rest or path == NAME, "only a card may link elsewhere"
    for other in LANGUAGES:
        assert f'href="/{other}/{escape(path)}"' in page
    sheet = browser.get("/static/style.css")
    assert len(answer.data) + len(sheet.data) <= 50_000
    sheet.close()


@pytest.mark.parametrize(
    ("headers", "there"),
    [
        ({}, "/en/"),
        ({"Accept-Language": "fr-MA,fr;q=0.9,en;q=0.5"}, "/fr/"),
        ({"Accept-Language": "ar"}, "/ar/"),
        ({"Accept-Language": "ary,fr;q=0.4"}, "/ar/"),
        ({"Accept-Language": "tzm-Latn, en;q=0.1"}, "/zgh/"),
        ({"Accept-Language": "zh-CN, de"}, "/ar/"),
        ({"Accept-Language": "en;q=0, fr;q=0.1"}, "/fr/"),
        ({"Accept-Language": "fr", "Cookie": "lang=zgh"}, "/zgh/"),
        ({"Accept-Language": "fr", "Cookie": "lang=../x"}, "/fr/"),
    ],
)
def test_the_first_page_chooses_a_language(
    browser: FlaskClient, headers: dict[str, str], there: str
) -> None:
    answer = browser.get("/", headers=headers)
    assert answer.status_code == 302
    assert answer.headers["Location"] == there
    assert answer.headers["Vary"] == "Accept-Language, Cookie"


def test_a_language_that_somebody_chose_is_remembered(shared: World) -> None:
    reader = create_app(shared.registry).test_client()
    french = {"Accept-Language": "fr"}
    assert "Set-Cookie" not in reader.get("/fr/", headers=french).headers
    cookie = reader.get("/ar/", headers=french).headers["Set-Cookie"]
    assert cookie.startswith("lang=ar;")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert reader.get("/", headers=french).headers["Location"] == "/ar/"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"/components/{NAME}", f"/fr/{NAME}"),
        ("/organisations/minds-lab", "/fr/minds-lab"),
    ],
)
def test_old_addresses_lead_to_the_new_ones(browser: FlaskClient, old: str, new: str) -> None:
    answer = browser.get(old, headers={"Accept-Language": "fr"})
    assert answer.status_code == 301
    assert answer.headers["Location"] == new
    assert browser.get("/?q=a+b").headers["Location"] == "/en/search?q=a+b"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fr/nobody", 404), ("/fr/nobody/nothing", 404), (f"/fr/{NAME}/9.9", 404),
        (f"/fr/{NAME}/versions/x", 404), ("/fr/regions/MA-99", 404), ("/fr/search?sort=x", 400),
        ("/fr/search?page=0", 400), ("/fr/search?page=x", 400), (f"/fr/{NAME}/files?first=-1", 400),
        ("/fr/Digital-Agency/x", 400), (f"/fr/{NAME}/versions?old=1.1.0&new=1.1.0", 200),
        (f"/fr/{NAME}/versions?old=7&new=8", 200), (f"/fr/{NAME}/files?version=7", 404),
        ("/de/", 404), ("/fr/verify?sha256=x", 200),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_the_language(
    browser: FlaskClient, path: str, status: int
) -> None:
    answer = browser.get(path)
    page = text_of(answer, status)
    if path.startswith("/fr/"):
        assert '<html lang="fr"' in page
    assert "ETag" in answer.headers or status != 200


def test_pages_have_strong_etags(browser: FlaskClient) -> None:
    for path in PAGES:
        first = browser.get(f"/ar/{path}")
        etag = first.headers["ETag"]
        assert not etag.startswith("W/")
        again = browser.get(f"/ar/{path}", headers={"If-None-Match": etag})
        assert again.status_code == 304, path
        assert again.data == b""
        other = browser.get(f"/fr/{path}", headers={"If-None-Match": etag})
        assert other.status_code == 200


@contextmanager
def statements(of: World) -> Iterator[list[str]]:
    """The SQL that is sent meanwhile."""
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if statement != "BEGIN":
            seen.append(statement)

    engine = of.registry.database.reading.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


# At most so many, however many components, versions and files there are. Four of them ask whether
# the registry takes changes; of a component four say what is known of the release that is shown.
BUDGET = {
    "": 6, "search": 6, "search?q=model": 7, "regions/": 5, "regions/MA-06": 7, "log": 7,
    "reviews": 5, "tombstones": 6, "trust": 4, "statistics": 10, "verify": 4, "api": 4,
    f"verify?sha256={'0' * 64}": 8, "digital-agency": 6, NAME: 19, f"{NAME}/versions": 20,
    f"{NAME}/files": 18, f"{NAME}/lineage": 18, f"{NAME}/security": 16, f"{NAME}/use": 16,
    f"{NAME}/history": 19, f"{NAME}/1.1.0": 18,
}  # fmt: skip


@pytest.mark.parametrize("path", BUDGET)
def test_a_page_asks_the_database_little(
    shared: World, browser: FlaskClient, path: str
) -> None:  # fmt: skip
    text_of(browser.get(f"/en/{path}"))
    with statements(shared) as seen:
        text_of(browser.get(f"/en/{path}"))
    assert len(seen) <= BUDGET[path], "\n".join(seen)


def test_who_answers_and_how_to_get_it_stand_on_top(browser: FlaskClient) -> None:
    page = text_of(browser.get(f"/en/{NAME}"))
    head, _, _ = page.partition('class="tabs"')
    for words in (
        "Reads Moroccan names", "Digital Development Agency", "Rabat-Salé-Kénitra",
        "ia@digital-agency.example", "Signed by <bdi>Digital Development Agency</bdi> on <time",
        "Nobody has reviewed it.", "nobody has scanned it", "==1.1.0", "sha256:", "1 second",
    ):  # fmt: skip
        assert words in head, words
    arabic = text_of(browser.get(f"/ar/{NAME}"))
    assert "موقَّع من طرف <bdi>وكالة التنمية الرقمية</bdi>" in arabic
    assert "ثانية واحدة" in arabic
    nothing = text_of(browser.get("/en/atlas-health/drug-names"))
    assert nothing.partition('class="tabs"')[0].count("Not stated") == 2, "region and contact"


@pytest.mark.parametrize("tab", ["", "/history", "/1.1.0"])
def test_what_a_card_says_in_the_readers_language_stands_on_top(
    browser: FlaskClient, tab: str
) -> None:
    """As in the list that led there, on every tab, and as a claim."""
    for language, title, summary in (
        ("ar", "محلّل الأسماء", "يقرأ الأسماء المغربية."), ("fr", "Noms", "Lit les noms."),
    ):  # fmt: skip
        head, _, _ = text_of(browser.get(f"/{language}/{NAME}{tab}")).partition('class="tabs"')
        assert f"<strong><bdi>{title}</bdi></strong> – <bdi>{summary}</bdi>" in head
    old = text_of(browser.get(f"/ar/{NAME}/1.0.0")).partition('class="tabs"')[0]
    assert "Reads Moroccan names" in old, "the card that is indexed is the newest version's"


def test_a_body_has_one_name_in_lists_and_on_its_page(browser: FlaskClient) -> None:
    listed = text_of(browser.get("/ar/search?q=name-parser"))
    assert "<bdi>وكالة التنمية الرقمية</bdi>" in listed
    assert "Agence de développement du digital" not in listed
    assert "Agence de développement du digital" in text_of(browser.get("/fr/search?q=name-parser"))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (NAME, ('simple/ "name-parser==1.1.0"', "digital-agency/name-parser:1.1.0")),
        ("minds-lab/sentence-embedder", ("hf hf download minds-lab/sentence-embedder --rev",)),
        ("digital-agency/open-forms", ("--repo-type dataset", "skopeo copy docker://")),
        ("minds-lab/darija-chat-prompt", ("skopeo copy docker://",)),
    ],
)
def test_the_tools_that_people_have_are_named_with_their_lines(
    browser: FlaskClient, name: str, lines: tuple[str, ...]
) -> None:
    page = text_of(browser.get(f"/en/{name}/use"))
    for line in lines:
        assert line in page, page
    assert "they verify no signature" in page


def test_what_a_model_is_built_on_is_a_claim(browser: FlaskClient) -> None:
    """Its publisher says so; that it requires something is what clients act on."""
    page = text_of(browser.get(f"/en/{NAME}/lineage"))
    sections = {part.split('"')[0]: part for part in page.split('aria-labelledby="')[1:]}
    claimed = [name for name, part in sections.items() if "Claims of the publisher" in part]
    assert claimed == ["models", "datasets"]


def test_the_interface_reads_as_text_in_one_direction(browser: FlaskClient) -> None:
    page = text_of(browser.get("/ar/api"))
    assert "`" not in page
    assert '<bdi dir="ltr"><code>blobs</code></bdi> are the digests' in page
    assert "`" not in text_of(browser.get("/ar/api?part=Reviews"))


def test_who_finds_nothing_is_led_to_everything(browser: FlaskClient) -> None:
    page = text_of(browser.get("/en/search?q=zzzz"))
    assert '<a href="/en/search">All components</a>' in page


@pytest.mark.parametrize("lang", list(LANGUAGES))
def test_every_state_that_a_component_may_show_is_explained(
    browser: FlaskClient, lang: str
) -> None:
    shown = {
        group: set(WORDS[group])
        for group in ("state", "review", "decision", "scan", "finding", "answer", "verdict",
                      "check_status")
    }  # fmt: skip
    for group, key in (("lapse", "review-expired"), ("act", "recall.start"),
                       ("severity", "critical"), ("value", "unknown")):  # fmt: skip
        shown[group] = {key}
    told = {(one.group, one.key): one.message for one in MEANINGS}
    assert len(told) == len(MEANINGS)
    assert set(told) == {(group, key) for group, keys in shown.items() for key in keys}
    page = text_of(browser.get(f"/{lang}/trust"))
    main = page.partition('<h2 id="states">')[2]
    assert main.count("<dt>") == len(MEANINGS)
    with browser.application.test_request_context():
        languages.use(lang)
        for one in MEANINGS:
            assert str(escape(one.sentence())) in main
            assert lang == "en" or one.sentence() != one.message[1]


def test_facts_and_claims_are_apart(browser: FlaskClient) -> None:
    page = text_of(browser.get(f"/en/{NAME}"))
    claims = page.split('class="claims"')[1:]
    assert len(claims) == 2
    assert 'class="card"' in claims[0]
    assert "Licence" in claims[1]
    for part in ("security", "history", "files", "versions"):
        assert 'class="claims"' not in text_of(browser.get(f"/en/{NAME}/{part}"))


def test_old_translations_say_so(browser: FlaskClient) -> None:
    page = text_of(browser.get(f"/fr/{NAME}"))
    assert '<article class="card" lang="fr" dir="ltr">' in page
    assert "plus ancienne que le texte d’origine" in page
    assert "plus ancienne" not in text_of(browser.get(f"/fr/{NAME}?card=source"))
    fresh = text_of(browser.get("/ar/minds-lab/darija-lid"))
    assert '<article class="card" lang="ar" dir="rtl">' in fresh
    assert "أقدم من النص الأصلي" not in fresh


def test_cards_show_images_of_the_release_alone(browser: FlaskClient) -> None:
    page = text_of(browser.get(f"/en/{NAME}"))
    source = f"/en/{NAME}/1.1.0/images/images/picture.png"
    assert f'<img src="{source}" alt="picture">' in page
    assert "elsewhere.example" not in page
    image = browser.get(source)
    assert image.status_code == 200
    assert image.data == png()
    assert image.headers["Content-Type"] == "image/png"
    assert image.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("weights.bin", "README.md", "images/../images/picture.png", "nothing.png"):
        assert browser.get(f"/en/{NAME}/1.1.0/images/{path}").status_code in (404, 400)


def test_a_withdrawn_version_and_an_expired_index_are_said_first(browser: FlaskClient) -> None:
    page = text_of(browser.get("/en/casa-mobility/bus-arrival"))
    assert page.count('<div class="banner warn"') == 1
    assert "Wrong on feast days" in page
    assert "Its publisher withdrew it: choose another version." in page
    assert "forge install" not in page.partition("Claims of the publisher")[0]
    assert "forge install" not in text_of(browser.get("/en/casa-mobility/bus-arrival/use"))
    assert "Wrong on feast days" in text_of(browser.get("/en/tombstones"))
    expired = text_of(browser.get("/ar/atlas-health/triage-notes"))
    assert "منتهي الصلاحية" in expired
    assert "forge install" not in expired.partition('class="tabs"')[0]


def test_every_check_is_laid_out(browser: FlaskClient) -> None:
    page = text_of(browser.get(f"/en/{NAME}/1.1.0"))
    assert page.count('<li class="passed">') == 8
    assert page.count('<li class="not-checked">') == 3
    assert "Does not hold" not in page
    assert "1 of 1 key(s) needed" in page
    assert f"/tuf/targets/{NAME}/1.1.0/" in page


def test_what_does_not_hold_is_shown(own: World) -> None:
    """Somebody with the server's disk exchanged a signature."""
    reader = create_app(own.registry).test_client()
    with own.registry.database.write() as session:
        session.execute(
            update(Release)
            .where(Release.role == NAME.replace("/", "."), Release.version == "1.1.0")
            .values(bundle_sha256=hashlib.sha256(b"another").hexdigest())
        )
    place = own.root / "public" / "targets" / NAME / "1.1.0"
    other = place / f"{hashlib.sha256(b'another').hexdigest()}.release.sigstore.json"
    other.write_bytes(b"another")
    page = text_of(reader.get(f"/en/{NAME}/1.1.0"))
    assert '<li class="failed">' in page
    assert "Does not hold" in page


def test_verify_says_which_releases_have_a_file(browser: FlaskClient) -> None:
    digest = hashlib.sha256(b"The licence\n").hexdigest()
    for form in (digest, f"sha256:{digest.upper()}"):
        page = text_of(browser.get("/en/verify", query_string={"sha256": form}))
        assert f"sha256:{digest}" in page
        assert "LICENSE.txt" in page
        assert "A file of it" in page
    assert page.count("<tr>") == 1 + 38 - 2, "every release but the two examples"
    withdrawn = page.partition("casa-mobility/bus-arrival")[2].partition("</tr>")[0]
    assert "Withdrawn" in withdrawn
    nothing = text_of(browser.get("/ar/verify", query_string={"sha256": "0" * 64}))
    assert "لا يوجد في أي إصدار موقَّع" in nothing
    assert "is no SHA-256 digest" in text_of(browser.get("/en/verify?sha256=%3Cscript%3E"))


def test_verify_takes_a_signature(shared: World, browser: FlaskClient) -> None:
    (bundle,) = (shared.root / "public" / "targets" / NAME / "1.0.0").glob("*.sigstore.json")
    sent = {"bundle": (io.BytesIO(bundle.read_bytes()), "x.sigstore.json")}
    page = text_of(browser.post("/en/verify", data=sent))
    assert "Its signature" in page
    assert NAME in page
    page = text_of(browser.post("/en/verify", data={"bundle": (io.BytesIO(b"x" * 9), "x")}))
    assert "No signed release has it" in page
    for data in ({}, {"bundle": (io.BytesIO(b""), "x")}, {"bundle": "text"}):
        assert "No file was sent" in text_of(browser.post("/en/verify", data=data))
    form = "multipart/form-data; boundary=x"
    large = browser.post("/en/verify", data=b"x" * 5_000_000, content_type=form)
    assert large.status_code == 413
    assert 'lang="en"' in text_of(large, 413)


def test_only_verify_may_run_a_script_and_nothing_may_come_from_elsewhere(
    browser: FlaskClient,
) -> None:
    for path in PAGES:
        policy = browser.get(f"/en/{path}").headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert ("script-src" in policy) == (path == "verify")


def test_regions_and_organisations(browser: FlaskClient) -> None:
    page = text_of(browser.get("/fr/regions/"))
    for code in REGIONS:
        assert f'href="/fr/regions/{code}"' in page
    assert "1 organisme n’a pas indiqué de région." in page
    casa = text_of(browser.get("/ar/regions/MA-06"))
    assert "مختبر العقول" in casa
    assert "minds-lab/keyword-spotter-19" in casa
    for body in BODIES:
        assert body.name in text_of(browser.get(f"/en/{body.name}"))


def test_facets_and_sorting_are_links(browser: FlaskClient) -> None:
    page = text_of(browser.get("/en/search?q=ocr&kind=model"))
    assert "/en/search?q=ocr&amp;kind=model&amp;language=" in page
    assert 'href="/en/search?q=ocr"' in page, "the choice can be dropped"
    assert "sort=updated" in page
    both = text_of(browser.get("/en/search?kind=dataset&kind=prompt"))
    assert "5 components" in both
    assert 'rel="next"' in text_of(browser.get("/en/search"))
    last = text_of(browser.get("/en/search?page=2"))
    assert 'rel="prev"' in last
    assert 'rel="next"' not in last
    empty = text_of(browser.get("/en/search?q=qqqqqq"))
    assert "Nothing found for <bdi>qqqqqq</bdi>." in empty
    assert "Write fewer words" in empty


def test_results_come_before_what_narrows_them(browser: FlaskClient) -> None:
    """For the keyboard, a screen reader and a telephone; a link leads from there to the choices."""
    page = text_of(browser.get("/fr/search"))
    places = [page.index(each) for each in ('href="#narrow"', 'class="hits"', 'id="narrow"')]
    assert places == sorted(places)


def test_a_name_that_is_near_is_shown_with_whose_it_is_and_whether_it_was_reviewed(
    browser: FlaskClient,
) -> None:
    for typed in ("keywrd-spottr-19", "spotter zzzzzzzz"):
        page = text_of(browser.get(f"/en/search?q={typed}"))
        assert f"Nothing found for <bdi>{typed}</bdi>." in page
        assert "look at who publishes it" in page
        hit = page.partition('<li class="hit">')[2].partition('<li class="hit">')[0]
        assert "keyword-spotter-19" in page
        assert "Not reviewed" in hit or "Reviewed" in hit or "Approved" in hit
        assert 'href="/en/minds-lab"><bdi>' in page
    assert "Nothing found" not in text_of(browser.get("/en/search?q=keyword-spotter-19"))


def test_numbers_dates_and_plurals_are_of_the_language(browser: FlaskClient) -> None:
    french = text_of(browser.get("/fr/statistics"))
    assert "1,4 Mo" in french.replace("&nbsp;", " ")
    assert "37" in french
    arabic = text_of(browser.get("/ar/search?kind=dataset"))
    assert "4 مكوّنات" in arabic
    assert "مكوّن واحد" in text_of(browser.get("/ar/search?kind=prompt"))
    assert "37 مكوّنًا" in text_of(browser.get("/ar/search"))


def test_every_page_on_both_databases(world: World, sara: Client) -> None:
    toml = forge_toml() + b'card = "README.md"\n'
    files = {"README.md": b"# Card\n", "w.bin": b"w" * 9}
    sara.publish(world.release(toml=toml, files=files))
    sara.publish(world.release(toml=toml.replace(b"1.0.0", b"1.1.0"), files=files))
    digest = hashlib.sha256(b"w" * 9).hexdigest()
    for path in (*WHOLE[:-1], ORG, f"verify?sha256={digest}"):
        text_of(sara.flask.get(f"/fr/{path}"))
    for tab in (*TABS[:-1], "/1.0.0", "/1.1.0", "/versions?old=1.0.0&new=1.1.0"):
        page = text_of(sara.flask.get(f"/fr/{ORG}/my-model{tab}"))
        assert "Minds Lab" in page
    assert "my-model" in text_of(sara.flask.get(f"/en/verify?sha256={digest}"))
    assert "2 versions publiées" in " ".join(
        text_of(sara.flask.get("/fr/statistics")).replace("</strong>", "").split()
    ).replace("<strong>", "")


EVIL = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' OR 1=1; DROP TABLE users --",
    "{{7*7}}", "%(who)s %s %d", "=cmd|'/c calc'!A1", "\u202egnp.exe", "\x9b31m red",
    "[x](javascript:alert(1))", "</title><svg onload=alert(1)>", "&lt;b&gt;",
]  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_what_others_write_is_shown_as_text(own: World, text: str) -> None:
    """Through every field, also with what no publisher can send: the pages do not rely on it."""
    with own.registry.database.write() as session:
        session.execute(
            update(Component).where(Component.name == "name-parser").values(
                summary=text, license=text, languages=[text], tasks=[text]
            )
        )  # fmt: skip
        names = {"ar": text, "fr": text, "zgh": text, "en": text}
        session.execute(
            update(Organisation).where(Organisation.name == "digital-agency").values(
                display_name=text, contact=text, names=names
            )
        )  # fmt: skip
        for row in session.query(Release).where(Release.role == "digital-agency.name-parser"):
            row.yanked = text
            row.details = {**row.details, "risk": {"class": "high", "rationale": text},
                           "requires": {"digital-agency/open-forms": text}}  # fmt: skip
    own.registry.index.rebuild()
    reader = create_app(own.registry).test_client()
    shown = str(escape(harmless(text)))
    for path in ("", "/versions", "/files", "/lineage", "/security", "/use", "/history", "/1.1.0"):
        page = text_of(reader.get(f"/en/{NAME}{path}"))
        assert shown in page
        assert "<script" not in page
        assert "onerror=alert(1)>" not in page
        assert "<svg onload" not in page
        assert not set("\u202e\x9b") & set(page)
    for path in ("digital-agency", "regions/MA-04", "tombstones", "search?q=name-parser", ""):
        page = text_of(reader.get(f"/ar/{path}"))
        assert "<script" not in page
        assert not set("\u202e\x9b") & set(page)
    search = text_of(reader.get("/zgh/search", query_string={"q": text}))
    assert "<script" not in search
    assert shown in search
