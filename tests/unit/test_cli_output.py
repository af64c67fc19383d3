"""What publishers control never steers a terminal; stdout is the answer alone."""

from __future__ import annotations

import io
import json

import pytest

from forge_cli.errors import Failure
from forge_cli.output import Output, align, clean, size_text


def make(*, as_json: bool = False) -> Output:
    return Output(stdout=io.StringIO(), stderr=io.StringIO(), as_json=as_json)


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[1;1Hverified",
        "line\rverified",
        "two\nlines",
        "\x9b31m",
        "\x7f",
        "right\u202eto left",
        "\u2066isolate",
        "\u2028",
        "tab\there",
        "\ud800",
        "\u200bzero width",
        "\U000e0041tag",
    ],
)
def test_control_and_reordering_characters_become_visible(text: str) -> None:
    assert clean(text).isprintable()


@pytest.mark.parametrize("text", ["Darija – الدارجة", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "می‌خواهم", "é"])
def test_plain_text_of_every_script_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_json_leaves_one_document_on_stdout_and_hides_the_lines() -> None:
    out = make(as_json=True)
    out.answer("for people")
    out.result({"a": "ⴰ"})
    assert json.loads(out.stdout.getvalue()) == {"a": "ⴰ"}


def test_a_failure_shows_message_and_hint_on_stderr_only() -> None:
    out = make()
    out.fail(Failure(code="x", exit_code=3, message="bad \x1b[1m\nsecond", hint="do this"))
    assert out.stdout.getvalue() == ""
    shown = out.stderr.getvalue()
    assert "\x1b" not in shown
    assert shown.splitlines() == ["error: bad \\x1b[1m", "       second", "hint: do this"]


def test_a_failure_with_json_is_machine_readable() -> None:
    out = make(as_json=True)
    out.fail(Failure(code="expired", exit_code=3, message="m", expected="e", found="f"))
    assert json.loads(out.stdout.getvalue())["error"]["code"] == "expired"


def test_columns_line_up_in_every_script() -> None:
    assert align([["a", "x"], ["日本", "y"], ["é", "z"]]) == ["a     x", "日本  y", "é     z"]


def test_text_that_the_terminal_cannot_show_is_escaped_not_fatal() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Output(stdout=stream, stderr=stream).answer("ⴰ")
    stream.flush()
    assert raw.getvalue() == b"\\u2d30\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert size_text(size) == text
