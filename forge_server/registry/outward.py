"""Other programs: those that read here, that are read, and that are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .catalogue import CatalogueServices
from .given import made_once

if TYPE_CHECKING:
    from ..compat.hub_listing import HubListing
    from ..compat.oci_artifacts import OciArtifacts
    from ..compat.pypi_index import PythonIndex
    from ..compat.releases import FacadeReleases
    from ..services.deliveries import Deliveries
    from ..services.posting import Networks
    from ..services.upstream import Upstream
    from ..services.upstream_http import UpstreamHttp
    from ..services.webhooks import Webhooks


class OutwardServices(CatalogueServices):
    @made_once
    def upstream_http(self) -> UpstreamHttp | None:
        """How to reach the other index; None where the operator named none."""
        from ..domain.origins import origin_of
        from ..services.upstream_http import UpstreamHttp

        settings, base = self.settings, self.settings.upstream_url
        if not base:
            return None
        origins = {origin_of(url) for url in (base, *settings.upstream_origins)}
        return UpstreamHttp(
            base=base,
            origins=frozenset(origin for origin in origins if origin is not None),
            timeout_seconds=settings.upstream_timeout_seconds,
            max_page_bytes=settings.upstream_max_page_bytes,
        )

    @made_once
    def upstream(self) -> Upstream:
        from ..services.upstream import Limits, Upstream
        from ..services.upstream_files import Copies

        settings, http = self.settings, self.upstream_http
        limits = Limits(
            cooldown_days=settings.upstream_cooldown_days,
            refresh_seconds=settings.upstream_refresh_seconds,
            max_file_bytes=settings.upstream_max_file_bytes,
            max_page_bytes=settings.upstream_max_page_bytes,
        )
        copies = Copies(
            self.database, self.audit, self.blobs, self.leases, self.distributions, self.clock, http
        )
        return Upstream(self.database, self.audit, self.clock, http, limits, copies)

    @made_once
    def python_index(self) -> PythonIndex:
        from ..compat.pypi_index import PythonIndex
        from ..services.judgements import Judgements

        judgements = Judgements(self.database, self.clock)
        return PythonIndex(
            self.database, self.distributions, self.policies, judgements, self.upstream
        )

    @made_once
    def facade_releases(self) -> FacadeReleases:
        from ..compat.releases import FacadeReleases

        return FacadeReleases(self.database)

    @made_once
    def hub_listing(self) -> HubListing:
        from ..compat.hub_listing import HubListing

        return HubListing(self.database)

    @made_once
    def oci(self) -> OciArtifacts:
        from ..compat.oci_artifacts import OciArtifacts
        from ..compat.oci_reviews import OciReviews

        return OciArtifacts(
            self.database,
            self.blobs,
            self.facade_releases,
            OciReviews(self.database, self.review_desk),
        )

    @made_once
    def networks(self) -> Networks:
        from ipaddress import ip_network

        from ..services.posting import Networks

        return Networks(tuple(ip_network(each) for each in self.settings.webhook_networks))

    @made_once
    def webhooks(self) -> Webhooks:
        from ..services.webhooks import Webhooks

        return Webhooks(self.database, self.audit, self.clock, self.networks)

    @made_once
    def deliveries(self) -> Deliveries:
        from ..services.deliveries import Deliveries
        from ..services.posting import Poster

        return Deliveries(self.database, self.audit, self.clock, Poster(self.networks))
