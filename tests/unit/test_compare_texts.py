"""What is read whole: vocabularies, configurations, sources, wheels, requirements, cards, facts."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from builders import forge_toml
from comparing import codes_of, compared, only, remarks_of
from hypothesis import given
from hypothesis import strategies as st

from forge_cli.compare import cards, python, requirements, structured, tokens, wheels
from forge_cli.compare.document import DANGER, RefusedError
from forge_cli.compare.files import nature

# --- files ------------------------------------------------------------------------------------


def test_files_came_went_changed_and_moved(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"a.txt": "1", "gone": "2", "old-name": "3", "same": "4", "empty": ""},
        {"a.txt": "11", "came": "5", "new-name": "3", "same": "4", "other-empty": ""},
    ).document["files"]
    assert [each["path"] for each in found["added"]] == ["came", "other-empty"]
    assert [each["path"] for each in found["removed"]] == ["empty", "gone"]
    assert [each["path"] for each in found["changed"]] == ["a.txt"]
    assert [(each["old"], each["new"]) for each in found["renamed"]] == [("old-name", "new-name")]
    assert found["unchanged"] == 1


PICKLE = b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94."


@pytest.mark.parametrize(
    ("path", "head", "code"),
    [
        ("model.pt", b"", False),
        ("weights.bin", PICKLE, False),
        ("weights.bin", b"PK\x03\x04", False),
        ("weights.bin", b"\x00\x01\x02", None),
        ("weights.dat", PICKLE, False),
        ("notes.txt", PICKLE, False),
        ("x.npy", b"\x93NUMPY", False),
        ("x", b"\x93NUMPY", False),
        ("graph.onnx", b"", False),
        ("layer.keras", b"", False),
        ("run.py", b"", True),
        ("RUN.PY", b"", True),
        ("site.pth", b"import os", False),
        ("lib.so", b"\x7fELF", True),
        ("readme", b"\x7fELF", True),
        ("tool", b"#!/bin/sh", True),
        ("book.ipynb", b"{", True),
        ("model.safetensors", b"MZ", None),
        ("card.md", b"# hello", None),
        ("folder.py/data", b"", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_runs_is_known_by_name_and_by_first_bytes(
    path: str, head: bytes, code: bool | None
) -> None:
    found = nature(path, head)
    assert (None if found is None else found.code) == code


def test_a_pickle_under_another_name_is_found_and_comes_first(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a.md": "x"}, {"a.md": "y", "weights.dat": PICKLE, "x.py": "1"})
    first = found.remarks[:2]
    assert [(each.code, each.path) for each in first] == [
        ("code-new", "x.py"), ("executing-format-new", "weights.dat"),
    ]  # fmt: skip
    assert all(each.level == DANGER for each in first)


def test_data_that_becomes_code_by_its_name_is_remarked(tmp_path: Path) -> None:
    found = compared(tmp_path, {"run.txt": "import os"}, {"run.py": "import os"})
    assert ("code-new", "run.py", "now taken for: Python source") in remarks_of(found)


# --- vocabularies -----------------------------------------------------------------------------


def tokenizer(**changes: Any) -> str:
    value = {
        "model": {
            "type": "BPE",
            "vocab": changes.get("vocab", {"a": 0, "b": 1, "c": 2}),
            "merges": changes.get("merges", ["a b", "b c"]),
        },
        "added_tokens": changes.get("added", [{"id": 3, "content": "<s>", "special": True}]),
        "normalizer": changes.get("normalizer"),
    }
    return json.dumps(value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"vocab": {"a": 0, "b": 1, "c": 2, "d": 3}}, {"added": {"count": 1, "first": ["d"]}}),
        ({"vocab": {"a": 0, "b": 1}}, {"removed": {"count": 1, "first": ["c"]}}),
        ({"vocab": {"a": 0, "b": 2, "c": 1}}, {"renumbered": {"count": 2, "first": ["b", "c"]}}),
        ({"merges": ["b c", "a b"]}, {"merges_reordered": True}),
        ({"merges": [["a", "b"], ["b", "c"], ["c", "a"]]},
         {"merges_added": {"count": 1, "first": ["c a"]}}),
        ({"added": [{"id": 3, "content": "<s>", "special": False}]},
         {"special": [{"token": "<s>", "old": '{"id": 3, "special": true}',
                       "new": '{"id": 3, "special": false}'}], "special_count": 1}),
        ({"normalizer": {"type": "NFC"}},
         {"keys": [{"key": "normalizer", "old": "null", "new": None},
                   {"key": "normalizer.type", "old": None, "new": '"NFC"'}]}),
    ],
    ids=["added", "removed", "renumbered", "reordered", "merge", "special", "normalizer"],
)  # fmt: skip
def test_each_change_of_a_tokenizer(
    tmp_path: Path, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = compared(tmp_path, {"tokenizer.json": tokenizer()},
                     {"tokenizer.json": tokenizer(**changes)})  # fmt: skip
    assert only(found.document["tokenizers"]) == {"path": "tokenizer.json", **expected}


def test_special_tokens_and_templates_are_called_out(tmp_path: Path) -> None:
    template = {"chat_template": "{{ system }}", "eos_token": "</s>"}
    found = compared(
        tmp_path,
        {"tokenizer.json": tokenizer(), "tokenizer_config.json": json.dumps(template),
         "chat_template.jinja": "a"},
        {"tokenizer.json": tokenizer(added=[]),
         "tokenizer_config.json": json.dumps({"chat_template": "evil", "eos_token": "<e>"})},
    )  # fmt: skip
    remarks = remarks_of(found)
    assert ("special-token", "tokenizer.json", "special token <s> removed") in remarks
    assert ("special-token", "tokenizer_config.json", "special token eos_token changed") in remarks
    where = "tokenizer_config.json: chat_template"
    assert ("chat-template", where, "the chat template was changed") in remarks
    assert ("chat-template", "chat_template.jinja", "the chat template was removed") in remarks
    sections = next(e for e in found.document["tokenizers"] if e["path"] == where)["sections"]
    assert only(sections)["first_added"] == ["evil"]


def test_very_many_special_tokens_are_counted_and_not_all_listed() -> None:
    many = {f"<{number}>": "x" for number in range(20_000)}
    found = tokens.compare("t", tokens.Vocabulary(), tokens.Vocabulary(special=many))
    assert only(list(found.members))["special_count"] == 20_000
    assert len(found.remarks) < 100
    assert "19960 more" in found.remarks[-1].text


def test_vocabularies_in_lines(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"vocab.txt": "a\nb\u2028\n", "merges.txt": "#version: 0.2\na b\n"},
        {"vocab.txt": "a\nb\u2028\nc\n", "merges.txt": "#version: 0.3\na b\nb c\n"},
    )
    merges, vocab = found.document["tokenizers"]
    assert merges["merges_added"]["first"] == ["b c"]
    assert vocab["added"]["first"] == ["c"]
    assert "renumbered" not in vocab


# --- JSON -------------------------------------------------------------------------------------


def test_keys_are_compared_as_values(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"config.json": '{"a": 1, "b": {"c": [1, 2]}, "gone": true, "n": 1.0}'},
        {"config.json": '{ "n":1.00, "b":{"c":[1,3]},"a":1, "new": null }'},
    )
    assert only(found.document["configs"])["keys"] == [
        {"key": "b.c", "old": "[1, 2]", "new": "[1, 3]"},
        {"key": "gone", "old": "true", "new": None},
        {"key": "new", "old": None, "new": "null"},
    ]


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "_target_"])
def test_configuration_that_names_code_is_dangerous(tmp_path: Path, key: str) -> None:
    found = compared(tmp_path, {"c.json": "{}"}, {"c.json": json.dumps({"x": [{key: "evil"}]})})
    assert ("remote-code", "c.json") in [each[:2] for each in remarks_of(found, DANGER)]
    gone = compared(tmp_path / "2", {"c.json": json.dumps({key: "evil"})}, {"c.json": "{}"})
    assert "remote-code" not in codes_of(gone)


def test_two_long_values_that_begin_alike_do_not_look_alike(tmp_path: Path) -> None:
    found = compared(tmp_path, {"c.json": json.dumps({"t": "x" * 900})},
                     {"c.json": json.dumps({"t": "x" * 899 + "y"})})  # fmt: skip
    change = only(only(found.document["configs"])["keys"])
    assert change["old"] != change["new"]
    assert len(change["new"]) < 300


HOSTILE_JSON = [
    b"{" * 200_000, b"[" * 100_000 + b"]" * 100_000, b'{"a": 1, "a": 2}', b"\xff", b"NaN",
    b"1" * 5000, b'{"a": ' * 70 + b"1" + b"}" * 70, b"",
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_json_that_does_not_hold_is_said_and_never_unchanged(tmp_path: Path, data: bytes) -> None:
    for name in ("config.json", "tokenizer.json", "special_tokens_map.json"):
        found = compared(tmp_path / name, {name: "{}"}, {name: data})
        assert codes_of(found) == {"not-compared"}, name


def test_lone_surrogates_and_too_many_values_are_no_trouble() -> None:
    found = structured.compare_json("c", b"{}", b'{"\\ud800": "\\udfff"}')
    assert only(list(found.members))["keys"][0]["key"] == "\\ud800"
    many = json.dumps({str(number): number for number in range(50_001)}).encode()
    with pytest.raises(RefusedError, match="at most 50000 values"):
        structured.compare_json("c", b"{}", many)


# --- Python -----------------------------------------------------------------------------------


def test_imports_and_calls_by_the_names_they_come_from() -> None:
    source = b"""
import os.path, subprocess as sp
from os import system as run
from . import helper
import numpy
def f():
    from ctypes import CDLL
    run("x"); sp.run(["x"]); eval("1"); CDLL("y"); builtins.exec("z"); numpy.array([1])
"""
    found = python.read(source)
    assert found.imports == {"os.path", "subprocess", "os", ".", "numpy", "ctypes"}
    assert found.calls == {"os.system", "subprocess.run", "eval", "ctypes.CDLL", "exec"}


def test_what_reaches_beyond_a_computation_is_dangerous(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"a.py": "import json, os\n"},
        {"a.py": "import socket, urllib.request, torch.hub, torch\nimport json\neval('1')\n"},
    )
    assert ("reaching-call", "a.py", "calls eval") in remarks_of(found, DANGER)
    assert (
        "reaching-import", "a.py", "imports socket, torch.hub, urllib.request",
    ) in remarks_of(found, DANGER)  # fmt: skip
    assert ("import-new", "a.py", "imports torch") in remarks_of(found)
    assert only(found.document["python"])["imports"]["removed"] == ["os"]


@pytest.mark.parametrize(
    "source",
    [b"def", b"\x00", b"(" * 5000, b"-" * 100_000 + b"1", b"x = 1\n" * 200_000, b"\xff\xfe",
     b"a." * 60_000 + b"b", b"# coding: no-such\n"],
    ids=["syntax", "NUL", "brackets", "signs", "too long", "no text", "dots", "coding"],
)  # fmt: skip
def test_sources_that_cannot_be_read_are_said(tmp_path: Path, source: bytes) -> None:
    found = compared(tmp_path, {"a.py": "import os\n"}, {"a.py": source})
    assert "not-compared" in codes_of(found)
    assert "code-changed" in codes_of(found)


def test_nothing_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    source = f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n"
    compared(tmp_path / "x", {}, {"a.py": source, "setup.py": source, "conftest.py": source})
    assert not trap.exists()


# --- wheels and requirements ------------------------------------------------------------------


def wheel(version: str = "1.0", *, compress: int = zipfile.ZIP_STORED, **files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compress) as archive:
        archive.writestr(
            f"pkg-{version}.dist-info/METADATA",
            f"Name: pkg\nVersion: {version}\n{files.pop('needs', '')}\nbody\n",
        )
        for name, content in files.items():
            archive.writestr(name.replace("__in__", f"pkg-{version}.dist-info/"), content)
    return data.getvalue()


OLD, NEW = "pkg-1.0-py3-none-any.whl", "pkg-1.1-py3-none-any.whl"


def test_two_versions_of_a_wheel_are_one_that_changed(tmp_path: Path) -> None:
    old = wheel(needs="Requires-Dist: numpy>=1\n", **{"pkg/a.py": "x = 1\n", "pkg/b.py": ""})
    new = wheel(
        "1.1",
        needs="Requires-Dist: numpy>=2\nRequires-Dist: evil @ https://evil.example/e.whl\n",
        **{"pkg/a.py": "import socket\n", "pkg/b.py": "", "pkg/n.so": "\x7fELF",
           "evil.pth": "import os", "__in__entry_points.txt": "[console_scripts]\nls = pkg:a\n"},
    )  # fmt: skip
    found = compared(tmp_path, {OLD: old}, {NEW: new})
    value = only(found.document["wheels"])
    assert (value["old_path"], value["path"]) == (OLD, NEW)
    assert value["added"]["first"] == [
        "evil.pth", "pkg.dist-info/entry_points.txt", "pkg/n.so",
    ]  # fmt: skip
    assert value["changed"]["first"] == ["pkg.dist-info/METADATA", "pkg/a.py"]
    assert value["entry_points"] == [{"key": "console_scripts ls", "old": None, "new": "pkg:a"}]
    source = only(found.document["python"])
    assert (source["path"], source["imports"]["added"]) == (f"{NEW}!/pkg/a.py", ["socket"])
    needs = only(found.document["requirements"])["requirements"]
    assert [each["name"] for each in needs] == ["evil", "numpy"]
    dangers = {(code, path) for code, path, _ in remarks_of(found, DANGER)}
    assert dangers >= {
        ("requirement-elsewhere", NEW), ("reaching-import", f"{NEW}!/pkg/a.py"),
        ("code-new", f"{NEW}!/pkg/n.so"), ("executing-format-new", f"{NEW}!/evil.pth"),
    }  # fmt: skip


def test_the_same_files_packed_otherwise_did_not_change(tmp_path: Path) -> None:
    files = {"pkg/a.py": "x = 1\n" * 100}
    found = compared(tmp_path, {OLD: wheel(**files)},
                     {OLD: wheel(compress=zipfile.ZIP_DEFLATED, **files)})  # fmt: skip
    assert only(found.document["wheels"]) == {"path": OLD}


def twice() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.py", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.py", "2")
    return data.getvalue()


def bomb() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    return data.getvalue().replace((1 << 20).to_bytes(4, "little"), (3 << 30).to_bytes(4, "little"))


def lying() -> bytes:
    """Says one byte and holds a million: only what was promised is read, and it does not fit."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    return data.getvalue().replace((1 << 20).to_bytes(4, "little"), (1).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no ZIP archive"), (b"PK\x05\x06", "no ZIP archive"), (wheel()[:-5], "a "),
        (wheel() + b"x", "a wheel"), (wheel() + wheel(), "a directory"), (twice(), "once"),
        (bomb(), "in a wheel"), (lying(), "a wheel"),
    ],
    ids=["empty", "end only", "cut", "trailing", "two archives", "twice", "bomb", "lying"],
)  # fmt: skip
def test_hostile_wheels_are_said(tmp_path: Path, data: bytes, why: str) -> None:
    found = compared(tmp_path, {OLD: wheel()}, {OLD: data})
    texts = [text for code, _, text in remarks_of(found) if code == "not-compared"]
    assert why in only(texts)


def test_a_directory_of_very_many_members_is_not_read() -> None:
    end = b"PK\x05\x06" + bytes(8) + (9 << 20).to_bytes(4, "little") + bytes(6)
    with pytest.raises(RefusedError, match="a directory of at most"):
        wheels.open_wheel(bytes(9 << 20) + end)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_in_a_wheel_do_more_than_be_refused(noise: bytes, at: int) -> None:
    good = wheel(**{"pkg/a.py": "import os\n"})
    data = good[:at] + noise + good[at + len(noise) :]
    with contextlib.suppress(RefusedError):
        list(wheels.compare((OLD, good), (OLD, data)))


def test_requirement_lists(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"requirements.txt": "numpy>=1  # why\n\n# note\ntorch==2.0\n",
         "pyproject.toml": "[project]\ndependencies = ['a']\n"},
        {"requirements.txt": "numpy >= 2\n--index-url https://evil.example\n",
         "pyproject.toml": "[project]\ndependencies = ['a', 'b']\n[build-system]\n"
                           "requires = ['c']\n"},
    )  # fmt: skip
    project, lines = found.document["requirements"]
    assert [each["name"] for each in project["requirements"]] == ["b", "c"]
    assert {each["name"]: each["new"] for each in lines["requirements"]} == {
        "--index-url https://evil.example": "--index-url https://evil.example",
        "numpy": "numpy >= 2",
        "torch": None,
    }
    assert [path for code, path, _ in remarks_of(found, DANGER)] == ["requirements.txt"]


def test_requirement_lists_that_cannot_be_read() -> None:
    for data in (b"[", b"a" + b".a" * 5000 + b" = 1", b"x" * (1 << 20) + b"x"):
        with pytest.raises(RefusedError):
            requirements.read("pyproject.toml", data)
    with pytest.raises(RefusedError, match="at most 5000 requirements"):
        requirements.read("requirements.txt", b"x\n" * 5001)


# --- cards and facts --------------------------------------------------------------------------


def test_sections_of_a_card(tmp_path: Path) -> None:
    old = "---\nlicense: mit\n---\nintro\n# Use\nfor all\n```\n# no heading\n```\n## Gone\nx\n"
    new = "---\nlicense: gpl\n---\nintro\n# Use\nfor some\n```\n# no heading\n```\n## Limits\ny\n"
    found = compared(tmp_path, {"README.md": old}, {"README.md": new})
    assert [
        (each["section"], each["change"], each["lines_added"], each["lines_removed"])
        for each in only(found.document["cards"])["sections"]
    ] == [
        ("(front matter)", "changed", 1, 1), ("# Use", "changed", 1, 1),
        ("## Limits", "added", 2, 0), ("## Gone", "removed", 0, 2),
    ]  # fmt: skip


def test_a_card_of_very_many_like_lines_takes_no_time() -> None:
    old, new = b"a\nb\n" * 40_000, b"b\na\n" * 40_000
    section = only(list(cards.compare("README.md", old, new).members))["sections"][0]
    assert (section["change"], section["lines_added"]) == ("changed", 0)
    with pytest.raises(RefusedError, match="lines"):
        cards.compare("README.md", b"", b"\n" * 200_000)


def described(version: str, **changes: str) -> str:
    text = forge_toml(version=version, requires={"minds-lab/tok": ">=1"}).decode()
    for old, new in changes.items():
        text = text.replace(*new.split("=>")) if old else text
    return text


def test_what_the_publisher_states(tmp_path: Path) -> None:
    risk = "[risk]\nclass = '{}'\nrationale = 'r'\n"
    old = described("1.0.0") + risk.format("limited")
    new = described("1.1.0", a="Apache-2.0=>MIT", b=">=1=>>=2") + risk.format("minimal")
    found = compared(tmp_path, {"forge.toml": old}, {"forge.toml": new})
    assert found.document["facts"] == [
        {"key": "license", "old": '"Apache-2.0"', "new": '"MIT"'},
        {"key": "requires.minds-lab/tok", "old": '">=1"', "new": '">=2"'},
        {"key": "risk.class", "old": '"limited"', "new": '"minimal"'},
    ]
    texts = {code: text for code, _, text in remarks_of(found)}
    assert texts == {
        "licence-changed": 'licence: "Apache-2.0" → "MIT"',
        "requirement-changed": 'requires minds-lab/tok: ">=1" → ">=2"',
        "risk-changed": 'risk class: "limited" → "minimal" (lower than before)',
    }


def test_another_order_of_languages_says_nothing_else(tmp_path: Path) -> None:
    old, new = (
        described("1.0.0").replace("[requires]", f"languages = {each}\n[requires]")
        for each in (["ar", "fr"], ["fr", "ar"])
    )
    assert compared(tmp_path, {"forge.toml": old}, {"forge.toml": new}).document["facts"] == []


def test_the_document_is_the_same_every_time(tmp_path: Path) -> None:
    old = {"forge.toml": described("1.0.0"), "b.py": "import b, a, os\n", "README.md": "# x\n1\n"}
    new = {"forge.toml": described("1.1.0"), "b.py": "import c, os, socket\n", "z.pt": b"x"}
    first = compared(tmp_path / "1", old, new)
    again = compared(tmp_path / "2", dict(reversed(old.items())), dict(reversed(new.items())))
    assert first.sha256 == again.sha256
    assert str(tmp_path) not in json.dumps(first.document)
    other = compared(tmp_path / "3", old, {**new, "z.pt": b"y"})
    assert other.sha256 != first.sha256
