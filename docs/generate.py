"""Writes the reference pages that the code itself knows best: commands, errors, exit codes.

python docs/generate.py            # rewrite them
python docs/generate.py --check    # exit 1 and name the pages that are out of date
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from flask import Flask

from forge_cli import api
from forge_cli.api import errors as api_errors
from forge_cli.errors import CODES, EXIT_CODES
from forge_cli.main import cli as forge
from forge_server.api import v1
from forge_server.api.described import OPTIONAL, TOKEN
from forge_server.api.interface import described_routes, text_of
from forge_server.api.openapi import Operation
from forge_server.api.shapes import Record
from forge_server.errors import TABLE
from forge_server.manage import cli as forge_server
from forge_server.settings import Settings
from forge_server.witness.main import cli as forge_witness
from signing import file_formats, policy

REFERENCE = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by docs/generate.py from the code. Change the code, then run it. -->"

_ROUTES = "<!-- The routes, written by docs/generate.py from their descriptions. -->"
_END_OF_ROUTES = "<!-- End of the routes. -->"
_AS_IN_ROUTES = str.maketrans("{}", "<>")


def command_page(name: str, group: click.Command, intro: str) -> str:
    parts = [f"# {name}", _NOTE, intro]
    for path, text in _helps(name, group, None):
        parts += [f"## {path}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def _helps(
    path: str, command: click.Command, parent: click.Context | None
) -> Iterator[tuple[str, str]]:
    """The help of ``command`` and of everything beneath it, as the terminal shows it."""
    context = click.Context(
        command,
        info_name=path.rsplit(maxsplit=1)[-1],
        parent=parent,
        terminal_width=90,
        max_content_width=90,
        help_option_names=["-h", "--help"],  # as both programs are called
    )
    yield path, command.get_help(context).strip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _helps(f"{path} {name}", child, context)


def errors_page() -> str:
    lines = ["# Errors and exit codes", "", _NOTE, ""]
    lines += [
        "Every refusal carries a stable `code`. The server sends it in a problem document",
        "(RFC 9457, `application/problem+json`) with what happened, to what, what was expected and",
        "what to do; the client prints it, with `--json` as the member `error`.",
        "",
        "## Exit codes of `forge`",
        "",
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()),
        "",
        "## Codes of the client",
        "",
        "| code | exit code | meaning |",
        "|---|---|---|",
        *(f"| `{code}` | {row.exit_code} | {row.help} |" for code, row in sorted(CODES.items())),
        "",
        "## Codes of the server",
        "",
        "| code | status | title | meaning, and what to do |",
        "|---|---|---|---|",
        *(
            f"| `{code}` | {row.status} | {row.title} | {row.help} |"
            for code, row in sorted(TABLE.items())
        ),
        "",
    ]
    return "\n".join(lines)


def policy_page() -> str:
    """Every rule of a policy, and the formats that it may name."""
    lines = ["# `policy.toml`", "", _NOTE, ""]
    lines += [
        f"The rules of a component of kind `{policy.KIND}`: what a release must be, for those who",
        "pinned the policy, before it may be used. [How to use one.](../howto/policy.md)",
        "",
        "```toml",
        f"schema = {policy.SCHEMA}",
        'title = "What our hospitals may use"',
        "",
        "[rules]",
        *(rule.example for rule in policy.RULES.values()),
        "```",
        "",
        "Every rule may be left out, but not all of them. All that are there must hold. An unknown",
        "rule, an empty list and a value of another form are refused, when the policy is published",
        "and again by whoever pinned it. What is not known of a release satisfies no rule.",
        "",
        "| rule | value | asks that |",
        "|---|---|---|",
    ]
    for rule in policy.RULES.values():
        word = " (the registry's own word, signed by nobody)" if rule.unsigned else ""
        lines.append(f"| `{rule.name}` | {rule.form} | {rule.asks}{word} |")
    lines += [
        "",
        "`review-level` is computed as everywhere else ([what the states"
        " mean](../explanation/trust-states.md)):",
        "from the reviewers' signed decisions that are in force at this moment.",
        "",
        "Of `licences`, an exception (`WITH`) is accepted only where it is named. Who accepts",
        "`GPL-2.0-only` may take what is `GPL-2.0-or-later`, and not the other way round.",
        "",
        "## Formats",
        "",
        "By the ending of a file's name. What is inside is what scans look at.",
        "",
        "| format | endings |",
        "|---|---|",
    ]
    for name in file_formats.FORMATS:
        endings = ", ".join(f"`{ending}`" for ending in file_formats.endings_of(name))
        lines.append(f"| `{name}` | {endings or 'everything else'} |")
    return "\n".join([*lines, ""])


def interface() -> Flask:
    app = Flask("interface")
    app.register_blueprint(v1.blueprint())
    return app


def openapi() -> str:
    """The interface as a registry serves it whose operator set nothing."""
    return text_of(interface(), Settings(), indent=1).decode()


def http_api_page() -> str:
    """The page as it is, with the table of routes written anew."""
    text = (REFERENCE / "http-api.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(f"{_ROUTES}\n")
    _, _, after = rest.partition(f"\n{_END_OF_ROUTES}")
    rows = [
        f"| `{one.method} {v1.PREFIX}{one.path.translate(_AS_IN_ROUTES)}` | {_cell(one)} |"
        for one in described_routes(interface())
    ]
    table = "\n".join(["| request | what it does | body → answer |", "|---|---|---|", *rows])
    return f"{before}{_ROUTES}\n{table}\n{_END_OF_ROUTES}{after}"


def _cell(one: Operation) -> str:
    here = one.description
    sent = [f"`?{name}=`{'' if each.required else '?'}" for name, each in here.query.items()]
    sent += [f"`{name}:`" for name in here.headers]
    if here.body is not None:
        sent.append(_members(here.body))
    elif here.raw:
        sent.append("the bytes")
    got: dict[str, list[str]] = {}
    for status in here.answers:
        shapes = [shape for shape in here.media(status).values() if isinstance(shape, Record)]
        got.setdefault("".join(_members(each) for each in shapes), []).append(str(status))
    answers = "; ".join(f"{', '.join(codes)} {members}".rstrip() for members, codes in got.items())
    token = {TOKEN: "Token", OPTIONAL: "Token or none"}.get(here.caller)
    scopes = f" ({' or '.join(here.scopes)})" if here.scopes else ""
    words = " ".join(part for part in (here.says, here.more, token and f"{token}{scopes}.") if part)
    return f"{words} | {', '.join(sent)} → {answers}".replace("|  →", "| →")


def _members(record: Record) -> str:
    return ", ".join(f"`{name}{'?' if name in record.optional else ''}`" for name in record.members)


def python_page() -> str:
    """The Python interface, from its signatures and docstrings."""
    parts = [
        "# `forge_cli.api`",
        _NOTE,
        "[How to use it.](../howto/python-api.md)",
        "## Registry",
        _signature("Registry", api.Registry.__init__),
        _prose(api.Registry),
    ]
    functions = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]
    for name in functions:
        method = getattr(api.Registry, name)
        parts += [f"### {name}", _signature(f"Registry.{name}", method), _prose(method)]
    parts += [
        "## Functions",
        "The methods of the same names, of `registry` or the one that `forge` would choose.",
        *(_signature(name, getattr(api, name)) for name in functions),
        "## Answers",
    ]
    for name in api.__all__:
        value = getattr(api, name)
        if dataclasses.is_dataclass(value):
            fields = "\n".join(f"{f.name}: {f.type}" for f in dataclasses.fields(value))
            parts += [f"### {name}", _prose(value), f"```python\n{fields}\n```"]
    tree = inspect.getdoc(api_errors) or ""
    parts += ["## Exceptions", f"```text\n{tree}\n```"]
    for name in api.__all__:
        value = getattr(api, name)
        if isinstance(value, type) and issubclass(value, Exception):
            parts += [f"### {name}", _prose(value)]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    known = [each for each in signature.parameters.values() if each.name != "self"]
    if name == "Registry":
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    # Annotations are texts here, and would be shown as such.
    plain = re.sub(r"'([^']+)'", r"\1", f"{name}{signature.replace(parameters=known)}")
    if len(plain) > 90:
        head, _, rest = plain.partition("(")
        inside, _, answer = rest.rpartition(")")
        lines = re.split(r", (?![^\[]*\])", inside)
        plain = f"{head}(\n" + "".join(f"    {line},\n" for line in lines) + f"){answer}"
    return f"```python\n{plain}\n```"


def _prose(thing: object) -> str:
    """Its docstring; what it raises as a list."""
    text, _, raises = (inspect.getdoc(thing) or "").replace("``", "`").partition("\nRaises:\n")
    entries = re.findall(r"^    (\S.*?):\s(.*?)(?=^    \S|\Z)", raises, re.MULTILINE | re.DOTALL)
    items = [f"* {names}: {' '.join(why.split())}" for names, why in entries]
    return "\n".join([text.rstrip(), *(["", "Raises:", "", *items] if items else [])])


def pages() -> dict[str, str]:
    """``{file name: text}`` of every generated page."""
    return {
        "forge.md": command_page("forge", forge, "The client: publish, verify, install."),
        "forge-server.md": command_page("forge-server", forge_server, "The registry itself."),
        "forge-witness.md": command_page("forge-witness", forge_witness, "A witness of logs."),
        "errors.md": errors_page(),
        "policy.md": policy_page(),
        "openapi.json": openapi(),
        "http-api.md": http_api_page(),
        "python-api.md": python_page(),
    }


def main() -> int:
    stale = []
    for name, text in pages().items():
        page = REFERENCE / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                page.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}; run python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
