"""Bytes: how they come, who keeps them, and when they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .authority import AuthorityServices, exclusive_lock
from .given import later

if TYPE_CHECKING:
    from ..services.chunk_checks import ChunkChecks
    from ..services.collection import Collection
    from ..services.foresight import Foresight
    from ..services.incoming import Incoming
    from ..services.leases import Leases
    from ..services.quotas import Quotas
    from ..services.slow_work import SlowWork
    from ..services.superseded import Superseded
    from ..services.together import Together
    from ..services.uploads import Uploads
    from ..services.withheld import HandedOut
    from ..stores import Stores


class TransferServices(AuthorityServices):
    @later
    def probed(self) -> Stores:
        from ..stores import open_stores

        return open_stores(self.folder, self.settings, hurried=True)

    @later
    def slow_work(self) -> SlowWork:
        from ..services.slow_work import SlowWork

        return SlowWork()

    @later
    def chunk_checks(self) -> ChunkChecks:
        from ..services.chunk_checks import ChunkChecks

        return ChunkChecks(self.database, self.blobs, self.clock, self.slow_work)

    @later
    def leases(self) -> Leases:
        from ..db.postgresql import COLLECT_LOCK
        from ..services.leases import Leases

        return Leases(
            self.database,
            self.blobs,
            self.clock,
            exclusive_lock(self, "collect.lock", COLLECT_LOCK),
        )

    @later
    def quotas(self) -> Quotas:
        from ..services.quotas import Quotas

        return Quotas(
            self.database,
            self.audit,
            self.settings.max_organisation_bytes,
            self.settings.max_organisation_releases,
        )

    @later
    def foresight(self) -> Foresight:
        from ..services.foresight import Foresight

        return Foresight(self.quotas, self.leases)

    @later
    def together(self) -> Together:
        from ..services.together import Together

        return Together(self.database, self.publication.announce, self.foresight)

    @later
    def handed_out(self) -> HandedOut:
        from ..services.withheld import HandedOut

        return HandedOut(self.database)

    @later
    def incoming(self) -> Incoming:
        from ..services.incoming import Incoming

        return Incoming(
            self.database,
            self.audit,
            self.publication,
            self.blobs,
            self.chunk_checks,
            self.leases,
            self.quotas,
        )

    @later
    def uploads(self) -> Uploads:
        from ..services.uploads import Uploads

        return Uploads(
            self.incoming,
            self.handed_out,
            self.blobs,
            self.assembly,
            self.chunk_checks,
            self.slow_work,
            self.clock,
            may_go_direct=self.settings.redirect_blobs and self.settings.direct_uploads,
        )

    @later
    def collection(self) -> Collection:
        from ..services.collection import Collection

        return Collection(self.database, self.audit, self.blobs, self.leases, self.clock)

    @later
    def superseded(self) -> Superseded:
        from ..services.superseded import Superseded

        return Superseded(self.database, self.tree, self.clock)
