"""Commands of an operator of a registry, run in the process of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from forge_server.manage import cli


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Commands run in this process; none may leave its log handlers behind."""
    import logging

    logger = logging.getLogger("forge_server")
    before = (list(logger.handlers), logger.propagate, logger.level)
    yield
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])
