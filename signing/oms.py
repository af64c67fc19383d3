"""OpenSSF Model Signing v1.0 bundles, key method: the publisher's word on a tree of files.

A bundle is a Sigstore bundle v0.3 around a DSSE envelope around an in-toto Statement v1 whose
predicate lists every file with its SHA-256. Any OMS verifier accepts what is written here. What
is read here must be more: stock verifiers accept an empty list, duplicate names, ``../`` names
and ignored paths, and each of these would leave something unsigned in a "verified" tree.

The subject digest is the digest of digests without file names: it identifies nothing, and is
checked only because the specification demands it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .digests import parse_digest
from .dsse import Envelope, envelope_json, pae, parse_envelope
from .encoding import Fields, canonical_json, parse_json
from .errors import KeyUnusableError, MalformedError, VerificationError
from .keys import PublicKey, SigningKey
from .manifest import MAX_FILES, FileEntry
from .paths import check_path, check_paths

FILE = "release.sigstore.json"
BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MAX_BUNDLE_BYTES = 64 * 1024 * 1024
_SERIALIZATION: dict[str, Any] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle: what is signed (``{path: sha256}``) and by which key."""

    subject_name: str
    resources: dict[str, str]
    key: PublicKey


def sign_bundle(files: Iterable[FileEntry], name: str, key: SigningKey) -> bytes:
    """The bundle over ``files``, signed by ``key`` (P-256), with ``name`` as its subject.

    Resources are sorted by Unicode code point of the whole path; Go verifiers refuse the order
    by path component in which the Python reference sorts.

    Raises:
        KeyUnusableError: the key is not P-256, the one kind that every verifier knows.
    """
    if key.public.algorithm != "p256":
        raise KeyUnusableError(
            "key-malformed", "releases are signed with P-256 keys", "make one with: forge key new"
        )
    resources = [
        {"name": entry.path, "algorithm": "sha256", "digest": entry.sha256}
        for entry in sorted(files, key=lambda entry: entry.path)
    ]
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root_digest(resources)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": _SERIALIZATION, "resources": resources},
    }
    payload = canonical_json(statement)
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    return canonical_json(
        {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key.public.hint}, "tlogEntries": []},
            "dsseEnvelope": envelope_json(PAYLOAD_TYPE, payload, [("", signature)]),
        }
    )


def verify_bundle(data: bytes, keys: Iterable[PublicKey]) -> Bundle:
    """Establishes that one of ``keys`` signed a sound list of files, and returns the list.

    Not checked here: that the files are there, or that they belong to any name or version.

    Raises:
        MalformedError: not exactly the form described in the module's docstring.
        VerificationError: signed by none of ``keys`` (``key-unlisted``), or the signature does
            not verify (``signature-invalid``).
    """
    hint, envelope = _parse_bundle(data)
    key = _key_for(hint, list(keys))
    key.verify(envelope.signatures[0][1], pae(PAYLOAD_TYPE, envelope.payload), FILE)
    # Only now, with the signature known to be good, is the payload looked into.
    subject_name, resources = _parse_statement(envelope.payload)
    return Bundle(subject_name=subject_name, resources=resources, key=key)


def hint_of(data: bytes) -> str:
    """Which key the bundle says it was signed by; nothing is verified.

    Raises:
        MalformedError: as `verify_bundle`.
    """
    return _parse_bundle(data)[0]


def _parse_bundle(data: bytes) -> tuple[str, Envelope]:
    document = Fields.of(parse_json(data, FILE, max_bytes=MAX_BUNDLE_BYTES), FILE)
    document.only(("mediaType", "verificationMaterial", "dsseEnvelope"))
    document.literal("mediaType", BUNDLE_MEDIA_TYPE)
    material = document.object("verificationMaterial")
    # A certificate or a log entry of another trust system is refused, not ignored.
    material.only(["publicKey"], optional=["tlogEntries"])
    if material.value.get("tlogEntries", []) != []:
        raise MalformedError(material.path("tlogEntries"), "an empty list", "entries")
    hint = parse_digest(
        material.object("publicKey").only(["hint"]).text("hint"),
        f"{FILE}: verificationMaterial.publicKey.hint",
    )
    envelope = parse_envelope(document.object("dsseEnvelope"), PAYLOAD_TYPE)
    if len(envelope.signatures) != 1:  # Sigstore bundle v0.3: exactly one
        raise MalformedError(
            f"{FILE}: dsseEnvelope.signatures", "one signature", len(envelope.signatures)
        )
    return hint, envelope


def _key_for(hint: str, keys: Sequence[PublicKey]) -> PublicKey:
    for key in keys:
        if key.hint == hint:
            if key.algorithm != "p256":
                raise VerificationError("key-unlisted", FILE, "a P-256 key", key.algorithm)
            return key
    listed = ", ".join(key.hint[:12] for key in keys) or "none"
    raise VerificationError(
        "key-unlisted", FILE, f"a signature by a listed key ({listed})", f"key {hint[:12]}"
    )


def _parse_statement(payload: bytes) -> tuple[str, dict[str, str]]:
    where = f"{FILE}: payload"
    statement = Fields.of(parse_json(payload, where), where)
    statement.only(("_type", "subject", "predicateType", "predicate"))
    statement.literal("_type", STATEMENT_TYPE)
    statement.literal("predicateType", PREDICATE_TYPE)
    subjects = statement.objects("subject")
    if len(subjects) != 1:
        raise MalformedError(f"{where}.subject", "one subject", len(subjects))
    subject = subjects[0].only(("name", "digest"))
    predicate = statement.object("predicate").only(("serialization", "resources"))
    _check_serialization(predicate.object("serialization"))
    resources = _parse_resources(predicate)
    declared = subject.object("digest").only(["sha256"]).text("sha256")
    if declared != _root_digest(predicate.value["resources"]):
        raise MalformedError(f"{where}.subject[0].digest", "the digest of the resources", declared)
    return subject.text("name"), resources


def _check_serialization(fields: Fields) -> None:
    value = dict(fields.value)
    if value.pop("ignore_paths", []) != []:
        raise MalformedError(fields.path("ignore_paths"), "no ignored paths", "some")
    if value != _SERIALIZATION or value["allow_symlinks"] is not False:  # 0 == False
        raise MalformedError(fields.where, "files hashed by sha256 without symlinks", value)


def _parse_resources(predicate: Fields) -> dict[str, str]:
    items = predicate.objects("resources")
    where = predicate.path("resources")
    if not 1 <= len(items) <= MAX_FILES:
        raise MalformedError(where, f"1 to {MAX_FILES} files", len(items))
    resources: dict[str, str] = {}
    previous = ""
    for item in items:
        item.only(("name", "algorithm", "digest")).literal("algorithm", "sha256")
        path = check_path(item.text("name"), item.path("name"))
        if path <= previous:
            raise MalformedError(item.path("name"), "each path once, sorted by code point", path)
        resources[path] = parse_digest(item.text("digest"), item.path("digest"))
        previous = path
    check_paths(resources, where)
    return resources


def _root_digest(resources: Iterable[dict[str, str]]) -> str:
    """SHA-256 over the concatenated raw digests, in the order of the list (OMS v1.0)."""
    hasher = hashlib.sha256()
    for resource in resources:
        hasher.update(bytes.fromhex(resource["digest"]))
    return hasher.hexdigest()
