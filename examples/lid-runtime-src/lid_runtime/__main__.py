"""``python -m lid_runtime MODEL_DIR "sentence" …``: one line of answer per sentence."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from .errors import LidError
from .identifier import Identifier, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code (0, or 1 when the model cannot be used)."""
    # Plain parse_args would take no sentence behind an option that follows MODEL_DIR.
    options = _parser().parse_intermixed_args(arguments)
    sentences = options.sentences or [line for line in map(str.strip, sys.stdin) if line]
    try:
        identifier = load(options.model_dir)
    except (LidError, OSError) as error:
        print(f"error: cannot use the model: {error}", file=sys.stderr)
        return 1
    write = _print_json if options.json else _print_lines
    write(identifier, sentences)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lid_runtime", description="Tell the language of sentences."
    )
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="folder with config.json")
    parser.add_argument("sentences", metavar="SENTENCE", nargs="*", help="or one per line on stdin")
    parser.add_argument("--json", action="store_true", help="print a JSON array instead")
    return parser


def _print_lines(identifier: Identifier, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        label, probability = identifier.identify(sentence)[0]
        name = identifier.name(label)
        print(f"{label:<9} {name:<31} {probability:.2f}  {_printable(sentence)}")


def _print_json(identifier: Identifier, sentences: Iterable[str]) -> None:
    answers = []
    for sentence in sentences:
        ranked = identifier.identify(sentence)
        label, probability = ranked[0]
        answers.append(
            {
                "text": sentence,
                "label": label,
                "name": identifier.name(label),
                "probability": round(probability, 6),
                "all": {label: round(value, 6) for label, value in ranked},
            }
        )
    print(json.dumps(answers, ensure_ascii=False, indent=2))


def _printable(sentence: str) -> str:
    """``sentence`` on one line and without terminal control sequences."""
    return "".join(char if char.isprintable() else " " for char in sentence)


if __name__ == "__main__":
    sys.exit(main())
