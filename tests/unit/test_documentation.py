"""The documentation keeps up with the code: generated pages, links, every error and command."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The fragments that the headings of ``page`` can be reached by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_generated_pages_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        linked = page if not name else (page.parent / name)
        assert linked.exists(), f"{target} leads nowhere"
        assert not fragment or fragment in anchors(linked), f"{target}: no such heading"


def test_every_test_that_a_page_names_exists() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/test_*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert f"def {name}(" in tests, f"{page.name} names {name}, which is no test"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in index, f"{name} is not in docs/index.md"


@pytest.mark.parametrize("program", ["forge", "forge-server", "forge-witness"])
def test_every_group_says_each_of_its_commands_in_one_whole_line(program: str) -> None:
    """On 80 columns Click cuts what is too long, and hangs dots on it."""
    from forge_cli.main import cli as forge
    from forge_server.manage import cli as forge_server
    from forge_server.witness.main import cli as forge_witness

    named = {"forge": forge, "forge-server": forge_server, "forge-witness": forge_witness}
    for path, rows in lists_of_commands(program, named[program], None):
        for name, row in rows.items():
            assert row.startswith(f"  {name} "), f"{path}: {name} is not listed"
            assert len(row) <= 80, f"{path}: {row}"
            assert re.search(r"[^.]\.$", row), f"{path}: {row}"


def lists_of_commands(
    path: str, group: click.Group, parent: click.Context | None
) -> Iterator[tuple[str, dict[str, str]]]:
    """For ``group`` and each beneath it, the lines of its help that begin with a command."""
    context = click.Context(group, info_name=path, parent=parent, terminal_width=80)
    lines = group.get_help(context).splitlines()
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    yield (
        path,
        {
            name: next((line for line in lines if line.startswith(f"  {name} ")), "")
            for name, command in commands.items()
            if command is not None and not command.hidden
        },
    )
    for name, command in commands.items():
        if isinstance(command, click.Group):
            yield from lists_of_commands(f"{path} {name}", command, context)


def test_every_route_is_documented() -> None:
    from forge_server.api import osv, v1
    from forge_server.observe import routes as observed
    from forge_server.static_plane import routes
    from forge_server.web import machine

    assert served(v1, osv, observed, routes, machine) == documented("http-api.md")


def test_every_route_of_a_facade_is_documented() -> None:
    from forge_server.compat import huggingface, legacy, oauth, oci, pypi

    assert served(huggingface, legacy, oauth, oci, pypi) == documented("clients.md")


def documented(name: str) -> set[str]:
    page = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([A-Z]+ [^`]+)` \|", page, re.MULTILINE))


def served(*parts: Any) -> set[str]:
    """``METHOD /path/<parameter>`` of every route of these parts."""
    app = Flask("routes")
    for part in parts:
        app.register_blueprint(part.blueprint())
    found = set()
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", r"<\1>", rule.rule)
        methods = (rule.methods or set()) - {"OPTIONS"}
        if "GET" in methods:
            methods -= {"HEAD"}
        found |= {f"{method} {path}" for method in methods}
    return found
