"""Who may import whom: the leaves know nothing of ours, the shells not each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = frozenset(("signing", "storage", "forge_cli", "forge_server"))
NETWORK = frozenset(
    ("asyncio", "ftplib", "http", "imaplib", "poplib", "requests", "smtplib", "socket", "ssl")
) | {"socketserver", "telnetlib", "urllib", "urllib3", "xmlrpc"}
# package: (other packages of ours, third-party packages; None: any but `REFUSED`)
ALLOWED: dict[str, tuple[frozenset[str], frozenset[str] | None]] = {
    "signing": (
        frozenset(),
        frozenset(("cryptography", "packaging", "securesystemslib", "tuf.api")),
    ),
    "storage": (frozenset(), frozenset()),
    "forge_cli": (frozenset(("signing", "storage")), None),
    "forge_server": (frozenset(("signing", "storage")), None),
}
REFUSED = {
    "forge_cli": frozenset(
        ("flask", "werkzeug", "jinja2", "sqlalchemy", "alembic", "gunicorn", "boto3", "botocore")
    ),
    "forge_server": frozenset(("boto3", "botocore", "rich")),
}
CLOCKS = frozenset(
    ("now", "utcnow", "today", "time", "time_ns", "monotonic", "localtime", "gmtime", "sleep")
)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.AST) -> Iterator[tuple[str, int, int]]:
    """(dotted name, level of a relative import, line) of every import, lazy ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, node.lineno
        elif isinstance(node, ast.ImportFrom):
            # `from tuf import api` is an import of tuf.api
            for alias in node.names:
                yield f"{node.module or ''}.{alias.name}".strip("."), node.level, node.lineno
        elif (
            isinstance(node, ast.Call)
            and _called(node) in ("__import__", "import_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value), 0, node.lineno


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def within(name: str, allowed: frozenset[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def every_module() -> list[tuple[str, Path]]:
    return [(package, path) for package in sorted(OURS) for path in modules(package)]


MODULES = pytest.mark.parametrize(
    ("package", "path"),
    every_module(),
    ids=[path.relative_to(ROOT).as_posix() for _, path in every_module()],
)


def test_every_package_is_there() -> None:
    for package in OURS:
        assert modules(package), f"{package} holds no modules"


@MODULES
def test_imports_only_what_its_layer_allows(package: str, path: Path) -> None:
    ours, others = ALLOWED[package]
    for name, level, line in imports(parsed(path)):
        top = name.partition(".")[0]
        place = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if level:
            depth = len(path.relative_to(ROOT).parts) - 1
            assert level <= depth, f"{place} from outside its package"
            continue
        assert top != package, f"{place}: inside a package imports are relative"
        if top in OURS:
            assert top in ours, place
        elif top not in sys.stdlib_module_names:
            if others is not None:
                lazy_s3 = path.parent == ROOT / "storage" / "s3" and top in ("boto3", "botocore")
                assert within(name, others) or lazy_s3, place
            assert top not in REFUSED.get(package, frozenset()), place


@pytest.mark.parametrize("path", modules("signing"), ids=lambda path: path.name)
def test_signing_has_no_network(path: Path) -> None:
    for name, level, line in imports(parsed(path)):
        assert level or name.partition(".")[0] not in NETWORK, f"{path.name}:{line}: {name}"
        assert not name.startswith("tuf.ngclient"), f"{path.name}:{line}: {name}"


@pytest.mark.parametrize("path", modules("signing"), ids=lambda path: path.name)
def test_signing_has_no_clock_and_opens_no_files(path: Path) -> None:
    tree = parsed(path)
    for name, level, line in imports(tree):
        assert level or name.partition(".")[0] not in ("time", "subprocess", "pathlib", "io"), (
            f"{path.name}:{line}: {name}"
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            place = f"{path.name}:{node.lineno}: {ast.unparse(node)[:60]}"
            if isinstance(node.func, ast.Attribute):
                assert node.func.attr not in CLOCKS, place
            else:
                assert _called(node) not in ("open", "input", "print", "exec", "eval"), place


# What the witness shares with the registry: how to listen, to log and to show text.
WITNESS_SHARES = frozenset(
    ("domain.text", "errors", "logs", "operate.listening", "static_plane.files", "__version__")
)


@pytest.mark.parametrize(
    "path", modules("forge_server/witness"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_the_witness_is_no_part_of_the_registry(path: Path) -> None:
    for name, level, line in imports(parsed(path)):
        place = f"{path.name}:{line} imports {name}"
        assert level < 2 or within(name, WITNESS_SHARES), place
        assert level or name.partition(".")[0] not in ("sqlalchemy", "alembic"), place


def test_a_running_witness_has_not_loaded_the_registry() -> None:
    """Not even by way of what it shares."""
    program = (
        "import sys\n"
        "import forge_server.witness.app, forge_server.witness.main\n"
        "import forge_server.operate.listening, forge_server.logs\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    for package in ("sqlalchemy", "alembic", "tuf.ngclient"):
        assert package not in loaded
    parts = ("api", "app", "db", "manage", "registry", "services", "settings", "web", "wiring")
    refused = frozenset(f"forge_server.{part}" for part in parts)
    assert not [name for name in loaded if within(name, refused)]


def test_nothing_of_ours_imports_a_plug_in() -> None:
    """Each needs the program that loads it, which most people do not have."""
    for path in modules("forge_cli"):
        for name, _, line in imports(parsed(path)):
            plugs = {"plugins", "fsspec", "mlflow"} & set(name.split("."))
            place = f"{path.relative_to(ROOT)}:{line} imports {name}"
            assert not plugs or path.parent == ROOT / "forge_cli" / "plugins", place


# Of the client, from the ground up; what stands beside them is beneath or beside all of these.
FLOORS = (("remote",), ("context",), ("compare",), ("flows",), ("api", "commands"), ("plugins",))


@pytest.mark.parametrize(
    "path", modules("forge_cli"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_nothing_of_the_client_imports_what_stands_above_it(path: Path) -> None:
    """Not late either, and not for its types alone."""
    inside = path.relative_to(ROOT / "forge_cli")
    part = inside.parts[0].removesuffix(".py")
    (floor,) = [at for at, parts in enumerate(FLOORS) if part in parts] or [len(FLOORS)]
    above = {part for parts in FLOORS[floor + 1 :] for part in parts}
    for name, level, line in imports(parsed(path)):
        if level == len(inside.parts):  # as many dots as lead to the package
            assert name.partition(".")[0] not in above, f"{inside}:{line} imports {name}"


def test_boto3_is_imported_only_when_it_is_needed() -> None:
    for path in modules("storage"):
        statements = (ast.Import, ast.ImportFrom)
        top = ast.Module([node for node in parsed(path).body if isinstance(node, statements)], [])
        for name, _, line in imports(top):
            assert name.partition(".")[0] not in ("boto3", "botocore"), f"{path.name}:{line}"


def test_storage_does_not_import_its_s3_store_at_the_top() -> None:
    for path in modules("storage"):
        for node in parsed(path).body:
            if isinstance(node, ast.ImportFrom) and path.parent.name != "s3":
                assert (node.module or "").partition(".")[0] != "s3", f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b", [("a.b", 0)]),
        ("from a import b", [("a.b", 0)]),
        ("from . import b", [("b", 1)]),
        ("from ..a import b", [("a.b", 2)]),
        ("def f():\n    import a", [("a", 0)]),
        ("import importlib\nimportlib.import_module('a')", [("importlib", 0), ("a", 0)]),
        ("__import__('a')", [("a", 0)]),
    ],
)
def test_the_reader_of_imports_sees_them_all(source: str, found: list[tuple[str, int]]) -> None:
    assert [(name, level) for name, level, _ in imports(ast.parse(source))] == found
