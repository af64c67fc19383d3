"""Being here puts this folder on the import path: fixtures and builders are in the modules beside
this file, and a test module imports by name what it uses. Only what must exist once in a whole run
is named here: an imported fixture of session scope is made anew for each module."""

from __future__ import annotations

from ceph_node import bucket, ceph
from postgres import postgres_server

__all__ = ["bucket", "ceph", "postgres_server"]
