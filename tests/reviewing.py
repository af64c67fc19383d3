"""Reviewer bodies in the registry of a test: named by its authority, and saying something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import Client, World, copy_world, owned_world, while_needed
from tuf.api.metadata import Targets

from forge_server.app import create_app
from forge_server.services.callers import OPERATOR
from forge_server.services.rolebook import current_role
from signing.bodies import DECISION, WAIVER, Body, role_of, target_path
from signing.digests import sha256_hex
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName
from signing.review import Verdict, sign_decision
from signing.review_edits import edit_reviews
from signing.role_edits import delegate, next_version, sign_role
from signing.statement import Resource
from signing.waivers import Waiver, approve_waiver, begin_waiver


@dataclass
class Bodies:
    """The bodies of a registry by name, each with one reviewer's key."""

    world: World
    keys: dict[str, PrivateKey] = field(default_factory=dict)

    def name(self, body: str, title: str, organisations: Sequence[str] = ()) -> None:
        """The authority names the body."""
        key = self.keys[body] = generate_key("p256")

        def change(signed: Targets) -> None:
            delegate(signed, role_of(body), [key.public], 1)

        self._sign_targets(change)
        self.belongs(body, title, organisations)

    def belongs(self, body: str, title: str, organisations: Sequence[str]) -> None:
        """The authority says to which organisations the body belongs."""

        def change(signed: Targets) -> None:
            assert signed.delegations is not None
            assert signed.delegations.roles is not None
            said = Body(display_name=title, organisations=frozenset(organisations))
            role = signed.delegations.roles[role_of(body)]
            role.unrecognized_fields["forge"] = said.to_json()

        self._sign_targets(change)

    def revoke(self, body: str) -> None:
        """The authority takes the reviewer's key away, and names another."""

        def change(signed: Targets) -> None:
            assert signed.delegations is not None
            assert signed.delegations.roles is not None
            signed.revoke_key(self.keys[body].public.keyid, role_of(body))
            signed.add_key(generate_key("p256").public.tuf, role_of(body))

        self._sign_targets(change)

    def decide(
        self,
        body: str,
        component: str,
        version: str,
        *,
        passed: bool = True,
        number: int = 2,
        days: float = 90,
        at: datetime | None = None,
    ) -> str:
        """A reviewer signs a decision, and the body lists it; returns the envelope's digest."""
        name, now = ComponentName.parse(component), self.world.clock()
        details = self.world.registry.catalogue.component(name)
        release = next(one for one in details.versions if one.version == version)
        at = (at or now).replace(microsecond=0)
        verdict = Verdict(
            body=body,
            component=name,
            version=version,
            manifest_sha256=release.manifest_sha256,
            passed=passed,
            number=number,
            at=at,
            expires=at + timedelta(days=days),
            policy=Resource("forge:criteria", "cd" * 32),
            reason=None if passed else "It names people",
        )
        data = sign_decision(verdict, self.keys[body])
        path = target_path(body, name, version, "vsa")
        self._edit(body, add={path: data})
        return sha256_hex(data)

    def second(self, body: str) -> PrivateKey:
        """The authority names another reviewer of the body."""
        key = generate_key("p256")

        def change(signed: Targets) -> None:
            signed.add_key(key.public.tuf, role_of(body))

        self._sign_targets(change)
        return key

    def waiver(self, body: str, component: str, **more: Any) -> Waiver:
        """What a reviewer of the body may sign, for half a month."""
        now = self.world.clock().replace(microsecond=0)
        made = Waiver(
            body=body, id="W-1", component=ComponentName.parse(component), versions=">=1,<2",
            severity="critical", reason="Until the next version",
            author=self.keys[body].public.keyid, at=now, expires=now + timedelta(days=15),
        )  # fmt: skip
        return replace(made, **more)

    def waive(self, waiver: Waiver, approver: PrivateKey) -> None:
        """Two reviewers sign it, and the body lists it."""
        data = approve_waiver(begin_waiver(waiver, self.keys[waiver.body]), approver)
        path = target_path(waiver.body, waiver.component, waiver.id, WAIVER)
        self._edit(waiver.body, add={path: data})

    def withdraw(self, body: str, component: str, name: str, kind: str = DECISION) -> None:
        self._edit(body, drop=[target_path(body, ComponentName.parse(component), name, kind)])

    def _edit(
        self, body: str, *, add: Mapping[str, bytes] | None = None, drop: Sequence[str] = ()
    ) -> None:
        role = role_of(body)
        with self.world.registry.database.read() as session:
            current = current_role(session, role)
        data = edit_reviews(
            current, role, add=add, drop=drop, keys=[self.keys[body]], now=self.world.clock()
        )
        self.world.registry.roles.accept(OPERATOR, {role: data}, add or {})

    def _sign_targets(self, change: Callable[[Targets], None]) -> None:
        with self.world.registry.database.read() as session:
            current = current_role(session, "targets")
        assert current is not None
        signed = next_version(current, "targets", self.world.clock())
        change(signed)
        data = sign_role(signed, [self.world.authority_key("targets")])
        self.world.registry.roles.accept(OPERATOR, {"targets": data})


def levels(found: Mapping[str, Any]) -> dict[str, str]:
    """``{component: review}`` of hits as JSON."""
    return {f"{one['organisation']}/{one['name']}": one["review"] for one in found["hits"]}


@pytest.fixture(scope="module")
def _reviewed(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
    """One release of sara's, and a body with a reviewer; closed."""
    world = owned_world(_fresh_registry, tmp_path_factory.mktemp("reviewed"))
    made = Bodies(world)
    Client(create_app(world.registry).test_client(), world.owner_token).publish(world.release())
    made.name("cert", "National CERT")
    world.close()
    return made


@pytest.fixture
def world(_reviewed: Bodies, tmp_path: Path) -> Iterator[World]:
    """A copy of that."""
    yield from while_needed(copy_world(_reviewed.world, tmp_path))
