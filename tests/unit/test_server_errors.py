"""Every code of the server's table is explained, provoked by a test, and none is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from forge_server.errors import TABLE, from_library, row_of
from signing.errors import ConflictError, KeyUnusableError, MalformedError, VerificationError
from storage import BackendError, BlobMismatchError, BlobNotFoundError

TESTS = Path(__file__).parents[1]
SERVER = TESTS.parent / "forge_server"
# What an operator sees on the terminal; no request is ever answered with it.
OPERATORS_OWN = (
    SERVER / "commands",
    SERVER / "observe" / "tracing.py",
    SERVER / "operate",
    SERVER / "services" / "restored.py",
    SERVER / "registry",
    SERVER / "settings.py",
    SERVER / "stores.py",
    SERVER / "wiring.py",
)
OPERATORS_CODES = {"postgresql-missing"}


def raised_codes() -> set[str]:
    """The first argument of each ``RegistryError("…")`` that a request can meet."""
    codes = set()
    for path in SERVER.rglob("*.py"):
        if any(path == own or own in path.parents for own in OPERATORS_OWN):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RegistryError":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    codes.add(str(first.value))
    return codes


def test_what_is_raised_is_in_the_table() -> None:
    assert raised_codes() - OPERATORS_CODES <= TABLE.keys()
    assert len(raised_codes()) > 30


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_code_is_provoked_by_a_test(code: str) -> None:
    sources = [
        path.read_text(encoding="utf-8")
        for path in TESTS.glob("*/test_server_*.py")
        if path != Path(__file__)
    ]
    assert any(f'"{code}"' in source for source in sources), f"no test provokes {code}"


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_code_is_explained(code: str) -> None:
    row = TABLE[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert 400 <= row.status < 600
    assert row.title[0].isupper()
    assert not row.title.endswith(".")
    assert row.help.endswith(("…", "."))
    assert len(row.help) > 20


def test_an_unknown_code_is_a_fault() -> None:
    assert row_of("no-such-code").status == 500


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (MalformedError("x", "a", "b"), "malformed", 400),
        (VerificationError("expired", "x", "a", "b"), "verification-failed", 422),
        (VerificationError("digest-mismatch", "x", "a", "b"), "digest-mismatch", 422),
        (ConflictError("version-taken", "x", manifest_sha256="a"), "version-taken", 409),
        (ConflictError("name-taken", "x"), "name-taken", 409),
        (KeyUnusableError("key-malformed", "x"), "verification-failed", 422),
        (BlobMismatchError("a", "b", "c"), "digest-mismatch", 422),
        (BlobNotFoundError("a"), "blob-not-found", 404),
        (BackendError("could not write /srv/x", True), "storage-failed", 503),
        (BackendError("could not write", False, code="disk-full"), "disk-full", 507),
    ],
)
def test_errors_of_the_libraries(error: Exception, code: str, status: int) -> None:
    refusal = from_library(error)  # type: ignore[arg-type]
    assert refusal.code == code
    assert row_of(refusal.code).status == status
    assert "/srv" not in refusal.message
