"""Formats that execute code on loading: not published, unless the registry or a waiver says so."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hostile_models import Payload, torch_zip
from server_fixtures import (
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    set_settings,
    world,
)
from sqlalchemy.orm import Session

from forge_server.app import create_app
from forge_server.services.admission import Admission
from signing.manifest import Manifest

__all__ = ["_fresh_registry", "client", "sara", "world"]


@pytest.mark.parametrize("name", ["weights.bin", "README.md", "model.safetensors"])
def test_a_pickle_is_refused_whatever_its_name(world: World, sara: Client, name: str) -> None:
    built = world.release(files={name: pickle.dumps(Payload())})
    sara.put_blobs(built)
    answer = sara.post("/api/v1/releases", built.body(), expect=422, code="unsafe-format")
    assert (answer["path"], answer["format"]) == (name, "pickle")
    assert "safetensors" in answer["hint"]
    sara.get("/api/v1/components/minds-lab/my-model", expect=404)


def test_where_it_is_in_an_archive_is_said(world: World, sara: Client) -> None:
    built = world.release(files={"model.pt": torch_zip()})
    sara.put_blobs(built)
    answer = sara.post("/api/v1/releases", built.body(), code="unsafe-format")
    assert "archive/data.pkl" in answer["detail"]


def test_the_registry_may_allow_a_format(world: World, sara: Client) -> None:
    set_settings(world.root, 'allow_code_formats = ["pickle"]\n')
    client = Client(create_app(world.reopen()).test_client(), sara.token)
    client.publish(world.release(files={"model.pt": torch_zip()}))


class _One:
    """Waives one version."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def allows(self, session: Session, manifest: Manifest, format_: str) -> bool:
        self.asked.append((str(manifest.component), str(manifest.version), format_))
        return str(manifest.version) == "1.0.0"


def test_a_waiver_allows_what_it_covers(world: World, sara: Client) -> None:
    registry = world.registry
    waivers = _One()
    admission = Admission(registry.database, registry.blobs, (), waivers)
    changed = registry.differing(releases=replace(registry.releases, admission=admission))
    client = Client(create_app(changed).test_client(), sara.token)
    client.publish(world.release(files={"model.pt": torch_zip()}))
    assert waivers.asked == [("minds-lab/my-model", "1.0.0", "pickle")]
    other = world.release(version="2.0.0", files={"model.pt": torch_zip(b"other")})
    client.put_blobs(other)
    client.post("/api/v1/releases", other.body(), expect=422, code="unsafe-format")


def test_what_a_waiver_let_in_is_let_in_nowhere_else(world: World, sara: Client) -> None:
    registry = world.registry
    admission = Admission(registry.database, registry.blobs, (), _One())
    changed = registry.differing(releases=replace(registry.releases, admission=admission))
    client = Client(create_app(changed).test_client(), sara.token)
    client.publish(world.release(files={"model.pt": torch_zip()}))
    again = world.release(version="2.0.0", files={"renamed": torch_zip()})
    client.put_blobs(again)
    client.post("/api/v1/releases", again.body(), expect=422, code="unsafe-format")
    for due in registry.scans.everything():
        registry.scans.scan(due)
    client.post("/api/v1/releases", again.body(), expect=422, code="unsafe-format")


def test_what_was_found_harmless_is_not_looked_at_again(world: World, sara: Client) -> None:
    registry = world.registry
    built = world.release(files={"weights.bin": os.urandom(100_000)})  # small ones are read anyhow
    sara.publish(built)
    admission = Admission(registry.database, registry.blobs)
    assert admission._unseen(built.manifest)
    for due in registry.scans.everything():
        registry.scans.scan(due)
    assert not admission._unseen(built.manifest)
