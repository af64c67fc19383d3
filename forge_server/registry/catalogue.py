"""Releases, from their acceptance to the pages that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .given import made_once
from .review import ReviewServices

if TYPE_CHECKING:
    from ..search.index import ComponentIndex
    from ..services.admission import Admission
    from ..services.catalogue import Catalogue
    from ..services.distributions import Distributions
    from ..services.downloads import DownloadCounter
    from ..services.feeds import Feeds
    from ..services.pages_component import ComponentPages
    from ..services.pages_registry import RegistryPages
    from ..services.pages_release import ReleasePages
    from ..services.releases import Releases
    from ..services.signatures import Signatures
    from ..services.tensors import TensorHeaders


class CatalogueServices(ReviewServices):
    @made_once
    def distributions(self) -> Distributions:
        from ..services.distributions import Distributions

        return Distributions(self.database, self.blobs)

    @made_once
    def admission(self) -> Admission:
        from ..services.admission import Admission

        return Admission(self.database, self.blobs, self.settings.allow_code_formats, self.waivers)

    @made_once
    def releases(self) -> Releases:
        from ..services.releases import Releases

        return Releases(
            self.database, self.audit, self.publication, self.incoming, self.clock, self.together,
            self.distributions, self.admission, self.foresight,
        )  # fmt: skip

    @made_once
    def signatures(self) -> Signatures:
        from ..services.signatures import Signatures

        return Signatures(
            self.database, self.audit, self.publication, self.blobs, self.incoming, self.clock
        )

    @made_once
    def catalogue(self) -> Catalogue:
        from ..services.catalogue import Catalogue

        return Catalogue(self.database, self.clock)

    @made_once
    def index(self) -> ComponentIndex:
        from ..search.opening import open_index

        return open_index(self.database, self.blobs, self.review_desk, self.clock)

    @made_once
    def feeds(self) -> Feeds:
        from ..services.feeds import Feeds

        return Feeds(self.database)

    @made_once
    def downloads(self) -> DownloadCounter:
        from ..services.downloads import DownloadCounter

        return DownloadCounter(self.database, self.clock)

    @made_once
    def tensors(self) -> TensorHeaders:
        from ..services.tensors import TensorHeaders

        return TensorHeaders(self.database, self.blobs)

    @made_once
    def component_pages(self) -> ComponentPages:
        from ..services.pages_component import ComponentPages

        return ComponentPages(self.database)

    @made_once
    def release_pages(self) -> ReleasePages:
        from ..services.pages_release import ReleasePages

        return ReleasePages(self.database, self.tree, self.blobs, self.fingerprint, self.clock)

    @made_once
    def registry_pages(self) -> RegistryPages:
        from ..services.pages_registry import RegistryPages

        return RegistryPages(self.database, self.log_keys, self.clock)
