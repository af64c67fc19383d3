"""The example components: the runtime refuses bad models, and the card tells the truth."""

from __future__ import annotations

import ast
import importlib
import io
import json
import re
import struct
import subprocess
import sys
import tomllib
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from signing.component import parse_forge_toml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUNTIME = EXAMPLES / "lid-runtime"
SOURCES = EXAMPLES / "lid-runtime-src"
MODEL = EXAMPLES / "darija-lid"
CARDS = ("README.md", "README.ar.md", "README.fr.md", "README.zgh.md")
DEMO_LABELS = ["ary", "ary-Latn", "ar", "zgh", "zgh-Latn", "zgh-Latn", "fr", "en", "und"]


@contextmanager
def no_bytecode() -> Iterator[None]:
    """Imports leave no ``__pycache__``: a component folder holds only what is published."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@pytest.fixture(scope="module")
def lid() -> Iterator[ModuleType]:
    """The package ``lid_runtime`` from its sources; gone again afterwards."""
    sys.path.insert(0, str(SOURCES))
    try:
        with no_bytecode():
            for name in ("features", "safetensors", "identifier", "__main__"):
                importlib.import_module(f"lid_runtime.{name}")
        yield importlib.import_module("lid_runtime")
    finally:
        sys.path.remove(str(SOURCES))
        for name in [name for name in sys.modules if name.split(".")[0] == "lid_runtime"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def train(lid: ModuleType) -> Iterator[ModuleType]:
    """The training script as a module."""
    folder = str(MODEL / "training")
    sys.path.insert(0, folder)
    try:
        with no_bytecode():
            module = importlib.import_module("train")
        yield module
    finally:
        sys.path.remove(folder)
        sys.modules.pop("train", None)


@pytest.fixture(scope="module")
def identifier(lid: ModuleType) -> Any:
    return lid.load(MODEL)


def read_sentences(name: str) -> list[tuple[str, str]]:
    lines = (MODEL / "training" / name).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "label\ttext"
    rows = [line.split("\t") for line in lines[1:]]
    return [(label, text) for label, text in rows]


def best(identifier: Any, text: str) -> str:
    return identifier.identify(text)[0][0]


def first_words(text: str, count: int) -> str:
    return " ".join(text.split()[:count])


class TestComponents:
    def test_forge_toml_of_the_library(self, lid: ModuleType) -> None:
        spec = parse_forge_toml((RUNTIME / "forge.toml").read_bytes())
        assert (str(spec.component), spec.kind) == ("digital-agency/lid-runtime", "library")
        assert str(spec.version) == lid.__version__

    def test_forge_toml_of_the_model(self, identifier: Any) -> None:
        spec = parse_forge_toml((MODEL / "forge.toml").read_bytes())
        assert (str(spec.component), spec.kind) == ("minds-lab/darija-lid", "model")
        assert spec.requires == {"digital-agency/lid-runtime": ">=1.0,<2"}
        assert spec.languages == identifier.labels
        assert spec.risk is not None
        assert spec.risk.class_ == "minimal"

    @pytest.mark.parametrize("folder", [RUNTIME, MODEL], ids=lambda folder: folder.name)
    def test_cards_are_there_in_four_languages(self, folder: Path) -> None:
        spec = tomllib.loads((folder / "forge.toml").read_text(encoding="utf-8"))
        assert spec["component"]["card"] == CARDS[0]
        assert all((folder / card).stat().st_size > 500 for card in CARDS)

    def test_the_weights_are_small(self) -> None:
        assert (MODEL / "model.safetensors").stat().st_size <= 500_000

    def test_the_runtime_imports_nothing_but_the_standard_library(self) -> None:
        for path in SOURCES.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                assert all(name.split(".")[0] in sys.stdlib_module_names for name in names), path


class TestWheel:
    def test_builds_twice_alike_runs_and_leaves_the_checkout_clean(self, tmp_path: Path) -> None:
        before = sorted(EXAMPLES.rglob("*"))
        wheels = []
        for name in ("one", "two"):
            command = [EXAMPLES / "build_wheel.py", SOURCES, tmp_path / name]
            subprocess.run([sys.executable, *command], check=True)
            (wheel,) = (tmp_path / name).iterdir()
            wheels.append(wheel)
        assert wheels[0].name == "lid_runtime-1.0.0-py3-none-any.whl"
        assert wheels[0].read_bytes() == wheels[1].read_bytes()
        assert sorted(EXAMPLES.rglob("*")) == before
        answer = subprocess.run(
            [sys.executable, "-m", "lid_runtime", MODEL, "Where is the station?"],
            env={"PYTHONPATH": str(wheels[0]), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            check=True,
        )
        assert answer.stdout.startswith(b"en ")


class TestData:
    def test_enough_sentences_per_label(self, identifier: Any) -> None:
        for name, least in (("sentences.tsv", 90), ("heldout.tsv", 20)):
            counts = Counter(label for label, _ in read_sentences(name))
            assert set(counts) == set(identifier.labels)
            assert min(counts.values()) >= least

    def test_training_heldout_and_demo_do_not_overlap(self, lid: ModuleType) -> None:
        words = sys.modules["lid_runtime.features"].words
        rows = read_sentences("sentences.tsv") + read_sentences("heldout.tsv")
        demo = (EXAMPLES / "sentences.txt").read_text(encoding="utf-8").splitlines()
        seen = Counter(" ".join(words(text)) for text in [text for _, text in rows] + demo)
        assert [text for text, count in seen.items() if count > 1] == []


class TestCard:
    def test_heldout_figures_are_what_the_model_gets(self, identifier: Any) -> None:
        rows = read_sentences("heldout.tsv")
        right = Counter(label for label, text in rows if best(identifier, text) == label)
        total = Counter(label for label, _ in rows)
        trained = Counter(label for label, _ in read_sentences("sentences.tsv"))
        card = (MODEL / "README.md").read_text(encoding="utf-8")
        table = re.findall(r"^\| `(\S+)` \|[^|]+\| (\d+) \| (\d+/\d+) \|$", card, re.MULTILINE)
        assert table == [
            (label, str(trained[label]), f"{right[label]}/{total[label]}")
            for label in identifier.labels
        ]
        share = 100 * right.total() / total.total()
        assert f"{right.total()}/{total.total()} ({share:.1f} %)" in card

    @pytest.mark.parametrize("name", CARDS)
    def test_each_translation_states_the_same_figure(self, identifier: Any, name: str) -> None:
        rows = read_sentences("heldout.tsv")
        right = sum(best(identifier, text) == label for label, text in rows)
        assert f"{right}/{len(rows)}" in (MODEL / name).read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("count", "phrase"), [(3, "first three\nwords, {}"), (1, "first word, {}")]
    )
    def test_figures_for_short_texts(self, identifier: Any, count: int, phrase: str) -> None:
        rows = read_sentences("heldout.tsv")
        right = sum(best(identifier, first_words(text, count)) == label for label, text in rows)
        card = (MODEL / "README.md").read_text(encoding="utf-8")
        assert phrase.format(f"{right}/{len(rows)}") in card


class TestIdentify:
    def test_demo_sentences(self, identifier: Any) -> None:
        lines = (EXAMPLES / "sentences.txt").read_text(encoding="utf-8").splitlines()
        assert [best(identifier, line) for line in lines] == DEMO_LABELS

    @pytest.mark.parametrize(
        "text", ["", "  ", "3 7 9", "12/05/2026", "!?…", "Где вокзал?", "火车站"]
    )
    def test_no_known_letter_is_unknown(self, identifier: Any, text: str) -> None:
        assert identifier.identify(text) == [("und", 1.0)]
        assert identifier.name("und") == "Unknown"

    def test_probabilities_are_ranked_and_add_up_to_one(self, identifier: Any) -> None:
        answers = identifier.identify("Bonjour, où est la gare ?")
        values = [value for _, value in answers]
        assert sorted(label for label, _ in answers) == sorted(identifier.labels)
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1)

    def test_case_vowel_signs_and_spacing_do_not_matter(self, identifier: Any) -> None:
        assert identifier.identify("GOOD  Morning!") == identifier.identify("good morning")
        assert identifier.identify("كِتَابٌ") == identifier.identify("كتاب")
        assert identifier.identify("ⵜⴰⴳⵯⵎⴰⵜ") == identifier.identify("ⵜⴰⴳⵡⵎⴰⵜ")

    def test_a_digit_is_a_letter_only_inside_a_word(self, lid: ModuleType) -> None:
        words = sys.modules["lid_runtime.features"].words
        assert words("Sba7 lkhir, 3 dial l9hawi f 2026") == [
            "sba7", "lkhir", "dial", "l9hawi", "f"
        ]  # fmt: skip


class TestCommandLine:
    def run(self, *arguments: str) -> int:
        return sys.modules["lid_runtime.__main__"].main(list(arguments))

    def test_a_line_per_sentence(self, lid: Any, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(str(MODEL), "Where is the station?", "12", "a\x1b[31m\nb") == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert re.fullmatch(r"en +English +[01]\.\d\d  Where is the station\?", lines[0])
        assert re.fullmatch(r"und +Unknown +1\.00  12", lines[1])
        assert "\x1b" not in lines[2]

    def test_json(self, lid: Any, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(str(MODEL), "--json", "Où est la gare ?") == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert (answer["label"], answer["name"]) == ("fr", "French")
        assert answer["all"]["fr"] == answer["probability"]

    def test_sentences_from_stdin(
        self, lid: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("Good evening\n\nBonsoir à tous\n"))
        assert self.run(str(MODEL)) == 0
        assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["en", "fr"]

    def test_a_missing_model_is_a_message(
        self, lid: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(str(tmp_path / "none"), "text") == 1
        assert "cannot use the model" in capsys.readouterr().err


def tensor(begin: int, end: int, **changed: Any) -> dict[str, Any]:
    shape = [max(0, end - begin) // 4]
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end], **changed}


def file_of(header: object, body: bytes = bytes(16), *, length: int | None = None) -> bytes:
    """A safetensors file; ``header`` is dumped as JSON unless it is bytes already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


WHOLE = json.dumps(tensor(0, 16))
HALF = json.dumps(tensor(0, 8))
REFUSED = {
    "empty-file": b"",
    "seven-bytes": bytes(7),
    "header-100-MB": file_of({"a": tensor(0, 16)}, length=100_000_000),
    "header-100-MB-present": file_of(b" " * 100_000_000),
    "header-2^63": file_of({"a": tensor(0, 16)}, length=2**63),
    "header-one-byte-too-long": file_of({"a": tensor(0, 16)}, b"", length=1000),
    "not-json": file_of(b"weights, honestly"),
    "not-utf8": file_of(b'{"\xff": 1}'),
    "not-an-object": file_of([tensor(0, 16)]),
    "nested-too-deeply": file_of(b"[" * 100_000),
    "no-tensor": file_of({}, b""),
    "duplicate-tensor": file_of(f'{{"a": {WHOLE}, "a": {WHOLE}}}'.encode()),
    "duplicate-field": file_of(
        b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    ),
    "nan-in-header": file_of(
        b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 16]}}'
    ),
    "huge-number": file_of(
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, ' + b"9" * 9000 + b"]}}"
    ),
    "overlap": file_of({"a": tensor(0, 12), "b": tensor(8, 16)}),
    "same-bytes-twice": file_of({"a": tensor(0, 16), "b": tensor(0, 16)}),
    "hole": file_of({"a": tensor(0, 4), "b": tensor(8, 16)}),
    "hole-at-the-start": file_of({"a": tensor(4, 16)}),
    "bytes-left-over": file_of(f'{{"a": {HALF}}}'.encode()),
    "beyond-the-end": file_of({"a": tensor(0, 20)}),
    "begin-after-end": file_of({"a": tensor(16, 0)}),
    "negative-offset": file_of({"a": tensor(-4, 16, shape=[5])}),
    "float-offset": file_of({"a": tensor(0, 16, data_offsets=[0.0, 16.0])}),
    "bool-in-shape": file_of({"a": tensor(0, 4, shape=[True])}, bytes(4)),
    "shape-is-not-the-bytes": file_of({"a": tensor(0, 16, shape=[5])}),
    "shape-product-wraps-at-2^64": file_of({"a": tensor(0, 16, shape=[2**62 + 1, 4])}),
    "other-dtype": file_of({"a": tensor(0, 16, dtype="I32")}),
    "dtype-not-text": file_of({"a": tensor(0, 16, dtype=["F32"])}),
    "extra-field": file_of({"a": tensor(0, 16, pickle="x")}),
    "entry-not-an-object": file_of({"a": 1}),
    "metadata-not-strings": file_of({"__metadata__": {"n": 1}, "a": tensor(0, 16)}),
    "nan-weight": file_of({"a": tensor(0, 16)}, struct.pack("<4f", 0, 0, 0, float("nan"))),
    "infinite-weight": file_of({"a": tensor(0, 16)}, struct.pack("<4f", 0, 0, 0, float("inf"))),
}  # fmt: skip


class TestSafetensors:
    @pytest.mark.parametrize("case", REFUSED)
    def test_malformed_file_is_refused(self, lid: Any, case: str) -> None:
        parse = sys.modules["lid_runtime.safetensors"].parse_tensors
        with pytest.raises(lid.MalformedModelError):
            parse(REFUSED[case])

    def test_well_formed_file_is_read(self, lid: Any) -> None:
        parse = sys.modules["lid_runtime.safetensors"].parse_tensors
        header = {"__metadata__": {"n": "1"}, "b": tensor(8, 16), "a": tensor(0, 8, shape=[2, 1])}
        tensors = parse(file_of(header, struct.pack("<4f", 1, 2, 3, 4)))
        assert {name: (item.shape, list(item.values)) for name, item in tensors.items()} == {
            "a": ((2, 1), [1, 2]),
            "b": ((2,), [3, 4]),
        }

    def test_written_tensors_are_read_back(self, lid: Any) -> None:
        module = sys.modules["lid_runtime.safetensors"]
        tensors = {"w": module.Tensor((3, 2), array("f", range(6)))}
        data = module.write_tensors(tensors, {"k": "v"})
        assert module.parse_tensors(data) == tensors
        assert struct.unpack_from("<Q", data)[0] % 8 == 0

    def test_truncated_anywhere_is_refused(self, lid: Any) -> None:
        parse = sys.modules["lid_runtime.safetensors"].parse_tensors
        whole = file_of({"a": tensor(0, 16)})
        parse(whole)
        for size in range(len(whole)):
            with pytest.raises(lid.MalformedModelError):
                parse(whole[:size])


CONFIG = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))


class TestConfig:
    @pytest.mark.parametrize(
        "changed",
        [
            {"format": "pickle"},
            {"normalisation": "words-v2"},
            {"hash": "md5"},
            {"min_n": 0},
            {"min_n": 5},
            {"max_n": 9},
            {"buckets": 0},
            {"buckets": 2**40},
            {"buckets": True},
            {"labels": []},
            {"labels": {}},
            {"labels": [{"label": "fr", "name": "French"}] * 2},
            {"labels": [{"label": "und", "name": "Unknown"}]},
            {"labels": [{"label": "fr", "name": "\x1b[31mFrench"}]},
            {"labels": [{"label": 1, "name": "French"}]},
            {"extra": 1},
        ],
        ids=json.dumps,
    )
    def test_bad_field_is_refused(self, lid: Any, changed: dict[str, Any]) -> None:
        data = json.dumps({**CONFIG, **changed}).encode()
        with pytest.raises(lid.MalformedModelError, match=r"config\.json"):
            sys.modules["lid_runtime.identifier"].parse_config(data)

    def test_weights_of_another_config_are_refused(self, lid: Any, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "buckets": 4096}))
        (tmp_path / "model.safetensors").write_bytes((MODEL / "model.safetensors").read_bytes())
        with pytest.raises(lid.MalformedModelError, match="the tensors"):
            lid.load(tmp_path)


class TestTraining:
    def test_the_script_makes_a_model_that_learns_and_repeats(
        self, lid: Any, train: Any, tmp_path: Path
    ) -> None:
        sentences = train.read_sentences(train.HERE / "sentences.tsv")[::6]
        examples = train.make_examples(sentences)
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            train.write_model(tmp_path / name, *train.train(examples, epochs=2))
        one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        answers = train.count_answers(tmp_path / "one", sentences)
        assert train.format_report(answers).startswith("accuracy: ")
        right = sum(count for (label, answer), count in answers.items() if label == answer)
        assert right > 0.9 * len(sentences)

    def test_the_published_config_is_what_the_script_writes(
        self, lid: Any, train: Any, tmp_path: Path
    ) -> None:
        count = len(train.LABELS)
        train.write_model(
            tmp_path, array("f", bytes(4 * train.BUCKETS * count)), array("f", bytes(4 * count))
        )
        assert (tmp_path / "config.json").read_bytes() == (MODEL / "config.json").read_bytes()
