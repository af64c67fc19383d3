"""Paths that mean one place everywhere, and trees in which no two mean the same."""

from __future__ import annotations

import unicodedata

import pytest

from signing.errors import MalformedError
from signing.paths import MAX_PATH_BYTES, MAX_SEGMENTS, check_path, check_paths

ARABIC_254_BYTES = "ن" * 127
GOOD = {
    "plain": "README.md",
    "nested": "weights/model.safetensors",
    "arabic": "بطاقة/اقرأني.md",
    "arabic-with-zwnj": "می\u200cخواهم.txt",
    "arabic-255-bytes": ARABIC_254_BYTES + "a",
    "tifinagh": "ⵜⴰⵎⴰⵣⵉⵖⵜ.md",
    "nfc": unicodedata.normalize("NFC", "e\u0301te.md"),
    "emoji": "❤\ufe0f.md",
    "inner-space": "a b/c d.txt",
    "leading-dot": ".config/.hidden",
    "git-below-the-top": "docs/.gitignore",
    "percent": "100%.md",
    "percent-word": "50%-off.md",
    "dots": "a..b/...c",
    "device-like": "console/common.con",
    "longest": "/".join(["a" * 63] * 16),
    "deepest": "/".join(["a"] * MAX_SEGMENTS),
}
BAD = {
    "empty": "",
    "none": None,
    "number": 5,
    "bytes": b"a",
    "absolute": "/etc/passwd",
    "two-slashes": "a//b",
    "proc": "//proc/self/root",
    "parent": "../a",
    "parent-inside": "a/../b",
    "parent-at-the-end": "a/..",
    "dot": "./a",
    "only-dot": ".",
    "folder": "a/",
    "drive": "C:/Windows",
    "stream": "a.txt:hidden",
    "backslash": "a\\..\\b",
    "file-url": "file:///etc/passwd",
    "question": "a?b",
    "hash": "a#b",
    "star": "a*",
    "quote": 'a"b',
    "less": "a<b",
    "greater": "a>b",
    "pipe": "a|b",
    "nul": "a\0b",
    "newline": "a\nb",
    "carriage-return": "a\rb",
    "escape": "a\x1b[31mb",
    "c1-control": "a\x9bb",
    "delete": "a\x7fb",
    "lone-surrogate": "a\ud800b",
    "private-use": "a\ue000b",
    "unassigned": "a\u0378b",
    "noncharacter": "a\uffffb",
    "bidi-override": "model\u202etxt.exe",
    "bidi-isolate": "a\u2066b",
    "right-to-left-mark": "a\u200fb",
    "arabic-letter-mark": "a\u061cb",
    "zero-width-space": "a\u200bb",
    "word-joiner": "a\u2060b",
    "byte-order-mark": "\ufeffa",
    "line-separator": "a\u2028b",
    "paragraph-separator": "a\u2029b",
    "soft-hyphen": "mo\u00addel.py",
    "invisible-times": "a\u2062b",
    "tag": "a\U000e0041b",
    "hangul-filler": "a\u3164b",
    "grapheme-joiner": "a\u034fb",
    "percent-dots": "%2e%2e/a",
    "percent-slash": "a%2Fb",
    "percent-backslash": "a%5cb",
    "percent-nul": "a%00",
    "percent-twice": "%252e%252e/a",
    "percent-letter": "%61",
    "final-dot": "a./b",
    "final-space": "a /b",
    "leading-space": " a",
    "space": " ",
    "not-nfc": "e\u0301te.md",
    "con": "con",
    "con-with-extension": "a/CON.txt",
    "nul-device": "NUL",
    "aux-two-extensions": "aux.tar.gz",
    "com1": "COM1",
    "com-superscript": "com¹.txt",
    "lpt9": "lpt9",
    "conin": "CONIN$",
    "device-then-space": "con .txt",
    "git-folder": ".git/config",
    "gitattributes": ".gitattributes",
    "git-upper": ".GIT/hooks",
    "git-with-joiner": ".g\u200cit/config",
    "256-bytes-of-arabic": ARABIC_254_BYTES + "aa",
    "256-bytes": "a" * 256,
    "too-long": "/".join(["a" * 64] * 16),
    "too-deep": "/".join(["a"] * (MAX_SEGMENTS + 1)),
}


@pytest.mark.parametrize("path", GOOD.values(), ids=GOOD)
def test_accepts_paths_that_mean_one_place(path: str) -> None:
    assert check_path(path, "x") == path


def test_the_longest_path_is_as_long_as_it_may_be() -> None:
    assert len(GOOD["longest"]) + 1 == MAX_PATH_BYTES
    assert len(GOOD["arabic-255-bytes"].encode()) == 255


@pytest.mark.parametrize("path", BAD.values(), ids=BAD)
def test_refuses_paths_that_could_mean_another_place(path: object) -> None:
    with pytest.raises(MalformedError) as caught:
        check_path(path, "manifest.json: files[0].path")
    assert caught.value.where == "manifest.json: files[0].path"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("char", '\\:*?"<>|#')
def test_every_character_of_the_rule_is_refused(char: str) -> None:
    with pytest.raises(MalformedError):
        check_path(f"a{char}b", "x")


def test_the_bound_of_a_name_is_its_own() -> None:
    with pytest.raises(MalformedError, match="255 bytes"):
        check_path("a" * 256, "x")


COLLISIONS = {
    "same": ["a", "a"],
    "case": ["README.md", "readme.md"],
    "case-of-a-folder": ["Data/a", "data/b"],
    "sharp-s": ["straße", "STRASSE"],
    "final-sigma": ["ς", "σ"],
    "ligature": ["ﬁle", "file"],
    "full-width": ["ａ", "a"],
    "kelvin": ["\u212a", "k"],
    "arabic-presentation-form": ["ﻻ", "لا"],
    "superscript": ["m²", "m2"],
    "joiner": ["می\u200cخ", "میخ"],
    "variation-selector": ["❤\ufe0f", "❤"],
    "file-and-folder": ["a", "a/b"],
    "file-and-folder-by-case": ["A", "a/b"],
    "file-and-deep-folder": ["a/b", "a/B/c/d"],
}


@pytest.mark.parametrize("paths", COLLISIONS.values(), ids=COLLISIONS)
@pytest.mark.parametrize("order", [1, -1], ids=["as-is", "reversed"])
def test_refuses_two_paths_for_one_place(paths: list[str], order: int) -> None:
    with pytest.raises(MalformedError) as caught:
        check_paths(paths[::order], "files")
    assert caught.value.where == "files"


@pytest.mark.parametrize(
    "paths", [[], ["a"], ["a/b", "a/c"], ["a", "ab/c"], ["a-b", "a.b", "a_b"], ["ن", "ت"]]
)
def test_accepts_trees_of_different_places(paths: list[str]) -> None:
    check_paths(paths, "files")
