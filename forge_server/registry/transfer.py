"""Bytes: how they come, who keeps them, and when they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .authority import AuthorityServices, exclusive_lock
from .given import made_once

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
    @made_once
    def probed(self) -> Stores:
        from ..stores import open_stores

        return open_stores(self.folder, self.settings, hurried=True)

    @made_once
    def slow_work(self) -> SlowWork:
        from ..services.slow_work import SlowWork

        return SlowWork()

    @made_once
    def chunk_checks(self) -> ChunkChecks:
        from ..services.chunk_checks import ChunkChecks

        return ChunkChecks(self.database, self.blobs, self.clock, self.slow_work)

    @made_once
    def leases(self) -> Leases:
        from ..db.postgresql import COLLECT_LOCK
        from ..services.leases import Leases

        return Leases(
            self.database,
            self.blobs,
            self.clock,
            exclusive_lock(self, "collect.lock", COLLECT_LOCK),
        )

    @made_once
    def quotas(self) -> Quotas:
        from ..services.quotas import Quotas

        return Quotas(
            self.database,
            self.audit,
            self.settings.max_organisation_bytes,
            self.settings.max_organisation_releases,
        )

    @made_once
    def foresight(self) -> Foresight:
        from ..services.foresight import Foresight

        return Foresight(self.quotas, self.leases)

    @made_once
    def together(self) -> Together:
        from ..services.together import Together

        return Together(self.database, self.publication.announce, self.foresight)

    @made_once
    def handed_out(self) -> HandedOut:
        from ..services.withheld import HandedOut

        return HandedOut(self.database)

    @made_once
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

    @made_once
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

    @made_once
    def collection(self) -> Collection:
        from ..services.collection import Collection

        return Collection(self.database, self.audit, self.blobs, self.leases, self.clock)

    @made_once
    def superseded(self) -> Superseded:
        from ..services.superseded import Superseded

        return Superseded(self.database, self.tree, self.clock)
