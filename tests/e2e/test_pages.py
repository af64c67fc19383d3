"""Every command in the documentation runs, and prints what the page says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ceph_node import CephNode
from pages import (
    OBJECT_STORE,
    STORE,
    Prepared,
    Shell,
    Step,
    matches,
    preparation_of,
    steps_of,
)
from programs import BIN, program_folder
from softhsm import require_module

# Whose commands are the real programs from beginning to end, as a reader starts them.
REAL = frozenset(("tutorial/first-release.md", "howto/publish.md"))
DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for kind in ("tutorial", "howto")
    for page in (DOCS / kind).glob("*.md")
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """What a page of that name finds, made for the first page that wants it."""
    made: dict[tuple[Step, ...], Prepared] = {}

    def find(name: str) -> Prepared:
        steps = tuple(preparation_of(DOCS / name))
        if steps not in made:
            made[steps] = Prepared.make(
                tmp_path_factory.mktemp("prepared"), steps, program_folder()
            )
        return made[steps]

    return find


@pytest.mark.parametrize("name", PAGES)
def test_page(
    name: str,
    tmp_path: Path,
    prepared: Callable[[str], Prepared],
    request: pytest.FixtureRequest,
) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    environment: dict[str, str] = {}
    store = STORE
    if "softhsm2-util" in text:
        require_module()
    if "<!-- prepared: postgresql -->" in text:
        environment = request.getfixturevalue("postgres_server").environment
    if OBJECT_STORE in text:
        ceph: CephNode = request.getfixturevalue("ceph")
        ceph.client().create_bucket(Bucket="forge-registry")
        shutil.copy(ceph.credentials, tmp_path / "s3.keys")
        store = ceph.endpoint
    steps = steps_of(DOCS / name)
    assert steps, "a page of the tutorial or the how-to without a command"
    programs = BIN if name in REAL else program_folder()
    port = None
    if preparation_of(DOCS / name):
        found = prepared(name)
        shutil.copytree(found.folder, tmp_path, dirs_exist_ok=True)
        steps, port = [*found.again, *steps], found.port
    with Shell(tmp_path, environment, store=store, programs=programs, port=port) as shell:
        for step in steps:
            code, printed = shell.run(step)
            where = f"{name}, line {step.line}: {step.command}"
            assert matches(step.output, printed), f"{where}\n--- printed:\n{printed}"
            failing = "exit" in step.command  # a page shows a failure as `…; echo "exit $?"`
            assert code == 0 or failing, f"{where}: exit {code}\n{printed}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a …\nb", "a anything\nb", True),
        ("…", "many\nlines", True),
        ("…", "", True),
        ("…\nb", "b", True),
        ("a …", "a b\nc", False),
        ("a", "a\nb", False),
        ("a", "", False),
        ("", "unexpected", False),
    ],
)
def test_matching(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
