"""The words, the look and the addresses of the pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from flask import Flask

from forge_server.compat import huggingface, legacy, oci, pypi
from forge_server.web import pages, words
from forge_server.web.languages import LANGUAGES, po_file
from signing.names import RESERVED_ORG_NAMES
from signing.report import Step
from signing.verify import _STEPS

ROOT = Path(__file__).parents[2]
WEB = ROOT / "forge_server" / "web"
SHEET = (WEB / "static" / "style.css").read_text(encoding="utf-8")
TEMPLATES = sorted((WEB / "templates").glob("*.html"))


def test_the_catalogues_are_complete_and_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "messages.py"), "--check"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_what_is_filled_in(language: str) -> None:
    """A name that a translator dropped is a fact that readers of that language do not get."""
    with po_file(language).open("rb") as file:
        catalogue = read_po(file, locale=language)
    for message in (each for each in catalogue if each.id):
        sources = message.id if isinstance(message.id, tuple | list) else (message.id,)
        texts = message.string if isinstance(message.string, tuple | list) else (message.string,)
        wanted = set(re.findall(r"%\((\w+)\)s", sources[-1]))
        for text in filter(None, texts):
            found = set(re.findall(r"%\((\w+)\)s", text))
            # "one" and "two" may be words; nothing else may be lost, and nothing made up
            lost = wanted - found - ({"shown"} if len(sources) > 1 else set())
            assert not lost, f"{language}: {text}"
            assert found <= wanted, f"{language}: {text}"
            assert len(re.findall(r"%(?!\(\w+\)s|%)", text)) == 0, f"{language}: {text}"


def test_arabic_has_its_six_forms() -> None:
    with po_file("ar").open("rb") as file:
        catalogue = read_po(file, locale="ar")
    assert catalogue.num_plurals == 6
    forms = [message.string for message in catalogue if isinstance(message.id, tuple | list)]
    assert forms
    assert all(len(texts) == 6 and all(texts) for texts in forms)


@pytest.mark.parametrize("step", _STEPS, ids=lambda step: step.title)
def test_every_check_has_words(step: Step[object]) -> None:
    for group in ("check", "establishes", "leaves_open"):
        assert step.title in words.WORDS[group]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_only_words_that_tamazight_has_stand_in_attributes(template: Path) -> None:
    """What another language stands in for is marked with an element, which no attribute can
    hold."""
    text = template.read_text(encoding="utf-8")
    for tag in re.findall(r"<[a-z][^<>]*>", text):
        for value in re.findall(r'\w="([^"]*)"', tag):
            assert not re.search(r"(?<![\w.])(_|n?gettext|say)\(", value), f"{template.name}: {tag}"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_words_of_their_own(template: Path) -> None:
    """Neither script nor style, and no English outside a message."""
    text = template.read_text(encoding="utf-8")
    assert "style=" not in text
    assert not re.search(r"\son\w+=", text)
    assert "|safe" not in text
    if template.name in ("errors.html", "health.html", "refusal.html"):
        return  # of the programs' world, and in English
    plain = re.sub(
        r"<pre.*?</pre>|\{[%{#].*?[%}#]\}|<[^>]*>|&\w+;", " ", text, flags=re.DOTALL
    )  # in <pre> stand commands
    plain = re.sub(
        r"SHA-256|API|JSON-LD|JSON|Atom|OpenSSF Model Signing|Hugging Face|skopeo|pip"
        r"|sha256sum|FILE|certutil"
        r"|-hashfile|SHA256|sha256|trust|forge|add|install|verify|fingerprint|into|uv|curl"
        r"|-fsSLO|blobs|no-index|find-links|components", " ", plain,
    )  # fmt: skip
    assert not re.findall(r"[A-Za-z]{2,}", plain)


def test_the_sheet_knows_no_left_and_right() -> None:
    plain = re.sub(r"/\*.*?\*/", "", SHEET, flags=re.DOTALL)
    assert not re.findall(r"[\w-]*\b(?:left|right|top|bottom)\s*:[^;]*", plain)
    assert not re.findall(r":\s*(?:left|right)\b", plain)
    assert not re.findall(r"(?:margin|padding|border)-(?:left|right|top|bottom)", plain)
    assert not re.findall(r"(?<![\w-])(?:width|height|min-width|max-width)\s*:\s*\d", plain.replace(
        "@media (max-width:", ""
    ))  # fmt: skip


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in (WEB / "static").rglob("*"):
        if path.suffix in (".css", ".js"):
            assert "//" not in re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
    assert "http" not in SHEET.replace('href^="http"', "")


def test_fonts_come_with_their_licence_and_are_small() -> None:
    fonts = sorted((WEB / "static" / "fonts").glob("*.woff2"))
    assert len(fonts) == 2
    for font in fonts:
        assert font.stat().st_size < 60_000
        licence = font.with_suffix(".OFL.txt").read_text()
        assert "SIL Open Font License, Version 1.1" in licence
        assert f"fonts/{font.name}" in SHEET
    assert SHEET.count("unicode-range") == len(fonts), "each is fetched only where it is needed"


def test_no_organisation_can_take_the_place_of_a_page() -> None:
    app = Flask("addresses")
    app.register_blueprint(pages.blueprint())
    taken = {
        part
        for rule in app.url_map.iter_rules()
        for part in rule.rule.replace("/<any(ar,fr,zgh,en):lang>", "").split("/")[1:2]
        if part and not part.startswith("<")
    }
    assert {"search", "regions", "log", "reviews", "tombstones"} <= taken
    assert {"trust", "statistics", "verify"} <= taken
    facades = [part.blueprint().url_prefix for part in (huggingface, legacy, oci, pypi)]
    taken |= {str(prefix).strip("/") for prefix in facades}
    assert taken <= RESERVED_ORG_NAMES
    assert set(LANGUAGES) <= RESERVED_ORG_NAMES
