"""Source files of Python, read as syntax and never run: what they import, and what they call that
reaches beyond a computation."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from typing import Any, Final

from .document import ATTENTION, DANGER, Found, Remark, refused, short

MAX_BYTES: Final = 512 << 10
# Modules through which a program reaches other programs, the network, or code that is no source.
REACHING: Final = frozenset(
    (
        "aiohttp", "asyncio", "cffi", "cloudpickle", "code", "codeop", "ctypes", "dill", "ftplib",
        "http", "httpx", "importlib", "joblib", "marshal", "multiprocessing", "numba", "os",
        "paramiko", "pickle", "pickletools", "pkgutil", "platform", "pty", "requests", "runpy",
        "shelve", "shutil", "smtplib", "socket", "socketserver", "ssl", "subprocess", "sys",
        "telnetlib", "tempfile", "torch.hub", "urllib", "urllib3", "webbrowser", "winreg",
        "zipimport",
    )
)  # fmt: skip
CALLS: Final = frozenset(
    (
        "__import__", "compile", "ctypes.CDLL", "eval", "exec", "importlib.import_module",
        "joblib.load", "marshal.loads", "os.execv", "os.execve", "os.fork", "os.popen",
        "os.spawnv", "os.system", "pickle.load", "pickle.loads", "requests.get", "requests.post",
        "socket.socket", "subprocess.Popen", "subprocess.call", "subprocess.check_call",
        "subprocess.check_output", "subprocess.run", "torch.load", "urllib.request.urlopen",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """``imports`` are dotted names as written (`..x` for relative ones), ``calls`` those of
    `CALLS`, by the name that the import gave them."""

    imports: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()


def is_source(path: str) -> bool:
    return path.lower().endswith((".py", ".pyw", ".pyi"))


def read(data: bytes) -> Source:
    """What the source imports and calls.

    Raises:
        RefusedError: too long, or not Python of this version.
    """
    if len(data) > MAX_BYTES:
        raise refused(f"at most {MAX_BYTES} bytes of source", len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused("Python", short(f"{type(error).__name__}: {error}")) from None
    imports: set[str] = set()
    names: dict[str, str] = {}  # as used here: as it is called where it comes from
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports.add(alias.name)
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            imports.add(module)
            for alias in node.names:
                names[alias.asname or alias.name] = f"{module}.{alias.name}"
    calls = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (name := _called(node.func, names)) in CALLS
    }
    return Source(frozenset(imports), frozenset(calls))


def _called(node: ast.expr, names: dict[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(names.get(node.id, node.id))
    return ".".join(reversed(parts)).removeprefix("builtins.")


def reaches(module: str) -> bool:
    """Whether a module, or one that it is in, is of `REACHING`."""
    parts = module.split(".")
    return any(".".join(parts[:end]) in REACHING for end in range(1, len(parts) + 1))


def compare(path: str, old: bytes | None, new: bytes | None) -> Found:
    """Imports and calls that came or went.

    Raises:
        RefusedError: one of the two cannot be read.
    """
    before = Source() if old is None else read(old)
    after = Source() if new is None else read(new)
    value: dict[str, Any] = {"path": path}
    for name, one, other in (
        ("imports", before.imports, after.imports),
        ("calls", before.calls, after.calls),
    ):
        if one != other:
            value[name] = {
                "added": sorted(map(short, other - one)),
                "removed": sorted(map(short, one - other)),
            }
    return Found(
        members=[value] if len(value) > 1 else [],
        remarks=list(_remarks(path, before, after)),
    )


def _remarks(path: str, before: Source, after: Source) -> list[Remark]:
    remarks = []
    imports = sorted(after.imports - before.imports)
    reaching = [each for each in imports if reaches(each)]
    others = [each for each in imports if not reaches(each) and not each.startswith(".")]
    calls = sorted(after.calls - before.calls)
    for level, code, words, names in (
        (DANGER, "reaching-call", "calls", calls),
        (DANGER, "reaching-import", "imports", reaching),
        (ATTENTION, "import-new", "imports", others),
    ):
        if names:
            shown = ", ".join(map(short, names[:20])) + (" and more" if len(names) > 20 else "")
            remarks.append(Remark(level=level, code=code, text=f"{words} {shown}", path=path))
    return remarks
