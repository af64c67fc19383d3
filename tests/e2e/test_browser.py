"""The pages in a real browser: every page in four languages, both directions, wide and narrow, in
light and dark, by keyboard alone, with script and without.

Whatever a page asks of another place, whatever its Content-Security-Policy refuses, and whatever
axe-core finds fails the test. Screenshots for looking at are in build/screenshots, or in the folder
that FORGE_SCREENSHOTS names.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from assurances import everything
from server_fixtures import LiveServer, World, start_server
from showcase import build
from status_hosts import Host
from thorough import EVERY_STEP
from werkzeug.serving import make_server

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.web.languages import LANGUAGES

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
SHOTS = Path(os.environ.get("FORGE_SCREENSHOTS", Path(__file__).parents[2] / "build/screenshots"))
NAME = "digital-agency/name-parser"
WHOLE = ("", "search", "search?q=model&kind=model", "search?q=zzzz", "regions/", "regions/MA-06",
         "log", "reviews", "tombstones", "trust", "statistics", "verify", "api",
         f"verify?sha256={hashlib.sha256(b'The licence' + bytes([10])).hexdigest()}",
         "digital-agency", "login", "nothing/here")  # fmt: skip
TABS = ("", "/versions", "/files", "/lineage", "/security", "/use", "/history", "/1.1.0")
PAGES = (*WHOLE, *(f"{NAME}{tab}" for tab in TABS), "minds-lab/darija-lid",
         "casa-mobility/bus-arrival", "atlas-health/triage-notes")  # fmt: skip
SITUATIONS = (NAME, "minds-lab/darija-lid", "casa-mobility/traffic-2025", "atlas-health/drug-names")
STOPPED, REVOKED = "minds-lab/darija-asr", "minds-lab/keyword-spotter-00"
KNOWN = (
    STOPPED,
    f"{REVOKED}/security",
    "tombstones",
    NAME,
    *(f"{name}/security" for name in SITUATIONS),
    "reviews",
)
WIDE, NARROW = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
LOOKS = (("wide", WIDE, "light"), ("narrow", NARROW, "dark"))
JUDGED = {"en": {"wide"}, "ar": {"narrow"}}
PATIENCE_MS = 600_000  # no page is slow on its own: what is waited for so long never comes
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Lists of links of which some are out of sight, with nothing that says so.
HIDDEN_LINKS = (
    "[...document.querySelectorAll('nav, nav ul')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    ".map(e => e.outerHTML.slice(0, 80))"
)
# How large the letters beside a picture are on the screen, in CSS pixels: a picture that shrinks
# takes its own letters with it.
LETTERS = (
    "[...document.querySelectorAll('.chart p, .chart span, .chart text')].map(e => "
    "parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? e.getScreenCTM().a : 1))"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the whole module."""
    if not Path(CHROMIUM).exists():
        missing = "no chromium here: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A registry with something to look at."""
    root = tmp_path_factory.mktemp("showcase") / "reg"
    initialise(root, dev=True, database=None)
    world = World(root)
    build(world)
    world.close()
    started = start_server(root)
    yield started
    started.kill()


@dataclass(frozen=True)
class Known:
    """The address of a registry, and an access token for it."""

    url: str
    token: str


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Such a registry, of whose components some were scanned and reviewed."""
    root = tmp_path_factory.mktemp("known") / "reg"
    initialise(root, dev=True, database=None, with_status=True)
    world = World(root)
    show = build(world)
    host = Host(world, show.client)
    reason = "يرسل ما يقرأه إلى خارج البلاد"
    host.say(
        host.withheld("quarantined", reason, "darija-asr"),
        host.withheld("revoked", reason, "keyword-spotter-00"),
    )
    app = create_app(world.registry.differing(assurances=everything()))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Known(f"http://127.0.0.1:{server.server_port}", world.user("visitor"))
    server.shutdown()
    thread.join()
    server.server_close()
    world.close()


@dataclass
class Visitor:
    """Somebody with a browser; ``wrong`` is what should not have happened."""

    page: Any
    url: str
    wrong: list[str] = field(default_factory=list)
    expects: tuple[str, ...] = ("404",)

    def watch(self) -> None:
        here = urlsplit(self.url).netloc

        def asked(request: Any) -> None:
            if urlsplit(request.url).netloc != here:
                self.wrong.append(f"asked {request.url}")

        self.page.on("request", asked)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script failed: {error}"))
        self.page.on("console", self._said)

    def _said(self, message: Any) -> None:
        if message.type == "error" and not any(code in message.text for code in self.expects):
            self.wrong.append(message.text)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}/{path}", wait_until="load")

    def follow(self, to: Any) -> None:
        """Clicks on what leads to a page, and waits until that is there: its address is earlier."""
        with self.page.expect_navigation(wait_until="load"):
            to.click()

    def shoot(self, name: str) -> None:
        self.page.evaluate("document.fonts.ready")
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def axe() -> str:
    from axe_playwright_python.sync_playwright import Axe

    return Axe().axe_script  # type: ignore[attr-defined, no-any-return]


@contextmanager
def visitor(browser: Any, url: str, **options: Any) -> Iterator[Visitor]:
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    found = Visitor(context.new_page(), url)
    found.watch()
    try:
        yield found
    finally:
        context.close()
    assert found.wrong == []


def named(path: str) -> str:
    return path.replace("/", "-").replace("?", "-")[:60].strip("-") or "home"


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core holds against the page (WCAG 2.2 A and AA, and its good practice)."""
    # Run from outside the page's own world: the policy of the page holds for the page.
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0].get('failureSummary', '')}"
        for one in found["violations"]
    ]


def look_at(
    someone: Visitor, path: str, language: str, axe: str, judged: set[str], kept: str = ""
) -> None:
    """One visit, wide and in light, then narrow and in dark. The page is what it says it is and
    sticks out nowhere; axe-core judges it where ``judged`` says so, and it is photographed there,
    under a name that begins with ``kept``."""
    page, name = someone.page, named(path.removeprefix(f"{language}/"))
    someone.open(path)
    for how, size, scheme in LOOKS:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        said = page.evaluate("[document.documentElement.lang, document.documentElement.dir]")
        assert said == [language, "rtl" if language == "ar" else "ltr"]
        over = page.evaluate(OVER)
        assert over <= 0, f"{path} ({how}) is {over} px too wide"
        assert page.evaluate(HIDDEN_LINKS) == [], f"{path} ({how})"
        if how in judged or EVERY_STEP:
            assert violations(page, axe) == [], f"{path} ({how})"
            someone.shoot(f"{language}-{kept}{name}-{how}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_accessible_and_asks_nobody_else(
    chromium: Any, server: LiveServer, axe: str, language: str
) -> None:
    """All languages have the same templates and colours, so that what axe-core sees of them differs
    by direction alone: it looks at each page in one language of each direction, at one of them in
    light and wide, at the other in dark and narrow. What differs by language, how much room words
    need, is looked at in all; and all of it, both ways in each language, by `make soak`."""
    with visitor(chromium, server.url) as someone:
        for path in PAGES:
            look_at(someone, f"{language}/{path}", language, axe, JUDGED.get(language, set()))


@pytest.mark.parametrize("language", LANGUAGES)
def test_charts_are_read_on_a_telephone(chromium: Any, server: LiveServer, language: str) -> None:
    """Their letters keep their size, and time runs as the text does."""
    ends = "[...document.querySelectorAll('.chart span')].map(e => e.getBoundingClientRect().left)"
    bar = "document.querySelector('.chart .bar').getBoundingClientRect().left"
    with visitor(chromium, server.url) as someone:
        for size in (NARROW, WIDE):
            someone.page.set_viewport_size(size)
            someone.open(f"{language}/statistics")
            letters = someone.page.evaluate(LETTERS)
            assert letters
            assert min(letters) >= 12
            first, last = someone.page.evaluate(ends)[:2]
            assert (last < first) == (language == "ar")
        # All of the showcase is published today, so its bar is at the end.
        someone.page.set_viewport_size(NARROW)
        someone.open(f"{language}/statistics")
        assert (someone.page.evaluate(bar) < NARROW["width"] / 2) == (language == "ar")


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_known_is_as_accessible(
    chromium: Any, known: Known, axe: str, language: str
) -> None:
    """Scans, findings and reviews in every state. Their words are chosen by state: where a language
    lacks one, a name is empty, so axe-core looks at them in every language."""
    with visitor(chromium, known.url) as someone:
        for path in KNOWN:
            judged = JUDGED.get(language, {"wide"})
            look_at(someone, f"{language}/{path}", language, axe, judged, "known-")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_login_is_approved_without_script(
    chromium: Any, known: Known, axe: str, language: str
) -> None:
    """From the code that somebody types to the word that it is done, in every language."""
    asked = json.loads(
        urllib.request.urlopen(
            f"{known.url}/oauth/device", b"client_id=forge&scope=read+publish&device_name=ws-12"
        ).read()
    )
    with visitor(chromium, known.url, viewport=NARROW) as someone:
        someone.expects = ("401",)
        someone.open(f"{language}/login?user_code={asked['user_code']}")
        assert violations(someone.page, axe) == []
        assert someone.page.evaluate(OVER) <= 0
        someone.shoot(f"{language}-login-narrow")
    with visitor(chromium, known.url, viewport=WIDE, java_script_enabled=False) as someone:
        someone.expects = ("401",)
        page = someone.page
        someone.open(f"{language}/login")
        page.fill("#user_code", asked["user_code"].lower())
        someone.follow(page.locator("form[method=get] button"))
        assert page.locator(".claims").inner_text().count("ws-12") == 2
        page.fill("#token", "forge_x")
        someone.follow(page.locator("button[value=approve]"))
        assert page.locator(".banner[role=alert]").count() == 1
        assert page.input_value("#token") == "", "no page repeats a token"
        page.fill("#token", known.token)
        someone.follow(page.locator("button[value=approve]"))
        assert page.locator("[role=status]").count() == 1
        assert page.url == f"{known.url}/{language}/login"
        someone.shoot(f"{language}-login-done")
        assert [each["name"] for each in page.context.cookies()] in ([], ["lang"])


def test_our_own_letters_are_used(chromium: Any, server: LiveServer) -> None:
    fonts = "document.fonts.ready.then(() => [...document.fonts].map(f => [f.family, f.status]))"
    with visitor(chromium, server.url) as someone:
        someone.open("ar/")
        someone.page.wait_for_function("document.fonts.status === 'loaded'")
        assert ["Forge Arabic", "loaded"] in someone.page.evaluate(fonts)
        someone.open("zgh/")
        someone.page.wait_for_function("document.fonts.status === 'loaded'")
        assert ["Forge Tifinagh", "loaded"] in someone.page.evaluate(fonts)


def test_everything_can_be_done_by_keyboard(chromium: Any, server: LiveServer) -> None:
    """From the first key press to a component and its files, and the focus is always seen."""
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    with visitor(chromium, server.url, viewport=WIDE) as someone:
        page = someone.page
        someone.open("en/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "q"
        page.keyboard.type("name-parser")
        page.keyboard.press("Enter")
        page.wait_for_url("**/en/search?q=name-parser")
        for wanted, address in (
            (f"/en/{NAME}", f"**/en/{NAME}"), (f"/en/{NAME}/files", f"**/en/{NAME}/files"),
        ):  # fmt: skip
            for _ in range(120):
                page.keyboard.press("Tab")
                assert page.evaluate(outline) != "none"
                if page.evaluate("document.activeElement.getAttribute('href')") == wanted:
                    break
            page.keyboard.press("Enter")
            page.wait_for_url(address)
        page.keyboard.press("Shift+Tab")


@pytest.mark.parametrize("language", ["ar", "fr"])
def test_without_script_everything_works(
    chromium: Any, server: LiveServer, language: str
) -> None:  # fmt: skip
    with visitor(chromium, server.url, java_script_enabled=False) as someone:
        page = someone.page
        someone.open(f"{language}/")
        page.fill("#q", "ocr")
        someone.follow(page.locator("form.search button"))
        assert page.locator(".hit").count() == 2
        someone.follow(page.locator(".facets a").first)
        assert page.locator(".hit").count() >= 1
        someone.follow(page.locator(".hit h3 a").first)
        for at in range(7):
            someone.follow(page.locator(".tabs a").nth(at))
            assert page.locator(".tabs [aria-current=page]").count() == 1
        someone.open(f"{language}/verify")
        assert not page.locator("#drop").is_visible()
        page.fill("#sha256", hashlib.sha256(b"The licence\n").hexdigest())
        someone.follow(page.locator("#by-digest-form button"))
        assert page.locator("tbody tr").count() > 10
        someone.follow(page.locator(".langs a[lang=en]"))
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator("tbody tr").count() > 10, "the language changes, the page stays"


def test_a_file_is_hashed_in_the_browser_and_stays_there(
    chromium: Any, server: LiveServer, tmp_path: Path
) -> None:
    known, unknown = tmp_path / "LICENSE.txt", tmp_path / "big.bin"
    known.write_bytes(b"The licence\n")
    unknown.write_bytes(os.urandom(9 * 2**20 + 17))  # more than two chunks, and not whole blocks
    with visitor(chromium, server.url) as someone:
        sent: list[tuple[str, str | None]] = []
        someone.page.on("request", lambda request: sent.append((request.method, request.post_data)))
        for file in (known, unknown):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            someone.open("en/verify")
            someone.page.set_input_files("#file", file)
            someone.page.wait_for_url(f"**/en/verify?sha256={digest}")
            words = someone.page.locator("#result").inner_text()
            assert ("No signed release" in words) == (file is unknown)
        assert {method for method, _ in sent} == {"GET"}
        assert not any(data for _, data in sent)


def test_a_page_is_readable_on_paper(chromium: Any, server: LiveServer) -> None:
    with visitor(chromium, server.url, viewport=WIDE) as someone:
        someone.open(f"ar/{NAME}/1.1.0")
        someone.page.emulate_media(media="print")
        assert not someone.page.locator("nav.main").is_visible()
        assert someone.page.locator(".checks li").first.is_visible()
        someone.shoot("ar-print")
