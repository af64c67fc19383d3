"""Key pairs: P-256 for publishers and organisations, Ed25519 for the roles above and beside them.

Private keys come and go as PEM bytes (this package opens no files). At rest they are PKCS#8
encrypted with PBES2: PBKDF2-HMAC-SHA256 at `KDF_ITERATIONS` and AES-256-CBC (RFC 8018 §6.2),
which OpenSSL, PKCS#11 tools and every TUF signer can read.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from ._pbes2 import encrypt_pkcs8
from .errors import KeyUnusableError, MalformedError, VerificationError

ALGORITHMS = ("p256", "ed25519")
KDF_ITERATIONS = 1_000_000
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ENCRYPTED_HEADER = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PEM_MAX_BYTES = 16 * 1024

_Public = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, eq=False)
class PublicKey:
    """A public key that may sign here. Equal keys are equal whatever their ``keyid``s."""

    _key: _Public

    @classmethod
    def from_pem(cls, pem: bytes, where: str = "public key") -> PublicKey:
        """Reads a SubjectPublicKeyInfo in PEM.

        Raises:
            MalformedError: not PEM, or a key that is neither P-256 nor Ed25519.
        """
        try:
            key = serialization.load_pem_public_key(pem[:_PEM_MAX_BYTES])
        except Exception as error:  # the library raises many kinds for bad bytes
            raise MalformedError(where, "a public key in PEM", type(error).__name__) from None
        return cls(_usable_public(key, where))

    @classmethod
    def from_tuf(cls, key: Key, where: str = "key") -> PublicKey:
        """Reads a key of TUF metadata; its keyid must be the one TUF computes for it.

        A key under two ids would count twice towards a threshold.
        """
        public = (
            cls.from_pem(_tuf_pem(key), where)
            if key.keytype == "ecdsa"
            else cls(_ed25519_of(key, where))
        )
        if public.tuf.to_dict() != key.to_dict() or public.keyid != key.keyid:
            raise MalformedError(where, f"keyid {public.keyid} with no other fields", key.keyid)
        return public

    @cached_property
    def tuf(self) -> SSlibKey:
        """The key as it stands in TUF metadata (securesystemslib's form)."""
        return SSlibKey.from_crypto(self._key)

    @property
    def keyid(self) -> str:
        """TUF's id: the SHA-256 of the key's canonical JSON."""
        return self.tuf.keyid

    @property
    def algorithm(self) -> str:
        return "p256" if isinstance(self._key, ec.EllipticCurvePublicKey) else "ed25519"

    @cached_property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM, with its final newline."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @cached_property
    def hint(self) -> str:
        """What an OMS bundle says of its key: the SHA-256 of `pem`, final newline included."""
        return hashlib.sha256(self.pem).hexdigest()

    def verify(self, signature: bytes, data: bytes, subject: str = "signature") -> None:
        """Establishes that ``signature`` over ``data`` was made with this key.

        ECDSA signatures must be strict DER with s in the lower half: the other half verifies
        just as well, so a stranger could turn one valid signature into another.

        Raises:
            VerificationError: it was not (code ``signature-invalid``).
        """
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, data)
                return
            r, s = decode_dss_signature(signature)
            if s > _P256_ORDER // 2 or encode_dss_signature(r, s) != signature:
                raise VerificationError(
                    "signature-invalid",
                    subject,
                    "a canonical ECDSA signature (DER, low s)",
                    "another form",
                )
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            raise VerificationError(
                "signature-invalid",
                subject,
                f"a signature by key {self.keyid[:12]}",
                "one that does not verify",
            ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.pem == other.pem

    def __hash__(self) -> int:
        return hash(self.pem)


class SigningKey(ABC):
    """Whatever can sign as ``public``: a key in memory, in a token, behind a command.

    Everything here that signs takes one of these and never asks where the private half is.
    """

    @property
    @abstractmethod
    def public(self) -> PublicKey:
        """The public half, known without any secret."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """The signature over ``data``: DER with low s for P-256, 64 bytes for Ed25519.

        Raises:
            KeyUnusableError: the key cannot be reached, or what came is not its signature.
        """

    @property
    def tuf_signer(self) -> Signer:
        """What the ``tuf`` library signs metadata with."""
        return _TufSigner(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.public.keyid[:12]})"


class _TufSigner(Signer):
    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def public_key(self) -> Key:
        return self._key.public.tuf

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        raise NotImplementedError("keys are opened by whoever may do I/O")

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._key.public.keyid, self._key.sign(payload).hex())


@dataclass(frozen=True, eq=False, repr=False)
class ExternalKey(SigningKey):
    """A private key that something else holds: a token, an HSM, a key management service.

    ``ask(data)`` has it sign and returns what it answered; tokens give ECDSA signatures as
    r and s side by side, services as DER with s in either half, so both are taken and put into
    the one form that verifies here. ``label`` names the key in error messages.
    """

    _public: PublicKey
    ask: Callable[[bytes], bytes]
    label: str

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        """As `SigningKey.sign`. A wrong signature is noticed here, before anything is sent.

        Raises:
            KeyUnusableError: ``key-signature-wrong``, or whatever ``ask`` raises.
        """
        answer = self.ask(data)
        try:
            signature = answer if self.public.algorithm == "ed25519" else _canonical_ecdsa(answer)
            self.public.verify(signature, data, self.label)
        except (VerificationError, ValueError):
            raise KeyUnusableError(
                "key-signature-wrong",
                f"{self.label}: expected a signature by key {self.public.keyid[:12]}, "
                f"found {len(answer)} bytes that are none",
                "the public key that is kept here may belong to another private key",
            ) from None
        return signature


def _canonical_ecdsa(signature: bytes) -> bytes:
    """DER with low s, from DER or from r and s of 32 bytes each (PKCS#11 3.0 §6.3.1)."""
    if len(signature) == 64:
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    else:
        r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


@dataclass(frozen=True, eq=False, repr=False)
class PrivateKey(SigningKey):
    """A key pair held in memory. Its repr shows the public part alone."""

    _key: _Private

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature over ``data``: DER with low s for P-256, 64 bytes for Ed25519."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        return _canonical_ecdsa(self._key.sign(data, ec.ECDSA(hashes.SHA256())))

    def to_pem(self, passphrase: bytes | None) -> bytes:
        """PKCS#8 in PEM; encrypted unless ``passphrase`` is None."""
        plain = self._key.private_bytes(
            serialization.Encoding.DER if passphrase is not None else serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        if passphrase is None:
            return plain
        if not passphrase:
            raise KeyUnusableError("key-passphrase-empty", "the passphrase is empty")
        return encrypt_pkcs8(plain, passphrase, KDF_ITERATIONS, os.urandom(16), os.urandom(16))


def generate_key(algorithm: str) -> PrivateKey:
    """A fresh key pair, ``p256`` or ``ed25519``."""
    if algorithm == "p256":
        return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    if algorithm == "ed25519":
        return PrivateKey(ed25519.Ed25519PrivateKey.generate())
    raise ValueError(f"no such algorithm: {algorithm}")


def is_encrypted(pem: bytes) -> bool:
    """Whether a passphrase is needed to load ``pem``."""
    return pem.lstrip().startswith(_ENCRYPTED_HEADER)


def load_private_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The key pair in ``pem``.

    Raises:
        KeyUnusableError: a passphrase is needed or wrong, the bytes are not PKCS#8 PEM, or the
            key is neither P-256 nor Ed25519.
    """
    encrypted = is_encrypted(pem)
    if encrypted and passphrase is None:
        raise KeyUnusableError("key-passphrase-needed", "the key is protected by a passphrase")
    try:
        key = serialization.load_pem_private_key(
            pem[:_PEM_MAX_BYTES], passphrase if encrypted else None
        )
    except Exception as error:  # the library raises many kinds for bad bytes
        if encrypted:
            raise KeyUnusableError(
                "key-passphrase-wrong", "the passphrase does not open the key"
            ) from None
        raise KeyUnusableError(
            "key-malformed", f"not a private key in PKCS#8 PEM ({type(error).__name__})"
        ) from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return PrivateKey(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return PrivateKey(key)
    raise KeyUnusableError("key-malformed", "only P-256 and Ed25519 keys can sign here")


def _usable_public(key: object, where: str) -> _Public:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise MalformedError(where, "a P-256 or Ed25519 key", type(key).__name__)


def _tuf_pem(key: Key) -> bytes:
    public = key.keyval.get("public") if isinstance(key, SSlibKey) else None
    return public.encode() if isinstance(public, str) else b""


def _ed25519_of(key: Key, where: str) -> ed25519.Ed25519PublicKey:
    try:
        if not isinstance(key, SSlibKey) or key.keytype != "ed25519":
            raise ValueError
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    except (ValueError, KeyError, TypeError):
        raise MalformedError(where, "a P-256 or Ed25519 key", key.keytype) from None
