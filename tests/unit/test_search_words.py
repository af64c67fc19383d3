"""Folding, sounds, distance and the tops of cards: what a rule makes of a word."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_server.search.asking import MAX_WORDS, distance, name_asked, nearest, words_of
from forge_server.search.cards import top_of, translations
from forge_server.search.documents import formats_of, size_class
from forge_server.search.folding import MAX_WORD, folded, split, stem
from forge_server.search.sounds import sound


def stems(text: str) -> list[str]:
    return [stem(word) for word, _ in split(text)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("النَّموذجُ", "النموذج"),  # vowel signs
        ("تَـــرجمة", "ترجمة"),  # tatweel
        ("أحمد", "احمد"), ("إدارة", "ادارة"), ("آلية", "الية"), ("ٱلصحة", "الصحة"),  # alef
        ("مسؤول", "مسوول"), ("شؤون", "شوون"), ("بيئة", "بيية"), ("سماء", "سما"),  # hamza
        ("مدرسة", "مدرسه"),  # ta marbuta
        ("على", "علي"), ("مستشفى", "مستشفي"),  # alef maqsura
        ("فارسی", "فارسي"), ("ک", "ك"), ("ڭ", "ك"), ("ڤ", "ف"),  # other keyboards, Darija
        ("٢٠٢٦", "2026"), ("۲۰۲۶", "2026"),  # digits
        ("Été", "ete"), ("ŒUVRE", "oeuvre"), ("e\u0301", "é"), ("STRASSE", "straße"),
        ("ⵜⴰⵎⴰⵣⵉⵖⵜ", "tamazight"), ("tamaziɣt", "Tamazight"), ("Tamaziγt", "tamazight"),
        ("ⵍⵄⵉⵍⵎ", "lɛilm"), ("ⵥⵥⴰⵢ", "ẓẓay"), ("ⴽⵯⵜⵉ", "kti"),
        ("ﻣﺪﺭﺳﺔ", "مدرسة"),  # presentation forms
        ("ｍｏｄｅｌ", "model"), ("dari\u00adja", "darija"), ("دار\u200cجة", "دارجة"),
    ],
)  # fmt: skip
def test_the_same_word_is_folded_to_the_same(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("الترجمة", "ترجمة"), ("بالترجمة", "ترجمة"), ("والترجمة", "ترجمة"), ("للترجمة", "ترجمة"),
        ("ترجمات", "ترجمة"), ("models", "model"), ("modèles", "modèle"), ("modèle", "model"),
        ("langues", "langue"), ("data", "data"),
    ],
)  # fmt: skip
def test_endings_and_articles_go(one: str, other: str) -> None:
    assert stems(one) == stems(other)


@pytest.mark.parametrize("word", ["corpus", "class", "قانون", "gas", "is", "bus"])
def test_what_is_no_ending_stays(word: str) -> None:
    assert stems(word)[0] == folded(word)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("سلام", "salam"), ("سلام", "slam"), ("حكومة", "7okouma"), ("حكومة", "hukuma"),
        ("قانون", "9anoun"), ("قانون", "qanun"), ("خدمة", "5idma"), ("خدمة", "khidma"),
        ("صحة", "sa7a"), ("مغرب", "maghrib"), ("شمس", "chams"), ("شمس", "shams"),
        ("ورزازات", "ouarzazate"), ("محمد", "mohammed"), ("مراكش", "marrakech"),
        ("ⵜⴰⵛⵍⵃⵉⵜ", "tachelhit"), ("ⵜⵓⵙⵙⵏⴰ", "toussna"), ("ⵣⵣⵉⵜⵓⵏ", "زيتون"),
    ],
)  # fmt: skip
def test_one_hears_the_same_in_two_scripts(one: str, other: str) -> None:
    heard = [sound(*next(iter(split(each)))) for each in (one, other)]
    assert heard[0] is not None
    assert heard[0] == heard[1]


@pytest.mark.parametrize("word", ["a", "io", "ab", "中文", "привет", "123", "و"])
def test_what_cannot_be_told_apart_by_ear_is_not_heard(word: str) -> None:
    assert sound(*next(iter(split(word)))) is None


@given(st.text(max_size=300))
def test_whatever_is_typed_becomes_words_of_letters_and_digits(text: str) -> None:
    for word, _ in split(text):
        assert 0 < len(word) <= MAX_WORD
        assert all(unicodedata.category(each)[0] in "LN" for each in word), ascii(word)
        assert folded(word) == word or len(word) == MAX_WORD, ascii(text)
    words = words_of(text)
    assert len(words) <= MAX_WORDS
    for each in words:
        for pattern in each.patterns:
            for lexeme in (pattern.lexeme, pattern.without or ""):
                assert not set(lexeme) & set("\"'*:()& |\\\0")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Darija LID", ("darija-lid", "")),
        ("org/name", ("", "org/name")),
        (" Minds Lab / Darija_Lid ", ("", "minds-lab/darija-lid")),
        ("", ("", "")),
        ("/", ("", "/")),
    ],
)
def test_a_name_however_it_is_written(typed: str, expected: tuple[str, str]) -> None:
    assert name_asked(typed) == expected


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("model", "model", 0), ("model", "modle", 1), ("model", "moel", 1), ("model", "modeel", 1),
        ("model", "mxdel", 1), ("model", "mxdxl", 2), ("ab", "abcde", 3), ("", "abc", 3),
    ],
)  # fmt: skip
def test_slips_are_counted(one: str, other: str, slips: int) -> None:
    assert distance(one, other, 2) == distance(other, one, 2) == min(slips, 3)


def test_the_nearest_alone() -> None:
    words = ["model", "models", "modal", "nodes", "zebra"]
    assert nearest("modle", words) == ["model"]
    assert nearest("xyz", words) == []
    assert nearest("classificaton", ["classification", "clarification"]) == ["classification"]


def test_words_that_say_nothing_are_left_out_where_there_are_others() -> None:
    assert [word.stem for word in words_of("le modèle de la santé")] == ["model", "sant"]
    assert [word.stem for word in words_of("de la")] == ["de", "la"]


class TestCards:
    @pytest.mark.parametrize(
        ("text", "title", "summary"),
        [
            ("# A title\n\nFirst **words**\nof it.\n\nMore.", "A title", "First words of it."),
            ("---\ntags: [x]\n---\n# T\n\nText", "T", "Text"),
            ("Text alone", None, "Text alone"),
            ("# Only a title", "Only a title", None),
            ("![x](y.png)\n# T\n\n[link](http://x) and <b>bold</b>", "T", "link and bold"),
            ("# T\n\n```\ncode\n```\nText", "T", "Text"),
            ("", None, None),
            ("# \u202eevil\n\nx\u202ey", None, None),
            ("\ufeff# T", "T", None),
        ],
    )
    def test_the_top_is_plain_text(self, text: str, title: str | None, summary: str | None) -> None:
        top = top_of(text.encode())
        assert (top.title, top.summary) == (title, summary)

    def test_long_ones_are_cut_at_a_word(self) -> None:
        top = top_of(("# " + "title " * 100 + "\n\n" + "word " * 500).encode())
        assert top.title is not None
        assert len(top.title) <= 120
        assert top.summary is not None
        assert len(top.summary) <= 300
        assert top.summary.endswith("word…")

    @given(st.binary(max_size=2000))
    def test_any_bytes_are_read(self, data: bytes) -> None:
        top_of(data)

    def test_hostile_markup_is_read_quickly(self) -> None:
        for text in ("[" * 60_000, "<" * 60_000, "*" * 60_000, "![](" * 15_000, "# " * 30_000):
            top_of(text.encode())

    def test_where_translations_are(self) -> None:
        assert translations("README.md")["ar"] == "README.ar.md"
        assert translations("docs/CARD.md")["zgh"] == "docs/CARD.zgh.md"


def test_formats_and_sizes() -> None:
    assert formats_of(["a/b.SAFETENSORS", "x.whl", "README", "no.thing", ".gguf"]) == {
        "safetensors", "wheel", "gguf",
    }  # fmt: skip
    assert size_class(0) == size_class(10**6) == "up-to-1-mb"
    assert size_class(10**6 + 1) == "up-to-10-mb"
    assert size_class(10**12) == "over-10-gb"
