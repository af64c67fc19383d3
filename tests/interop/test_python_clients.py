"""pip and uv, as they are, against `/simple/`."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
from facades import OTHER, publish_library
from server_fixtures import ORG
from stock_clients import Stock, stock
from wheels import library, wheel

from forge_cli.flows.client_settings import settings_of, write_settings

__all__ = ["stock"]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def shop(stock: Stock) -> Stock:
    publish_library(stock.facades)
    facades = stock.facades
    facades.sara.publish(library(facades.world, wheel("gov-new", "1.0", ">=3.99"), "gov-new"))
    return stock


def environment(shop: Stock, path: Path) -> str:
    """An empty environment; the Python in it."""
    shop.run("uv", "venv", "-q", "--python", shop.python, str(path / "env"))
    return str(path / "env" / "bin" / "python")


def version_in(shop: Stock, python: str) -> str:
    return shop.run(python, "-c", "import gov_demo; print(gov_demo.VERSION)").strip()


INDEX = "--index-url"


def test_pip_installs_and_lists_versions(shop: Stock, tmp_path: Path) -> None:
    python = environment(shop, tmp_path)
    index = [INDEX, f"{shop.url}/simple/"]
    shop.run("pip", "--python", python, "install", *index, "gov-demo<1.2")
    assert version_in(shop, python) == "1.1.0"
    said = shop.run("pip", "--python", python, "index", "versions", *index, "gov-demo")
    assert "1.2.0, 1.1.0, 1.0.0" in said


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_the_written_settings_are_all_it_takes(shop: Stock, tmp_path: Path, client: str) -> None:
    python = environment(shop, tmp_path)
    settings = settings_of(client, shop.url, ORG)
    path = write_settings(settings, client, tmp_path, tmp_path / "config")
    assert write_settings(settings, client, tmp_path, tmp_path / "config") == path
    if client == "pip":
        shop.run("pip", "--python", python, "install", "gov-demo", PIP_CONFIG_FILE=str(path))
    else:
        home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
        shop.run("uv", "pip", "install", "--python", python, "gov-demo", **home)
    assert version_in(shop, python) == "1.2.0"


def test_pip_resolves_by_metadata_alone(shop: Stock, tmp_path: Path) -> None:
    said = shop.run(
        "pip", "install", "-v", "--dry-run", "--ignore-installed", INDEX, f"{shop.url}/simple/",
        "gov-demo",
    )  # fmt: skip
    assert "gov_demo-1.2.0-py3-none-any.whl.metadata" in said
    assert "Would install gov-demo-1.2.0" in said


def test_pip_downloads_with_hashes_and_refuses_another_one(shop: Stock, tmp_path: Path) -> None:
    ((name, data),) = wheel("gov-demo", "1.0.0").items()
    wanted = tmp_path / "requirements.txt"
    arguments = [
        "pip", "download", "--no-deps", "-d", str(tmp_path / "got"), "--require-hashes",
        INDEX, f"{shop.url}/simple/", "-r", str(wanted),
    ]  # fmt: skip
    wanted.write_text(f"gov-demo==1.0.0 --hash=sha256:{hashlib.sha256(data).hexdigest()}\n")
    shop.run(*arguments)
    assert (tmp_path / "got" / name).read_bytes() == data
    wanted.write_text(f"gov-demo==1.0.0 --hash=sha256:{'0' * 64}\n")
    assert "DO NOT MATCH" in shop.refused(*arguments, PIP_NO_CACHE_DIR="1").upper()


def test_an_older_python_is_told_so(shop: Stock) -> None:
    said = shop.refused("pip", "download", INDEX, f"{shop.url}/simple/", "gov-new")
    assert "Requires-Python" in said or "requires-python" in said.lower()


@pytest.mark.parametrize("index", ["/simple/", f"/simple/-/{ORG}/"], ids=["all", "organisation"])
def test_uv_installs(shop: Stock, tmp_path: Path, index: str) -> None:
    python = environment(shop, tmp_path)
    shop.run("uv", "pip", "install", "--python", python, INDEX, shop.url + index, "gov-demo")
    assert version_in(shop, python) == "1.2.0"


def test_the_index_of_another_organisation_does_not_have_it(shop: Stock, tmp_path: Path) -> None:
    python = environment(shop, tmp_path)
    index = f"{shop.url}/simple/-/{OTHER}/"
    said = shop.refused("uv", "pip", "install", "--python", python, INDEX, index, "gov-demo")
    assert "not found in the package registry" in said


def test_uv_locks_with_our_addresses_and_digests(shop: Stock, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f'dependencies = ["gov-demo"]\n[[tool.uv.index]]\nname = "forge"\n'
        f'url = "{shop.url}/simple/"\ndefault = true\n'
    )
    arguments = ["uv", "lock", "--python", shop.python]
    shop.run(*arguments, cwd=tmp_path)
    lock = tomllib.loads((tmp_path / "uv.lock").read_text())
    (package,) = (one for one in lock["package"] if one["name"] == "gov-demo")
    (file,) = package["wheels"]
    digest = file["hash"].removeprefix("sha256:")
    assert file["url"] == f"{shop.url}/simple/-/files/{digest}/gov_demo-1.2.0-py3-none-any.whl"
    assert file["size"] > 0
    assert file["upload-time"]
    (tmp_path / "uv.lock").write_text(
        (tmp_path / "uv.lock").read_text().replace(file["hash"], f"sha256:{'0' * 64}")
    )
    said = shop.refused("uv", "sync", "--frozen", "--no-cache", "--python", shop.python,
                        cwd=tmp_path)  # fmt: skip
    assert "Hash mismatch" in said


def test_pip_locks_with_our_addresses(shop: Stock, tmp_path: Path) -> None:
    shop.run("pip", "lock", INDEX, f"{shop.url}/simple/", "gov-demo==1.0.0", cwd=tmp_path)
    lock = tomllib.loads((tmp_path / "pylock.toml").read_text())
    (package,) = lock["packages"]
    (file,) = package["wheels"]
    assert file["hashes"]["sha256"] in file["url"]


def test_a_yank_is_seen_at_once(shop: Stock, tmp_path: Path) -> None:
    """By clients that asked a moment ago, and with their caches."""
    python = environment(shop, tmp_path)
    index = [INDEX, f"{shop.url}/simple/"]
    uv = ["uv", "pip", "install", "--python", python, "--reinstall", *index]
    pip = ["pip", "--python", python, "install", "--force-reinstall", *index]
    trusted = {"PIP_TRUSTED_HOST": "127.0.0.1"}  # else pip keeps nothing that came over http
    shop.run(*uv, "gov-demo")
    shop.run(*pip, "gov-demo", **trusted)
    assert version_in(shop, python) == "1.2.0"
    shop.facades.yank("gov-demo", "1.2.0", "leaks memory")
    try:
        shop.run(*uv, "gov-demo")
        assert version_in(shop, python) == "1.1.0"
        shop.run(*pip, "gov-demo", **trusted)
        assert version_in(shop, python) == "1.1.0"
        assert "leaks memory" in shop.run(*pip, "gov-demo==1.2.0", **trusted)
        assert "leaks memory" in shop.run(*uv, "gov-demo==1.2.0")
    finally:
        shop.facades.yank("gov-demo", "1.2.0", None)


def test_what_is_withheld_is_refused_with_the_reason(shop: Stock, tmp_path: Path) -> None:
    facades = shop.facades
    facades.sara.publish(library(facades.world, wheel("gov-bad", "1.0.0"), "gov-bad"))
    ((name, data),) = wheel("gov-bad", "1.0.0").items()
    locked = f"{shop.url}/simple/-/files/{hashlib.sha256(data).hexdigest()}/{name}"
    download = ["pip", "download", "--no-deps", "--no-cache-dir"]
    shop.run(*download, locked, cwd=tmp_path)
    (tmp_path / name).unlink()
    facades.withhold("gov-bad", "1.0.0")
    said = shop.refused(*download, locked, cwd=tmp_path)
    assert "it phones home" in said
    shop.refused(*download, INDEX, f"{shop.url}/simple/", "gov-bad", cwd=tmp_path)
