"""Waivers that hold for a release now: what reviewers let pass for a time, in the registry's eyes.

They are read from the same signed statements as decisions, by the same rules (`ReviewDesk.said`):
one whose body lost the key, or did not renew its role, holds no longer, and nobody has to act for
one to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from signing.manifest import Manifest
from signing.names import ComponentName
from signing.waivers import Waiver

from .review_desk import ReviewDesk


@dataclass(frozen=True, slots=True)
class Waivers:
    desk: ReviewDesk

    def in_force(
        self,
        session: Session,
        component: ComponentName,
        version: str,
        manifest_sha256: str | None,
        now: datetime | None = None,
    ) -> Sequence[Waiver]:
        """Those that hold for a release (None: whose manifest nobody knows yet) at ``now``."""
        said = self.desk.said(session, component, version)
        return self.desk.waivers(session, component, version, manifest_sha256, said, now)

    def allows(self, session: Session, manifest: Manifest, format_: str) -> bool:
        """Whether one lets the release hold a file of a format that executes code."""
        holding = self.in_force(session, manifest.component, str(manifest.version), manifest.digest)
        return any(format_ in one.formats for one in holding)
