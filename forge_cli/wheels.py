"""Handing the wheels of `library` components to pip or uv, after verification.

The installer gets paths and digests and nothing to look for: ``--no-index`` (no other index is
ever asked), ``--no-deps`` (what a wheel needs must be asked for as a component), and
``--require-hashes`` with the digests that the publisher signed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from .errors import ForgeError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A verified wheel in an installed component."""

    project: str
    version: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A Python to install into; ``why`` says how it was chosen."""

    python: Path
    prefix: Path
    why: str


def find_wheels(tree: Path, files: Iterable[tuple[str, str]]) -> list[Wheel]:
    """The wheels among ``(path, sha256)`` of a component installed at ``tree``."""
    wheels = []
    for path, digest in files:
        if not path.endswith(".whl"):
            continue
        try:
            project, version, _, _ = parse_wheel_filename(path.rpartition("/")[2])
        except InvalidWheelFilename as error:
            raise ForgeError("malformed", f"{tree / path}: {error}") from None
        wheels.append(Wheel(project=project, version=str(version), path=tree / path, sha256=digest))
    return wheels


def choose_environment(
    python: Path | None, into: Path, env: Mapping[str, str], cwd: Path
) -> Environment:
    """Where wheels go: ``--python``, the active environment, ``.venv``, or our own.

    Raises:
        UsageError: none of these is there; a system Python is never touched unasked.
    """
    if python is not None:
        found = shutil.which(str(python))
        if found is None:
            raise UsageError(f"--python {python}: no such program")
        return Environment(
            python=Path(found).absolute(), prefix=_prefix_of(Path(found)), why="--python"
        )
    places = [(folder / ".venv", f"{folder / '.venv'}") for folder in (cwd, into.absolute())]
    if active := env.get("VIRTUAL_ENV"):
        places.insert(0, (Path(active), "the active environment"))
    for prefix, why in places:
        if environment := _environment(prefix, why):
            return environment
    if sys.prefix != sys.base_prefix:
        own = Path(sys.prefix)
        return Environment(
            python=Path(sys.executable), prefix=own, why="the environment forge runs in"
        )
    raise UsageError(
        "no Python environment to install the wheels into",
        hint=f"make one: python -m venv {into / '.venv'}; or name one with --python, "
        "or leave the wheels alone with --no-pip",
        code="no-environment",
    )


def _environment(prefix: Path, why: str) -> Environment | None:
    python = prefix / "bin" / "python"
    if not (prefix / "pyvenv.cfg").is_file() or not python.exists():
        return None
    return Environment(python=python, prefix=prefix, why=why)


def _prefix_of(python: Path) -> Path:
    # Not resolved: the python of an environment is a link to the one it was made from.
    return python.absolute().parent.parent


def pending(wheels: Sequence[Wheel], environment: Environment, record: Path) -> list[Wheel]:
    """The wheels that ``environment`` does not have from us already."""
    known = _read_record(record).get(str(environment.prefix), {})
    return [
        wheel
        for wheel in wheels
        if known.get(wheel.project) != wheel.sha256 or not _is_there(wheel, environment)
    ]


def _is_there(wheel: Wheel, environment: Environment) -> bool:
    name = wheel.project.replace("-", "_")
    pattern = f"lib/python3*/site-packages/{name}-{wheel.version}.dist-info"
    return any(environment.prefix.glob(pattern))


def hand_over(wheels: Sequence[Wheel], environment: Environment, record: Path) -> str:
    """Install ``wheels``; returns the name of the installer that did it.

    Raises:
        ForgeError: ``wheel-install``, with what the installer said.
    """
    chosen = _compatible(wheels, environment)
    with tempfile.TemporaryDirectory(prefix="forge-wheels-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(
            "".join(
                f"{wheel.project} @ {wheel.path.absolute().as_uri()} --hash=sha256:{wheel.sha256}\n"
                for wheel in chosen
            )
        )
        installer, arguments = _installer(environment)
        arguments += ["--no-index", "--no-deps", "--require-hashes", "-r", str(requirements)]
        done = subprocess.run(
            arguments, env=_clean_environment(), capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ForgeError(
            "wheel-install",
            f"{installer} could not install the wheels into {environment.prefix}\n"
            + "\n".join(said[-12:]),
            hint="the verified files are in place; --no-pip leaves this step out",
        )
    _remember(chosen, environment, record)
    return installer


def _installer(environment: Environment) -> tuple[str, list[str]]:
    if uv := shutil.which("uv"):
        return "uv", [uv, "pip", "install", "--quiet", "--python", str(environment.python)]
    # -I: neither the current folder nor PYTHON* variables can put another pip in the way.
    return "pip", [
        str(environment.python),
        "-I",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--force-reinstall",
    ]


def _clean_environment() -> dict[str, str]:
    """Ours without what could point the installer at an index or at other files."""
    hidden = ("PIP_", "UV_", "PYTHONPATH", "PYTHONHOME")
    return {key: value for key, value in os.environ.items() if not key.startswith(hidden)} | {
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }


def _compatible(wheels: Sequence[Wheel], environment: Environment) -> list[Wheel]:
    """One wheel per project: of several builds, the best that this Python can use."""
    by_project: dict[str, list[Wheel]] = {}
    for wheel in wheels:
        by_project.setdefault(wheel.project, []).append(wheel)
    if all(len(group) == 1 for group in by_project.values()):
        return list(wheels)
    ranks = {tag: rank for rank, tag in enumerate(_tags(environment))}
    chosen = []
    for project, group in by_project.items():
        usable = [
            (rank, wheel)
            for wheel in group
            if (rank := min((ranks[t] for t in _wheel_tags(wheel) if t in ranks), default=None))
            is not None
        ]
        if not usable and len(group) > 1:
            raise ForgeError(
                "wheel-install",
                f"none of the {len(group)} wheels of {project} fits {environment.python}",
                hint="choose another Python with --python",
            )
        chosen.append(min(usable, key=lambda item: item[0])[1] if usable else group[0])
    return chosen


def _wheel_tags(wheel: Wheel) -> set[str]:
    return {str(tag) for tag in parse_wheel_filename(wheel.path.name)[3]}


def _tags(environment: Environment) -> list[str]:
    """The tags that the environment's Python accepts, best first, asked of that Python."""
    import packaging

    folder = str(Path(packaging.__file__).parent.parent)
    program = (
        "import sys; sys.path.append(sys.argv[1]); from packaging.tags import sys_tags; "
        "print('\\n'.join(map(str, sys_tags())))"
    )
    done = subprocess.run(
        [str(environment.python), "-I", "-c", program, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


def _read_record(path: Path) -> dict[str, dict[str, str]]:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _remember(wheels: Sequence[Wheel], environment: Environment, record: Path) -> None:
    from .files import write_private

    known = _read_record(record)
    mine = known.setdefault(str(environment.prefix), {})
    mine.update({wheel.project: wheel.sha256 for wheel in wheels})
    with suppress(OSError):
        write_private(record, json.dumps(known, indent=1).encode(), mode=0o644)
