"""What is found in releases, said of them and done about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .given import made_once
from .transfer import TransferServices

if TYPE_CHECKING:
    from ..services.advisories import Advisories
    from ..services.assurance import Assurances
    from ..services.findings import Findings
    from ..services.policies import Policies
    from ..services.quarantine import Quarantine
    from ..services.recalls import Recalls
    from ..services.reports import Reports
    from ..services.review_desk import ReviewDesk
    from ..services.scans import Scans
    from ..services.takedown import Takedown
    from ..services.waivers import Waivers


class ReviewServices(TransferServices):
    @made_once
    def review_desk(self) -> ReviewDesk:
        from ..services.review_desk import ReviewDesk

        return ReviewDesk(self.database, self.audit, self.clock)

    @made_once
    def waivers(self) -> Waivers:
        from ..services.waivers import Waivers

        return Waivers(self.review_desk)

    @made_once
    def scans(self) -> Scans:
        from ..services.scans import Scans

        return Scans(self.database, self.blobs, self.clock, self.settings)

    @made_once
    def assurances(self) -> Assurances:
        from ..services.assurance import Assurances

        return Assurances(self.database, self.scans, self.review_desk, self.clock)

    @made_once
    def findings(self) -> Findings:
        from ..services.findings import Findings

        return Findings(self.database, self.audit, self.clock, self.waivers.in_force)

    @made_once
    def policies(self) -> Policies:
        from ..services.policies import Policies, Sources, findings_by, reviews_by, scans_by

        sources = Sources(
            reviews=reviews_by(self.review_desk),
            findings=findings_by(self.waivers),
            scans=scans_by(self.scans),
        )
        return Policies(self.database, self.audit, self.blobs, self.clock, sources)

    @made_once
    def quarantine(self) -> Quarantine:
        from ..services.quarantine import Quarantine

        return Quarantine(self.database, self.audit, self.publication, self.clock)

    @made_once
    def reports(self) -> Reports:
        from ..services.reports import Reports

        return Reports(
            self.database,
            self.audit,
            self.publication,
            self.clock,
            frozenset(self.settings.cert_accounts),
        )

    @made_once
    def takedown(self) -> Takedown:
        from ..services.takedown import Takedown

        return Takedown(
            self.database, self.audit, self.publication, self.blobs, self.leases, self.clock
        )

    @made_once
    def recalls(self) -> Recalls:
        from ..services.recalls import Recalls

        return Recalls(
            self.database,
            self.audit,
            self.publication,
            self.clock,
            frozenset(self.settings.cert_accounts),
        )

    @made_once
    def advisories(self) -> Advisories:
        from ..services.advisories import Advisories

        return Advisories(self.database, self.tree)
