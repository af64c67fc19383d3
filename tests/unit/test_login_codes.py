"""The two codes of a login that is approved elsewhere."""

from __future__ import annotations

import hashlib

import pytest

from forge_server.domain.login_codes import (
    ALPHABET,
    device_digest,
    new_device_code,
    parse_device,
    parse_user_code,
    shown_user_code,
    user_code_of,
)
from forge_server.errors import RegistryError


def test_device_codes_are_kept_as_digests_only() -> None:
    code = new_device_code(bytes(range(32)))
    assert len(code) == 43
    assert device_digest(code) == hashlib.sha256(code.encode()).hexdigest()
    for other in ("", code[:-1], code + "a", code[:-1] + "=", code[:-1] + "\n", "é" * 43):
        assert device_digest(other) is None


def test_user_codes_have_no_vowels_digits_or_likelier_letters() -> None:
    assert len(ALPHABET) == 20
    assert not set(ALPHABET) & set("AEIOUY0123456789")
    every = bytes(range(256))
    letters = [user_code_of(bytes([byte] * 8)) for byte in every]
    counts = {letter: letters.count(letter * 8) for letter in ALPHABET}
    assert set(counts.values()) == {12}, "each letter stands for as many bytes"
    assert letters.count(None) == 16
    assert user_code_of(every[:7]) is None


@pytest.mark.parametrize("text", ["WDJBMJHT", "wdjb-mjht", " WDJB MJHT ", "w d-j b m j h t"])
def test_user_codes_are_read_as_people_type_them(text: str) -> None:
    code = parse_user_code(text)
    assert code == "WDJBMJHT"
    assert shown_user_code(code) == "WDJB-MJHT"


@pytest.mark.parametrize(
    "text", ["", "WDJBMJH", "WDJBMJHTT", "WDJBMJHA", "WDJB_MJHT", "١٢٣٤٥٦٧٨", "ＷDJBMJHT"]
)
def test_what_is_no_user_code(text: str) -> None:
    assert parse_user_code(text) is None


@pytest.mark.parametrize(
    "text",
    ["Security desk: approve now", "a b", "-a", "a.", "a" * 64, "x\n", "<b>x</b>", "جهاز", "%20"],
)  # fmt: skip
def test_no_sentence_passes_for_the_name_of_a_machine(text: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_device(text)
    assert caught.value.code == "malformed"


def test_names_of_machines() -> None:
    assert parse_device("ws-12.lab_a.example") == "ws-12.lab_a.example"
    assert parse_device(None) is parse_device("") is None
