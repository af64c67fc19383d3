"""What a publisher says of a release in its ``forge.toml``, and what of that changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from signing.component import RISK_CLASSES

from .document import ATTENTION, NOTICE, Found, Remark
from .sides import Side
from .structured import change_text, compare_values

_WORDS: Final = {"license": "licence", "risk.class": "risk class", "kind": "kind"}


def compare(old: Side, new: Side) -> Found:
    """Licence, risk class, languages, tasks, requirements, summary: whatever differs."""
    fields = compare_values(_facts(old), _facts(new))
    return Found(members=fields, remarks=list(_remarks(fields)))


def _facts(side: Side) -> dict[str, Any]:
    """The metadata, with lists in order: another order says nothing else."""
    facts: dict[str, Any] = {"component": side.component, "kind": side.kind, **side.metadata}
    for name in ("languages", "tasks"):
        facts[name] = ", ".join(sorted(facts.get(name, ())))
    return {name: value for name, value in facts.items() if value}


def _remarks(fields: list[dict[str, Any]]) -> Iterator[Remark]:
    for each in fields:
        key, change = each["key"], change_text(each["old"], each["new"])
        if key in _WORDS:
            code = f"{_WORDS[key].partition(' ')[0]}-changed"
            text = f"{_WORDS[key]}: {change}"
            if key == "risk.class" and _rank(each["new"]) < _rank(each["old"]):
                text += " (lower than before)"
            yield Remark(level=ATTENTION, code=code, text=text)
        elif key == "component":
            yield Remark(level=ATTENTION, code="other-component", text=change)
        elif key.startswith("requires."):
            name = key.removeprefix("requires.")
            text = f"requires {name}: {change}"
            yield Remark(level=ATTENTION, code="requirement-changed", text=text)
        elif not key.startswith("card"):
            yield Remark(level=NOTICE, code="description-changed", text=f"{key}: {change}")


def _rank(text: str | None) -> int:
    """Where a risk class stands; a class that is not stated is no lower one than any."""
    known = [f'"{each}"' for each in RISK_CLASSES]
    return known.index(text) if text in known else len(known)
