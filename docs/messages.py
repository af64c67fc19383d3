"""Brings the catalogues of the pages up to date with the words in templates and code.

    python docs/messages.py            adds what is new, drops what is gone
    python docs/messages.py --check    fails when something is missing or left over

English is filled in by itself: it is the source. A translator edits the ``.po`` files; the server
reads those very files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

from forge_server.web.languages import LANGUAGES, po_file

WEB = Path(__file__).parents[1] / "forge_server" / "web"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"silent": "false"}}
KEYWORDS = {**DEFAULT_KEYWORDS, "N_": ((1, "c"), 2)}
# What Tamazight must have; for the rest French stands in.
NEEDED = {"zgh": frozenset(("nav", "state", "trust"))}
HEADER = {
    "ar": "# Arabic words of the pages.",
    "fr": "# French words of the pages.",
    "zgh": "# Tamazight words of the pages. Awaiting the review of a native speaker.",
    "en": "# English words of the pages: the source, filled in by docs/messages.py.",
}


@cache
def extracted() -> Catalog:
    """Every message of the pages."""
    catalog = Catalog()
    for _, _, message, _, context in extract_from_dir(
        str(WEB), METHODS, OPTIONS, keywords=KEYWORDS
    ):
        catalog.add(message, context=context)
    return catalog


def read(language: str) -> Catalog:
    """The catalogue of a language; an empty one where there is none yet."""
    path = po_file(language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def updated(language: str) -> bytes:
    """The catalogue of a language with exactly the messages that there are."""
    old, new = read(language), Catalog(locale=language)
    for message in sorted(extracted(), key=_place):
        if not message.id:
            continue
        known = old.get(message.id if isinstance(message.id, str) else message.id[0],
                        message.context)  # fmt: skip
        text = message.id if language == "en" else known.string if known else None
        new.add(message.id, text or "", context=message.context)
    file = BytesIO()
    write_po(file, new, width=100, omit_header=True)
    return _header(new, language) + file.getvalue()


def _header(catalog: Catalog, language: str) -> bytes:
    """Neither dates nor tools: a catalogue changes when its words do."""
    lines = (
        f"Language: {language}", f"Plural-Forms: {catalog.plural_forms}",
        "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit",
    )  # fmt: skip
    members = "".join(f'"{line}\\n"\n' for line in lines)
    return f'{HEADER[language]}\nmsgid ""\nmsgstr ""\n{members}\n'.encode()


def missing(language: str) -> Iterator[Message]:
    """Messages that the catalogue of a language should have and has not, in any plural form."""
    found = read(language)
    needed = NEEDED.get(language)
    for message in extracted():
        if not message.id or (needed is not None and message.context not in needed):
            continue
        key = message.id if isinstance(message.id, str) else message.id[0]
        known = found.get(key, message.context)
        texts = () if known is None else known.string
        forms = [texts] if isinstance(texts, str) else list(texts)
        enough = len(forms) == (found.num_plurals if isinstance(message.id, tuple) else 1)
        if not enough or not all(forms) or (known is not None and known.fuzzy):
            yield message


def _place(message: Message) -> tuple[str, str]:
    return message.context or "", str(message.id)


def main() -> int:
    wrong = 0
    for language in LANGUAGES:
        path, data = po_file(language), updated(language)
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_bytes() != data:
                print(f"{path}: stale: run python docs/messages.py", file=sys.stderr)
                wrong += 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        gaps = list(missing(language))
        wrong += len(gaps)
        for message in gaps:
            print(f"{path}: no words for {message.id!r}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
