"""pip and uv, as they are, against `/simple/`."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from facades import OTHER, publish_library
from server_fixtures import ORG
from stock_clients import Stock, stock
from upstream_index import UpstreamIndex
from wheels import library, sdist, wheel

from forge_cli.flows.client_settings import settings_of, write_settings
from forge_server.manage import cli
from forge_server.services.callers import OPERATOR
from signing.deprecation import Deprecation

__all__ = ["stock"]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamIndex]:
    with UpstreamIndex() as server:
        yield server


@pytest.fixture(scope="module")
def settings(upstream: UpstreamIndex) -> str:
    """Lines of the registry's server.toml; `stock` asks for them."""
    return f'upstream_url = "{upstream.index}"\n'


@pytest.fixture(scope="module")
def shop(stock: Stock) -> Stock:
    publish_library(stock.facades)
    facades = stock.facades
    facades.sara.publish(library(facades.world, wheel("gov-new", "1.0", ">=3.99"), "gov-new"))
    facades.sara.publish(library(facades.world, sdist("gov-source"), "gov-source"))
    return stock


def environment(shop: Stock, path: Path) -> str:
    """An empty environment; the Python in it."""
    shop.run("uv", "venv", "-q", "--python", shop.python, str(path / "env"))
    return str(path / "env" / "bin" / "python")


def version_in(shop: Stock, python: str) -> str:
    return shop.run(python, "-c", "import gov_demo; print(gov_demo.VERSION)").strip()


INDEX = "--index-url"


def lock_of(shop: Stock, folder: Path, *wanted: str) -> list[dict[str, Any]]:
    """What `uv lock` writes of packages from the one index that a project names."""
    names = ", ".join(f'"{name}"' for name in wanted)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f'dependencies = [{names}]\n[[tool.uv.index]]\nname = "forge"\n'
        f'url = "{shop.url}/simple/"\ndefault = true\n'
    )
    shop.run("uv", "lock", "--python", shop.python, cwd=folder)
    lock = tomllib.loads((folder / "uv.lock").read_text())
    return [one for one in lock["package"] if one["name"] != "x"]


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


def test_an_sdist_alone_is_found_locked_and_downloaded(shop: Stock, tmp_path: Path) -> None:
    (package,) = lock_of(shop, tmp_path, "gov-source")
    ((name, data),) = sdist("gov-source").items()
    digest = hashlib.sha256(data).hexdigest()
    assert package["sdist"]["hash"] == f"sha256:{digest}"
    assert package["sdist"]["url"] == f"{shop.url}/simple/-/files/{digest}/{name}"
    index = [INDEX, f"{shop.url}/simple/"]
    # To build one, pip would look for the build system in the same index.
    said = shop.refused("pip", "download", "--no-deps", *index, "gov-source", cwd=tmp_path)
    assert name in said
    assert "setuptools" in said
    assert "1.0.0" in shop.run("pip", "index", "versions", *index, "gov-source")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"gov-source==1.0.0 --hash=sha256:{'0' * 64}\n")
    said = shop.refused("pip", "download", "--no-deps", *index, "-r", str(wanted), cwd=tmp_path)
    assert "DO NOT MATCH" in said.upper()


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
    (package,) = lock_of(shop, tmp_path, "gov-demo")
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


def test_one_index_for_what_is_ours_and_what_is_let_through(
    shop: Stock, upstream: UpstreamIndex, tmp_path: Path
) -> None:
    """A wheel of ours that needs one of another index, with one --index-url."""
    upstream.add("borrowed", wheel("borrowed", "1.0") | wheel("borrowed", "1.1"))
    upstream.add("borrowed", wheel("borrowed", "2.0"), at=datetime.now(UTC))
    needs = wheel(
        "gov-needs", "1.0.0",
        metadata=b"Metadata-Version: 2.1\nName: gov-needs\nVersion: 1.0.0\n"
        b"Requires-Dist: borrowed>=1\n",
    )  # fmt: skip
    facades, root = shop.facades, str(shop.facades.world.root)
    facades.sara.publish(library(facades.world, needs, "gov-needs"))
    index = [INDEX, f"{shop.url}/simple/"]
    python = environment(shop, tmp_path)
    refused = shop.refused("pip", "--python", python, "install", *index, "gov-needs")
    assert "borrowed" in refused
    assert upstream.requests == []
    done = CliRunner().invoke(cli, ["upstream", "allow", root, "borrowed"])
    assert done.exit_code == 0, done.output
    both = "import gov_needs, borrowed; print(gov_needs.VERSION, borrowed.VERSION)"
    shop.run("pip", "--python", python, "install", *index, "gov-needs")
    assert shop.run(python, "-c", both) == "1.0.0 1.1\n"  # 2.0 is too young
    assert "Available versions: 1.1, 1.0" in shop.run("pip", "index", "versions", *index,
                                                      "borrowed")  # fmt: skip
    (tmp_path / "uv").mkdir()
    other = environment(shop, tmp_path / "uv")
    shop.run("uv", "pip", "install", "--python", other, *index, "gov-needs")
    assert shop.run(other, "-c", both) == "1.0.0 1.1\n"
    ours, theirs = sorted(lock_of(shop, tmp_path, "gov-needs"), key=lambda one: one["name"])[::-1]
    assert "/simple/-/files/" in ours["wheels"][0]["url"]
    assert "/simple/-/upstream/" in theirs["wheels"][0]["url"]
    shop.run("pip", "lock", *index, "gov-needs", cwd=tmp_path)
    lock = tomllib.loads((tmp_path / "pylock.toml").read_text())
    assert [one["name"] for one in lock["packages"]] == ["borrowed", "gov-needs"]
    served = upstream.paths()
    assert served.count("/files/borrowed-1.1-py3-none-any.whl") == 1
    assert served.count("/simple/borrowed/") == 1
    assert not any("gov" in path for path in served)


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_another_wheel_than_was_pinned_is_refused_with_the_reason(
    shop: Stock, upstream: UpstreamIndex, tmp_path: Path, client: str
) -> None:
    name = f"swapped-{client}"
    upstream.add(name, wheel(name, "1.0"))
    shop.facades.world.registry.upstream.allow(OPERATOR, name, "")
    ((filename, data),) = wheel(name, "1.0", files={"evil.py": b"1"}).items()
    upstream.files[f"/files/{filename}"] = data[: len(wheel(name, "1.0")[filename])]
    index = [INDEX, f"{shop.url}/simple/", name]
    if client == "pip":
        said = shop.refused("pip", "download", "--no-deps", "--retries", "0", *index, cwd=tmp_path)
    else:
        python = environment(shop, tmp_path)
        said = shop.refused("uv", "pip", "install", "--python", python, *index,
                            UV_HTTP_RETRIES="0")  # fmt: skip
    assert "as pinned on" in said


def test_what_a_policy_forbids_cannot_be_installed_from_that_index(
    shop: Stock, tmp_path: Path
) -> None:
    python = environment(shop, tmp_path)
    index = [INDEX, f"{shop.url}/simple/-/{OTHER}/-/"]
    pip = ["pip", "--python", python, "install", "--force-reinstall", *index, "gov-demo==1.0.0"]
    shop.run(*pip)
    shop.facades.pin_policy(OTHER, 'licences = ["MIT"]')
    try:
        shop.refused(*pip)
        shop.refused("uv", "pip", "install", "--python", python, "--reinstall", *index, "gov-demo")
    finally:
        shop.facades.drop_policy(OTHER)
    shop.run(*pip)


def test_uv_audit_says_that_a_project_is_deprecated(shop: Stock, tmp_path: Path) -> None:
    facades = shop.facades
    facades.sara.publish(library(facades.world, wheel("gov-old"), "gov-old"))
    facades.deprecate("gov-old", "1.0.0", Deprecation(reason="use the new one"))
    lock_of(shop, tmp_path, "gov-old")
    done = shop.try_run("uv", "audit", "--frozen", "--service-url", f"{shop.url}/osv/",
                        cwd=tmp_path)  # fmt: skip
    assert "gov-old is deprecated: use the new one" in done.stdout + done.stderr
