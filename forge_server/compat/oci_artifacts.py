"""Looking up artifacts: which release a tag or a digest means, and which bytes may be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select

from storage import BlobNotFoundError, BlobStore

from ..db.engine import Database
from ..db.models import Component
from ..errors import RegistryError
from .kept import Kept
from .oci_manifests import (
    EMPTY,
    EMPTY_SHA256,
    MAX_BYTES,
    Document,
    release_document,
    review_document,
    signature_document,
)
from .oci_reviews import OciReviews
from .releases import FacadeReleases, Served, Versions

LATEST: Final = "latest"
_MAX_KEPT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A release and the documents about it."""

    release: Served
    manifest: Document
    signature: Document


@dataclass(frozen=True, slots=True)
class OciArtifacts:
    database: Database
    blobs: BlobStore
    releases: FacadeReleases
    reviews: OciReviews
    _kept: Kept[Artifact] = field(default_factory=lambda: Kept(_MAX_KEPT))

    def tags(self, organisation: str, name: str) -> list[str]:
        """The versions that are served, each of which is a tag, in the order of their bytes."""
        versions = self.releases.versions(organisation, name)
        return sorted(release.version for release in versions.served)

    def document(self, organisation: str, name: str, reference: str) -> Document:
        """The manifest with that tag or digest (``sha256:…``).

        Raises:
            RegistryError: there is none, or it is withheld (``revision-not-found``).
        """
        versions = self.releases.versions(organisation, name)
        if reference.startswith("sha256:"):
            return self._by_digest(versions, reference)
        return self._artifact(_by_tag(versions, reference)).manifest

    def referrers(self, organisation: str, name: str, digest: str) -> Sequence[Document]:
        """What refers to the manifest ``digest``; nothing where that is not known."""
        versions = self.releases.versions(organisation, name)
        for artifact in self._served(versions):
            if digest == f"sha256:{artifact.manifest.sha256}":
                said = self.reviews.of(versions.component).get(artifact.release.manifest_sha256, ())
                reviews = [review_document(each, artifact.manifest) for each in said]
                return [artifact.signature, *reviews]
        return []

    def require_blob(self, organisation: str, name: str, sha256: str) -> bytes | None:
        """Establishes that a release of the component which may be served has the blob; the bytes
        of one that is in no store.

        Raises:
            RegistryError: none has (``blob-not-found``).
        """
        versions = self.releases.versions(organisation, name)
        if sha256 == EMPTY_SHA256:
            return EMPTY
        for release in versions.served:
            if sha256 in (release.manifest_sha256, release.bundle_sha256):
                return None
        holding = self.releases.holding(versions.component, sha256)
        if any(release.id in holding for release in versions.served):
            return None
        said = self.reviews.of(versions.component)
        for release in versions.served:
            for review in said.get(release.manifest_sha256, ()):
                if review.sha256 == sha256:
                    return review.envelope
        raise RegistryError(
            "blob-not-found", f"no release of {versions.component} that is served has this blob"
        )

    def names(self, after: str, most: int) -> list[str]:
        """At most ``most`` components, in order, that come after ``after``."""
        organisation, _, name = after.partition("/")
        query = select(Component.organisation, Component.name).order_by(
            Component.organisation, Component.name
        )
        if after:
            query = query.where(
                (Component.organisation > organisation)
                | ((Component.organisation == organisation) & (Component.name > name))
            )
        with self.database.read() as session:
            return [f"{org}/{name}" for org, name in session.execute(query.limit(most))]

    def _by_digest(self, versions: Versions, digest: str) -> Document:
        for artifact in self._served(versions):
            for document in (artifact.manifest, artifact.signature):
                if digest == f"sha256:{document.sha256}":
                    return document
        said = self.reviews.of(versions.component)
        for artifact in self._served(versions) if said else ():
            for review in said.get(artifact.release.manifest_sha256, ()):
                document = review_document(review, artifact.manifest)
                if digest == f"sha256:{document.sha256}":
                    return document
        raise RegistryError(
            "revision-not-found",
            f"{versions.component}: no version that is served has the manifest {digest!r:.100}",
        )

    def _served(self, versions: Versions) -> Iterator[Artifact]:
        for release in versions.served:
            try:
                yield self._artifact(release)
            except RegistryError:  # too large for OCI: no digest can mean it
                continue

    def _artifact(self, release: Served) -> Artifact:
        """Nothing of it ever changes but the signature, when it is made again."""
        key = (release.manifest_sha256, release.bundle_sha256)
        artifact = self._kept.get(key, None, lambda: self._make(release))
        if len(artifact.manifest.data) > MAX_BYTES:
            raise RegistryError(
                "revision-not-found",
                f"{release}: has too many files for an OCI manifest ({release.file_count})",
                f"forge install {release}",
            )
        return artifact

    def _make(self, release: Served) -> Artifact:
        manifest = release_document(
            release, self.releases.files(release), self._size(release, release.manifest_sha256)
        )
        bundle_bytes = self._size(release, release.bundle_sha256)
        return Artifact(
            release=release,
            manifest=manifest,
            signature=signature_document(release, manifest, bundle_bytes),
        )

    def _size(self, release: Served, sha256: str) -> int:
        try:
            return self.blobs.stat(sha256).size
        except BlobNotFoundError:
            raise RegistryError(
                "revision-not-found", f"{release}: its manifest or signature is not here any more"
            ) from None


def _by_tag(versions: Versions, tag: str) -> Served:
    if tag == LATEST:
        return versions.require_newest()
    release = next((one for one in versions.all if one.version == tag), None)
    if release is None:
        raise RegistryError(
            "revision-not-found", f"{versions.component}: there is no version {tag!r:.100}"
        )
    if release.standing.refused is not None:
        raise RegistryError("revision-not-found", f"{release}: {release.standing.refused}")
    return release
