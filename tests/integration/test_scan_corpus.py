"""The corpus of hostile models before every scanner, in the processes where they run: each is
caught, or shown as not clean. The table in the reference is the one that this makes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from hostile_models import (
    MARKER,
    OTHERS,
    PICKLES,
    gguf,
    headed,
    onnx,
    tarred,
    tensor,
    zipped,
)
from hostile_wrappings import WRAPPINGS

from forge_server.scans.base import Answer, File
from forge_server.scans.known import known
from forge_server.scans.running import Limits, Opened, run

PAGE = Path(__file__).parents[2] / "docs/reference/scanners.md"
ALL = {**PICKLES, **WRAPPINGS}
LIMITS = Limits(memory_bytes=2**30, seconds=60)


def ask(scanner: str, cases: Mapping[str, tuple[str, bytes]], folder: Path) -> dict[str, Answer]:
    """What the scanner says of each ``{case: (path, bytes)}``."""
    opened = []
    for number, (path, data) in enumerate(cases.values()):
        place = folder / f"{scanner}-{number}"
        place.write_bytes(data)
        file = File(path=path, size=len(data), sha256="0" * 64)
        opened.append(Opened(file=file, descriptor=os.open(place, os.O_RDONLY)))
    answers = run(scanner, opened, {"license": "Apache-2.0", "kind": "model"}, None, LIMITS)
    return dict(zip(cases, answers, strict=True))


@pytest.fixture(scope="module")
def pickles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Answer]]:
    folder = tmp_path_factory.mktemp("pickles")
    cases = {case: ("model.pt", data) for case, data in ALL.items()}
    return {
        scanner: ask(scanner, cases, folder) for scanner in ("formats", "picklescan", "fickling")
    }


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("others")
    said: dict[str, Answer] = {}
    for scanner in sorted({each[0] for each in OTHERS.values()}):
        cases = {case: each[1:] for case, each in OTHERS.items() if each[0] == scanner}
        said |= ask(scanner, cases, folder)
    return said


@pytest.mark.parametrize("case", sorted(ALL))
def test_no_pickle_with_a_payload_is_clean(
    pickles: dict[str, dict[str, Answer]], case: str
) -> None:
    for scanner, answers in pickles.items():
        assert answers[case].state in ("findings", "failed"), (scanner, answers[case])
    assert "findings" in {pickles[each][case].state for each in ("picklescan", "fickling")}
    assert not MARKER.exists()


@pytest.mark.parametrize("case", sorted(OTHERS))
def test_none_of_the_others_is_clean(others: dict[str, Answer], case: str) -> None:
    assert others[case].state != "clean"
    assert others[case].detail or others[case].items


@pytest.mark.parametrize("case", sorted(OTHERS))
def test_its_scanner_wants_it(case: str) -> None:
    scanner, path, data = OTHERS[case]
    assert known()[scanner].wants(path, len(data), data[:512], data[-65600:])


@pytest.mark.parametrize("case", sorted(ALL))
def test_the_scanners_of_pickles_want_it_whatever_its_name(case: str) -> None:
    data = ALL[case]
    for scanner in ("formats", "picklescan", "fickling"):
        assert known()[scanner].wants("notes", len(data), data[:512], data[-65600:])


GOOD = {
    "safetensors": ("safetensors", "m.safetensors", headed({"a": tensor()}, bytes(8))),
    "gguf": ("gguf", "m.gguf", gguf("{% for m in messages %}{{ m['content'] }}{% endfor %}")),
    "onnx": ("onnx", "m.onnx", onnx("weights/data.bin")),
    "zip": ("archives", "a.zip", zipped({"a/b": b"1", "c": b"2"})),
    "tar": ("archives", "a.tar", tarred({"a/b": b"1"})),
    "pickle-of-data": ("picklescan", "m.pkl", pickle.dumps({"a": [1, 2.5, "x"]}, 4)),
    "pickle-of-data-again": ("fickling", "m.pkl", pickle.dumps({"a": [1, 2.5, "x"]}, 4)),
    "text": ("secrets", "a.txt", b"nothing to hide\n"),
    "long-text": ("secrets", "a.txt", b"nothing to hide\n" * 400_000),
    "licence": ("licence", "LICENSE", b"Apache License Version 2.0"),
    "format": ("formats", "a.txt", b"words"),
}


@pytest.mark.parametrize("case", sorted(GOOD))
def test_what_keeps_the_rules_is_clean(tmp_path: Path, case: str) -> None:
    scanner, path, data = GOOD[case]
    assert ask(scanner, {case: (path, data)}, tmp_path)[case].state == "clean"


def table(pickles: dict[str, dict[str, Answer]], others: dict[str, Answer]) -> str:
    lines = ["| hostile file | picklescan | fickling |", "|---|---|---|"]
    for case in sorted(ALL):
        told = (shown(pickles[each][case]) for each in ("picklescan", "fickling"))
        lines.append(f"| {case} | {' | '.join(told)} |")
    lines += ["", "| hostile file | scanner | says |", "|---|---|---|"]
    for case in sorted(OTHERS):
        lines.append(f"| {case} | {OTHERS[case][0]} | {shown(others[case])} |")
    return "\n".join(lines)


def shown(answer: Answer) -> str:
    worst = max((each.severity for each in answer.items), key=_GRADES.index, default="")
    return f"{answer.state} ({worst})" if worst else answer.state


_GRADES = ("", "low", "medium", "high", "critical")


def test_the_reference_shows_what_they_say(
    pickles: dict[str, dict[str, Answer]], others: dict[str, Answer]
) -> None:
    expected = table(pickles, others)
    assert expected in PAGE.read_text(encoding="utf-8"), f"write this into {PAGE}:\n{expected}"
