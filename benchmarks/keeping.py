"""What looking after a registry takes: `forge-server check`, `check --deep`, `backup`, a second
`backup` and `restore`, as commands, with every file where it belongs.

    python -m benchmarks.keeping --components 5000

Nothing is promised but figures for docs/reference/sizing.md. The registry is one of `made_up`, ten
versions of each component, so with 5,000 components 50,000 releases of two files of 1000 bytes; all
lies below ``TMPDIR``, on a disk if the figures shall be those of a disk.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from server_fixtures import World
from sqlalchemy import select

from forge_server.db.models import MetadataVersion
from forge_server.operate.initialise import initialise
from forge_server.services.log_files import leaf_path
from forge_server.services.publication import target_path
from signing.digests import sha256_hex

from .made_up import FILES, PROJECTS, Pattern, made_up_bytes, name_of, org_of
from .made_up_rows import Filled


def files_of(filled: Filled) -> Iterator[tuple[str, bytes]]:
    """Paths below the registry's folder, and what is in them, of all releases."""
    pattern = filled.pattern
    for number in range(filled.components):
        org, name = org_of(number // PROJECTS), name_of(number % PROJECTS)
        for at, version in enumerate(pattern.versions):
            for file, data in (
                ("manifest.json", pattern.manifest(org, name, at)),
                ("release.sigstore.json", pattern.bundle(org, name, at)),
            ):
                digest = sha256_hex(data)
                path = target_path(org.decode(), name.decode(), version, file, digest)
                yield f"public/{path}", data
                yield f"blobs/{digest[:2]}/{digest}", data
            for each in FILES:
                data = made_up_bytes(org, name, at, each.encode())
                digest = sha256_hex(data)
                yield f"blobs/{digest[:2]}/{digest}", data


def roles_of(world: World) -> Iterator[tuple[str, bytes]]:
    with world.registry.database.read() as session:
        query = select(MetadataVersion).where(MetadataVersion.published_at.is_not(None))
        for row in session.scalars(query.execution_options(yield_per=100)):
            if row.role != "timestamp":
                yield f"public/{row.version}.{row.role}.json", row.data
            if row.log_index is not None:
                yield f"public/{leaf_path(row.role, row.version)}", f"{row.log_index}\n".encode()


def write(root: Path, files: Iterator[tuple[str, bytes]]) -> int:
    """Writes what is not there, and syncs nothing; returns how many files."""
    count = 0
    for name, data in files:
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            continue
        count += 1
    return count


def make(root: Path, components: int, versions: int) -> int:
    """The registry in ``root``; returns how many files its releases and roles have."""
    initialise(root, dev=True)
    world = World(root)
    token = world.user("sara")
    world.organisation(token)
    filled = Filled(components, Pattern(versions), root.with_name("digests"))
    user = world.registry.accounts.authenticate(token).user_id
    filled.fill(world, user)
    count = write(root, files_of(filled)) + write(root, roles_of(world))
    with world.registry.database.write() as session:
        world.registry.publication.announce(session)
    world.registry.publication.materialise()
    world.close()
    return count


def run(what: str, *arguments: object) -> None:
    """One command of the operator's in a process of its own."""
    command = [sys.executable, "-m", "forge_server.manage", *map(str, arguments)]
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, used = os.wait4(child, 0)
    clock = time.perf_counter() - began
    if status:
        sys.exit(f"{what}: failed with status {os.waitstatus_to_exitcode(status)}")
    print(
        f"| {what} | {clock:.0f} s | {used.ru_utime + used.ru_stime:.0f} s "
        f"| {used.ru_maxrss >> 10} MiB |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=5000)
    parser.add_argument("--versions", type=int, default=10, help="of each component")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        count = make(place / "reg", options.components, options.versions)
        print(f"{options.components * options.versions} releases, {count} files\n")
        print("| what | by the clock | of a processor | memory at the most |\n|---|---|---|---|")
        registry, target, back = place / "reg", place / "backups", place / "back"
        run("`check`", "check", registry)
        run("`check --deep`", "check", registry, "--deep")
        run("`backup`", "backup", registry, target)
        run("`backup` again", "backup", registry, target)
        run("`restore`", "restore", target, back, "--keys", registry / "keys", "--newest")
        run("`check --deep` of what was restored", "check", back, "--deep")


if __name__ == "__main__":
    main()
