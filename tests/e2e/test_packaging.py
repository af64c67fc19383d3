"""The wheel holds exactly the four packages and starts both commands, wherever it is installed."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"forge_cli", "forge_server", "signing", "storage"}
OF_A_CHECKOUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, place / "source", ignore=OF_A_CHECKOUT)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(place)),
            str(place / "source"),
        ],
        check=True,
        capture_output=True,
    )
    (built,) = place.glob("*.whl")
    return zipfile.ZipFile(built)


def test_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    metadata = {name for name in top if name.endswith(".dist-info")}
    assert len(metadata) == 1
    assert top - metadata == PACKAGES


def test_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    there = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there <= set(wheel.namelist()), there - set(wheel.namelist())


def test_console_scripts(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert set(scripts["console_scripts"]) == {"forge", "forge-server", "forge-witness"}


def test_constraints_pin_everything_by_digest() -> None:
    text = (ROOT / "constraints.txt").read_text()
    requirements = text.replace("\\\n", "").splitlines()
    assert requirements
    for line in requirements:
        assert "==" in line, line
        assert "--hash=sha256:" in line, line


def test_constraints_cover_the_declared_requirements() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = setup["options"]["install_requires"].split("\n")
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for requirement in filter(None, map(str.strip, declared)):
        name, _, lower = requirement.partition(">=")
        assert lower, f"{requirement} has no lower bound"
        assert name.lower().replace("_", "-") in pinned
