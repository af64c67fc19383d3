"""One table of commands, and a group that imports a command's module only when it runs.

`forge --help` must start quickly: name and summary stand here, so that listing the commands
imports nothing but Click.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

import click


class Entry(NamedTuple):
    """One command: its name, one line of help, and the module that holds it."""

    name: str
    summary: str
    module: str


SECTIONS: Final[Sequence[tuple[str, Sequence[Entry]]]] = (
    (
        "Use components",
        (
            Entry("search", "Find components in the registry.", "search"),
            Entry("info", "Show a component: versions, licence, requirements.", "info"),
            Entry("install", "Resolve, fetch, verify and install components.", "install"),
            Entry("lock", "Resolve requirements and write forge.lock.", "lock"),
            Entry("sync", "Reproduce forge.lock exactly.", "sync"),
            Entry("list", "List what is installed in a folder.", "list"),
            Entry("verify", "Verify a release, an installed folder, or loose files.", "verify"),
            Entry("audit", "Say what speaks against what a folder uses.", "audit"),
            Entry("status", "Say what of yours must be stopped or looked at.", "status"),
            Entry("policy", "Pin what must hold of everything that is used.", "policy"),
            Entry("export-bundle", "Write what an outsider needs to verify.", "export_bundle"),
        ),
    ),
    (
        "Publish components",
        (
            Entry("init", "Make a new component folder that publishes as it is.", "init"),
            Entry("check", "Check a component folder as publish would.", "check"),
            Entry("publish", "Sign a component and publish it.", "publish"),
            Entry("sign", "Sign wheels and sdists for twine or uv publish.", "sign"),
            Entry("resign", "Sign releases again after a key was revoked.", "resign"),
            Entry("renew", "Sign roles anew before they expire.", "renew"),
            Entry("yank", "Keep ranges from picking a version.", "yank"),
            Entry("unyank", "Let ranges pick a version again.", "unyank"),
            Entry("deprecate", "Advise to use something else.", "deprecate"),
            Entry("undeprecate", "Take that advice back.", "undeprecate"),
        ),
    ),
    (
        "Review components",
        (Entry("review", "Look at releases for others: compare, decide, withdraw.", "review"),),
    ),
    (
        "Accounts, keys and trust",
        (
            Entry("login", "Trust a registry and keep its access token.", "login"),
            Entry("logout", "Forget the access token of a registry.", "logout"),
            Entry("whoami", "Show who the registry takes you for.", "whoami"),
            Entry("token", "Create, list and revoke access tokens.", "token"),
            Entry("key", "Make, show and list signing keys.", "key"),
            Entry("trust", "Pin registries by the fingerprint of their root.", "trust"),
            Entry("org", "Create organisations and manage their members.", "org"),
            Entry(
                "authority", "Found the authority, rotate keys, approve organisations.", "authority"
            ),
        ),
    ),
    (
        "When something is wrong",
        (
            Entry("report", "Tell the registry that a release should not be used.", "report"),
            Entry("finding", "See, answer and judge what scanners found.", "finding"),
            Entry("recall", "Recall a release, and answer recalls.", "recall"),
            Entry(
                "inventory", "Tell your agency's list what this host has installed.", "inventory"
            ),
        ),
    ),
    (
        "The public log",
        (
            Entry("log", "Look at the public log and check it.", "log"),
            Entry("monitor", "Watch the log for what an organisation did not sign.", "monitor"),
        ),
    ),
    (
        "This machine",
        (
            Entry("doctor", "Check this machine and the registry.", "doctor"),
            Entry("config", "Read and change settings.", "config"),
            Entry("cache", "Show and prune the cache.", "cache"),
            Entry("completion", "Print a shell completion script.", "completion"),
        ),
    ),
)
COMMANDS: Final = {entry.name: entry for _, entries in SECTIONS for entry in entries}


class LazyGroup(click.Group):
    """A group whose commands are named in the table and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = import_module(f"forge_cli.commands.{entry.module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(_unknown(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, entries in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(entry.name.ljust(width), entry.summary) for entry in entries])

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(entry.name, help=entry.summary)
            for entry in COMMANDS.values()
            if entry.name.startswith(incomplete)
        ]


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f"no command {name!r}." + (f" Did you mean {close[0]!r}?" if close else "")
