"""Builds the wheel of an example library: ``python build_wheel.py SRC DEST_FOLDER``.

    cp -r examples/lid-runtime /tmp/lid-runtime
    python examples/build_wheel.py examples/lid-runtime-src /tmp/lid-runtime

pip builds in a temporary copy of SRC, so the checkout gets no ``build/`` or ``*.egg-info``.
Nothing is downloaded: the interpreter that runs this must have pip and setuptools >= 70.1. The
times inside the wheel and the modes of its files are fixed, so the same sources and the same
setuptools give the same bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE_DATE_EPOCH = 1_767_225_600  # 2026-01-01; a wheel cannot say a time before 1980
_IGNORED = shutil.ignore_patterns("__pycache__", "build", "dist", "*.egg-info", ".*")


def build_wheel(src: Path, dest: Path) -> Path:
    """The wheel of the package in ``src``, built into the folder ``dest``.

    Raises:
        RuntimeError: pip failed; the message ends with what pip said.
    """
    with tempfile.TemporaryDirectory(prefix="build-wheel-") as folder:
        sources, built = Path(folder, "src"), Path(folder, "built")
        shutil.copytree(src, sources, ignore=_IGNORED)
        for path in sources.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        _run_pip(sources, built)
        (wheel,) = built.glob("*.whl")
        dest.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(wheel, dest / wheel.name))


def _run_pip(sources: Path, built: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir"]
    result = subprocess.run(
        [*command, "-w", str(built), str(sources)],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH)},
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )
    if result.returncode != 0:
        raise RuntimeError(
            f"pip could not build {sources.name} (is setuptools >= 70.1 installed?):\n"
            f"{result.stdout}{result.stderr}"
        )


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python build_wheel.py SRC DEST_FOLDER")
    try:
        print(build_wheel(Path(sys.argv[1]), Path(sys.argv[2])))
    except (OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
