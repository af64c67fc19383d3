"""What the programs say about themselves at a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import forge_cli.main
import forge_server.manage


def groups(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The group and those below it, as words of a command line."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from groups(command, (*path, name))


@pytest.mark.parametrize("program", [forge_cli.main.cli, forge_server.manage.cli])
def test_every_command_is_described_by_a_whole_sentence(program: click.Group) -> None:
    """click ends with dots what has no room in its column; of 80 it leaves two free."""
    seen = 0
    for words in groups(program, ()):
        shown = CliRunner().invoke(program, [*words, "--help"], terminal_width=78)
        assert shown.exit_code == 0
        first, *lines = shown.output.splitlines()
        cut = [line for line in lines if line.rstrip().endswith("...")]
        assert "COMMAND" in first
        assert not cut, words
        seen += 1
    assert seen > 5
