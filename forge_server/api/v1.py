"""The blueprint of ``/api/v1``."""

from __future__ import annotations

from flask import Blueprint

from . import (
    accounts,
    catalogue,
    findings,
    interface,
    logins,
    organisations,
    policies,
    recalls,
    releases,
    reviews,
    scans,
    standing,
    uploads,
    webhooks,
)
from .interface import PREFIX

__all__ = ["PREFIX", "blueprint"]


def blueprint() -> Blueprint:
    """A fresh blueprint with every route of the interface."""
    api = Blueprint("v1", __name__, url_prefix=PREFIX)
    for part in (
        catalogue,
        interface,
        accounts,
        logins,
        organisations,
        releases,
        uploads,
        reviews,
        policies,
        standing,
        recalls,
        findings,
        scans,
        webhooks,
    ):
        part.add_routes(api)
    return api
