"""A release with one large file in chunks, and a client that installs it."""

from __future__ import annotations

import os
from pathlib import Path

from builders import NAME, World, sha256, tree
from cli_fixtures import Forge, new_world
from ranged_server import Blob
from static_server import StaticServer
from tensors import chunks_of, replaced, safetensors, tensors

PATH = "weights/model.safetensors"
VALUES = tensors(1, count=24)
DATA = safetensors(VALUES)
LIST = chunks_of(DATA)


def world_with(data: bytes = DATA, version: str = "1.0.0", world: World | None = None) -> World:
    world = world or new_world()
    world.publish({**tree(version=version), PATH: data}, {PATH: chunks_of(data).raw})
    return world


def installed(forge: Forge, into: str = "out") -> bytes:
    return (forge.place / into / "forge_components" / str(NAME) / PATH).read_bytes()


def partial(forge: Forge, suffix: str = "part", data: bytes = DATA) -> Path:
    return forge.home / "cache" / "partial" / f"{sha256(data)}.{suffix}"


class Served:
    """A world served with its large file as a `Blob`."""

    def __init__(self, forge: Forge, world: World, *blobs: Blob, trust: bool = True) -> None:
        self.server = StaticServer({**world.files(), **{blob.path: blob for blob in blobs}})
        self.forge, self.world, self.trust = forge, world, trust

    def __enter__(self) -> StaticServer:
        self.server.__enter__()
        if self.trust:
            self.forge.trust(self.server, self.world)
        return self.server

    def __exit__(self, *args: object) -> None:
        self.server.__exit__(None, None, None)


MIDDLE = len(DATA) // 2


CHANGED = replaced(VALUES, ["layer.3", "layer.12"])  # a twelfth
NEW = {
    "a tenth of the tensors": (safetensors(CHANGED), 0.11),
    "a longer header": (safetensors(VALUES, "x" * 777), 0.01),
    "both, and a new tensor in front": (
        safetensors({"front": os.urandom(64 << 10)} | CHANGED, "x" * 777), 0.11,
    ),
    "nothing but a flipped byte": (DATA[:-5] + b"x" + DATA[-4:], 0.02),
}  # fmt: skip
