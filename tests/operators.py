"""Commands of an operator of a registry, run in the process of the test."""

from __future__ import annotations

from click.testing import CliRunner, Result

from forge_server.manage import cli


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result
