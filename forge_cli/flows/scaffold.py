"""A new component folder that publishes as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signing.component import parse_forge_toml
from signing.names import ComponentName
from signing.policy import FILE_NAME as POLICY_FILE
from signing.policy import KIND as POLICY

from ..errors import ForgeError
from ..files import create_private

_TOML: Final = """\
# What this component is. It is signed together with the files, and the only description that
# the registry and its users see. Check it at any time with: forge check

[component]
org = "{org}"
name = "{name}"
version = "{version}"  # PEP 440; a published version never changes
kind = "{kind}"  # model | library | dataset | prompt | policy
summary = {summary}
license = "{license}"  # SPDX expression
languages = [{languages}]  # ISO 639 codes, such as "ary", "zgh", "ar", "fr"
tasks = []  # such as "text-classification"
card = "README.md"

# Other components that this one needs, with PEP 440 ranges:
# [requires]
# "{org}/tokenizer" = ">=1.2,<2"

# How much harm it could do, in your own judgement (minimal | limited | high):
# [risk]
# class = "minimal"
# rationale = "…"
"""

_CARD: Final = """\
# {name}

{summary}

## What it is for

Say who should use it, and for what.

## What it is not for

Say where it fails, and what it must not be used for.

## {content}

{content_text}

## How it was tested

Say with what, and how well it did.
"""

_CONTENT: Final = {
    "model": ("Training", "Say what it was trained on, and who may use that data."),
    "dataset": ("Origin", "Say where the data comes from, who is in it, and on what terms."),
    "library": (
        "Wheels",
        "Put the wheels (*.whl) beside this file; `forge install` hands them over.",
    ),
    "prompt": ("Models", "Say which models it was written for."),
    "policy": ("Rules", "Say what each rule is for, and whom to ask about it."),
}

_POLICY: Final = """\
# What a component must be for those who use this policy. `forge policy check` explains it.
schema = 1
title = {title}

[rules]
licences = ["Apache-2.0", "MIT", "EUPL-1.2"]
formats-denied = ["pickle", "keras"]
cooldown-days = 7
# review-level = "reviewed"
# All rules: docs/reference/policy.md
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What a new forge.toml will say."""

    component: ComponentName
    kind: str
    version: str
    summary: str | None
    license: str
    languages: tuple[str, ...]


def scaffold(folder: Path, wanted: Scaffold) -> list[Path]:
    """Write forge.toml and a card into ``folder``; files that are there are left alone.

    Raises:
        ForgeError: ``already-exists``, there is a forge.toml.
        MalformedError: an option does not fit; nothing was written.
    """
    path = folder / "forge.toml"
    if path.exists():
        raise ForgeError(
            "already-exists", f"{path} exists already", hint=f"check it: forge check {folder}"
        )
    summary = wanted.summary or f"{wanted.component.name}, a {wanted.kind}"
    text = _TOML.format(
        org=wanted.component.org,
        name=wanted.component.name,
        version=wanted.version,
        kind=wanted.kind,
        summary=_quoted(summary),
        license=wanted.license,
        languages=", ".join(_quoted(language) for language in wanted.languages),
    )
    parse_forge_toml(text.encode())  # what publish would refuse is refused here
    made = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if not made:
        folder.chmod(0o755)
    written = []
    card = folder / "README.md"
    if not card.exists():
        heading, hint = _CONTENT[wanted.kind]
        content = _CARD.format(
            name=wanted.component.name, summary=summary, content=heading, content_text=hint
        )
        create_private(card, content.encode(), mode=0o644)
        written.append(card)
    rules = folder / POLICY_FILE
    if wanted.kind == POLICY and not rules.exists():
        create_private(rules, _POLICY.format(title=_quoted(summary)).encode(), mode=0o644)
        written.append(rules)
    create_private(path, text.encode(), mode=0o644)
    return [path, *written]


def _quoted(text: str) -> str:
    """``text`` as a TOML basic string."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
