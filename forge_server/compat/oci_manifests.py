"""Releases as OCI artifacts: each document made from signed facts alone, so it is the same bytes
every time and on every mirror. Pure.

The config of an artifact is the signed ``manifest.json`` itself, its layers are the files, and the
publisher's signature is an artifact of its own that refers to it, and so is each signed review. So
who copies them has all that `forge` would verify, but for the chain of who may publish or review.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .oci_reviews import Review
from .releases import Served, ServedFile

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
RELEASE: Final = "application/vnd.national-software-forge.release.v1"
CONFIG: Final = "application/vnd.national-software-forge.manifest.v1+json"
SIGNATURE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
REVIEW: Final = "application/vnd.in-toto+json"
ENVELOPE: Final = "application/vnd.dsse.envelope.v1+json"
_PREDICATE_TYPE: Final = "in-toto.io/predicate-type"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY: Final = b"{}"  # image-spec v1.1, "Guidance for an Empty Descriptor"
EMPTY_SHA256: Final = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
MAX_BYTES: Final = 4 * 1024 * 1024  # of a manifest: what registries and clients take


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest in its exact bytes. ``artifact_type`` is what it is a manifest of."""

    data: bytes
    artifact_type: str
    annotations: dict[str, str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def descriptor(self) -> dict[str, Any]:
        return {
            "mediaType": MANIFEST,
            "digest": f"sha256:{self.sha256}",
            "size": len(self.data),
            "artifactType": self.artifact_type,
            "annotations": self.annotations,
        }


def release_document(release: Served, files: Sequence[ServedFile], manifest_bytes: int) -> Document:
    """The artifact of a release; ``manifest_bytes`` is the size of its ``manifest.json``."""
    annotations = {
        "org.opencontainers.image.licenses": release.details["license"],
        "org.opencontainers.image.title": str(release.component),
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.description": release.details["summary"],
    }
    layers = [_layer(file) for file in files]
    config = {
        "mediaType": CONFIG,
        "digest": f"sha256:{release.manifest_sha256}",
        "size": manifest_bytes,
    }
    return _document(RELEASE, config, layers, annotations)


def signature_document(release: Served, subject: Document, bundle_bytes: int) -> Document:
    """The artifact of the publisher's signature, which refers to ``subject``, the release."""
    annotations = {"org.opencontainers.image.title": "release.sigstore.json"}
    layer = {
        "mediaType": SIGNATURE,
        "digest": f"sha256:{release.bundle_sha256}",
        "size": bundle_bytes,
        "annotations": {"org.opencontainers.image.title": "release.sigstore.json"},
    }
    return _about(subject, SIGNATURE, layer, annotations)


def review_document(review: Review, subject: Document) -> Document:
    """The artifact of what a body signed about ``subject``, the release: a DSSE envelope."""
    predicate = {_PREDICATE_TYPE: review.predicate_type}
    layer = {
        "mediaType": ENVELOPE,
        "digest": f"sha256:{review.sha256}",
        "size": len(review.envelope),
        "annotations": {"org.opencontainers.image.title": review.name, **predicate},
    }
    return _about(subject, REVIEW, layer, {**review.annotations, **predicate})


def _about(
    subject: Document, artifact_type: str, layer: dict[str, Any], annotations: dict[str, str]
) -> Document:
    """An artifact of one layer that refers to another one."""
    config = {"mediaType": _EMPTY_TYPE, "digest": f"sha256:{EMPTY_SHA256}", "size": len(EMPTY)}
    about = {
        "mediaType": MANIFEST, "digest": f"sha256:{subject.sha256}", "size": len(subject.data),
    }  # fmt: skip
    return _document(artifact_type, config, [layer], annotations, about)


def referrers_index(documents: Sequence[Document]) -> bytes:
    """The list of artifacts that refer to one (distribution-spec v1.1, "Listing Referrers")."""
    value = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [document.descriptor() for document in documents],
    }
    return _encode(value)


def _layer(file: ServedFile) -> dict[str, Any]:
    return {
        "mediaType": "application/octet-stream",
        "digest": f"sha256:{file.sha256}",
        "size": file.size,
        "annotations": {"org.opencontainers.image.title": file.path},
    }


def _document(
    artifact_type: str,
    config: dict[str, Any],
    layers: Sequence[dict[str, Any]],
    annotations: dict[str, str],
    subject: dict[str, Any] | None = None,
) -> Document:
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": config,
        "layers": list(layers),
        "annotations": annotations,
    }
    if subject is not None:
        value["subject"] = subject
    return Document(data=_encode(value), artifact_type=artifact_type, annotations=annotations)


def _encode(value: object) -> bytes:
    """One encoding only: the digest of these bytes is an address."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
