"""Registries whose files lie in the object store, made once and copied inside of the store.

Making one takes some sixty requests and all migrations; a copy takes a request for each object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ceph_node import CephNode
from server_fixtures import Client, World, copy_world

from forge_server.app import create_app
from forge_server.operate.initialise import initialise
from forge_server.settings import DataFolder


@dataclass(frozen=True)
class StoredWorld:
    """A registry that nobody has open, in a bucket of its own."""

    ceph: CephNode
    world: World
    bucket: str

    def copy(self, folder: Path, bucket: str) -> World:
        """The same registry in ``folder`` and in the empty ``bucket``."""
        self.ceph.copy_objects(self.bucket, bucket)
        copied = copy_world(self.world, folder)
        settings = DataFolder(copied.root).settings
        settings.write_text(settings.read_text().replace(f"s3://{self.bucket}/", f"s3://{bucket}/"))
        return copied


def make_stored_world(
    ceph: CephNode, folder: Path, files: dict[str, bytes] | None = None, **settings: str | bool
) -> StoredWorld:
    """A registry in which sara owns minds-lab, with a release of ``files`` where there are any.
    ``settings`` are further ones of its ``server.toml``."""
    bucket = ceph.new_bucket()
    # What tests publish is not worth the scanners' time.
    begin = ceph.settings(folder, bucket, scan=False, **settings)
    initialise(folder / "reg", dev=True, settings=begin)
    world = World(folder / "reg")
    world.owner_token = world.user("sara")
    world.organisation(world.owner_token)
    if files is not None:
        client = Client(create_app(world.registry).test_client(), world.owner_token)
        client.publish(world.release(files=files))
    world.close()
    return StoredWorld(ceph, world, bucket)
