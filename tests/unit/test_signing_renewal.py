"""Roles that end: named from 60 days ahead, and signed anew without any other change."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from builders import NAME, NOW, World, later, tree

from signing.renewal import expiring, renew_role
from signing.updates import check_role_update


def test_roles_are_named_from_sixty_days_ahead() -> None:
    expiries = {
        "root": NOW + timedelta(days=61),
        "targets": NOW + timedelta(days=60),
        "registrar": NOW - timedelta(days=1),
        "a.b": NOW + timedelta(days=3, hours=5),
        "timestamp": NOW,
        "snapshot": NOW,
        "status": NOW + timedelta(hours=13),
    }
    found = expiring(expiries, NOW)
    assert [(item.role, item.days) for item in found] == [
        ("registrar", -1),
        ("a.b", 3),
        ("targets", 60),
    ]
    assert "expired on" in str(found[0])
    assert "a/b expires on" in str(found[1])


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(hours=48), None),  # just renewed: sixty days would warn for ever
        (timedelta(hours=12, minutes=1), None),
        (timedelta(hours=12), "expires on 2026-05-02 00:00 UTC, in 12 hours"),
        (timedelta(minutes=-30), "expired on 2026-05-01 11:30 UTC"),
    ],
)
def test_the_status_role_is_named_from_twelve_hours_ahead(
    left: timedelta, words: str | None
) -> None:
    found = expiring({"status": NOW + left}, NOW)
    assert [str(item) for item in found] == (
        [] if words is None else [f"the role of status {words}"]
    )


def test_the_role_of_a_reviewer_body_is_named_from_ten_days_ahead() -> None:
    """It lasts 30 days: from sixty ahead every `forge verify` would warn for ever."""
    expiries = {"reviews-cert": NOW + timedelta(days=30), "reviews-lab": NOW + timedelta(days=10)}
    assert [item.role for item in expiring(expiries, NOW)] == ["reviews-lab"]


def test_a_renewed_role_says_nothing_new() -> None:
    world = World()
    world.publish(tree())
    now = later(days=390)
    for role, key, parent in (
        (NAME.org, world.org_keys[NAME.org], "registrar"),
        (NAME.role, world.project_keys[str(NAME)], NAME.org),
    ):
        before = world.roles[role]
        after = renew_role(before, role, [key], now)
        check_role_update(role, after, before, world.roles[parent], now)
        old, new = (json.loads(data)["signed"] for data in (before, after))
        assert new.pop("version") == old.pop("version") + 1
        assert new.pop("expires") > old.pop("expires")
        assert new == old
