"""Keys in a token or HSM, through its PKCS #11 module.

The private key never leaves the token. Its public half is read without a PIN where the token
shows it; the PIN is asked for at the first signature, and never tried twice: tokens lock.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from signing.errors import KeyUnusableError
from signing.keys import ExternalKey, PublicKey, SigningKey
from signing.left_out import bring_back

from ..errors import ForgeError, UsageError
from ..files import read_private
from .uri import Pkcs11Uri

if TYPE_CHECKING:
    from pkcs11 import Session, Token

Ask = Callable[[str], bytes | None]
# RFC 5480 §2.1.1.1; RFC 8410 §3, and the name that PKCS #11 3.0 §6.3.10 gives the same curve.
_P256: Final = bytes.fromhex("06082a8648ce3d030107")
_ED25519: Final = bytes.fromhex("06032b6570")
_EDWARDS25519: Final = b"\x13\x0cedwards25519"


def open_token_key(reference: str, public: PublicKey | None, ask: Ask) -> SigningKey:
    """The key that the URI names. Raises as `open_external`."""
    bring_back("pkcs11")
    uri = Pkcs11Uri.parse(reference)
    with _failures(uri):
        known = public or _public_in(_find_token(uri), uri)
    return ExternalKey(known, partial(_sign, uri, known.algorithm, ask), uri.label)


def generate_in_token(reference: str, algorithm: str, ask: Ask) -> SigningKey:
    """A new key pair made inside the token, which it cannot leave, called as the URI says.

    Raises:
        ForgeError: ``already-exists``; keys are never overwritten.
    """
    bring_back("pkcs11")
    import pkcs11

    uri = Pkcs11Uri.parse(reference)
    if uri.object is None:
        raise UsageError(f"{uri.text}: expected object=, the name of the new key")
    with _failures(uri):
        token = _find_token(uri)
        with _session(token, uri, ask, write=True) as session:
            if list(session.get_objects(_template(uri, pkcs11.ObjectClass.PRIVATE_KEY))):
                raise ForgeError(
                    "already-exists",
                    f"{uri.label} exists already",
                    hint="choose another object=, or use it: forge key add NAME URI",
                )
            kind, parameters, mechanism = {
                "p256": (pkcs11.KeyType.EC, _P256, pkcs11.Mechanism.EC_KEY_PAIR_GEN),
                "ed25519": (
                    pkcs11.KeyType.EC_EDWARDS,
                    _EDWARDS25519,
                    pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                ),
            }[algorithm]
            session.create_domain_parameters(
                kind, {pkcs11.Attribute.EC_PARAMS: parameters}, local=True
            ).generate_keypair(
                mechanism=mechanism, store=True, id=uri.id or os.urandom(16), label=uri.object
            )
        return open_token_key(reference, None, ask)


def _find_token(uri: Pkcs11Uri) -> Token:
    """The one token that answers as the URI says."""
    found: list[Token] = []
    for slot in _library(uri).get_slots(token_present=True):
        token = slot.get_token()
        answers = {
            "token": token.label,
            "manufacturer": _plain(token.manufacturer_id),
            "model": _plain(token.model),
            "serial": _plain(token.serial),
        }
        if all(answers[name] == value for name, value in uri.token.items()) and (
            uri.slot_id is None or slot.slot_id == uri.slot_id
        ):
            found.append(token)
    if len(found) == 1:
        return found[0]
    raise ForgeError(
        "key-missing",
        f"{uri.label}: expected one token that fits, found {len(found)}",
        hint="is it plugged in? " if not found else "name it closer, with serial= or slot-id=",
    )


def _plain(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip("\0 ")


def _library(uri: Pkcs11Uri) -> Any:
    try:
        import pkcs11
    except ImportError:
        raise ForgeError(
            "key-unreachable",
            f"{uri.label}: the library for tokens is not installed",
            hint="pip install 'national-software-forge[pkcs11]'",
        ) from None
    if uri.module is None:
        raise UsageError(
            f"{uri.text}: expected module-path=, the library that came with the token",
            hint="for instance ?module-path=/usr/lib/softhsm/libsofthsm2.so",
        )
    if not uri.module.exists():
        raise ForgeError("key-missing", f"{uri.label}: there is no module {uri.module}")
    return pkcs11.lib(str(uri.module))


@contextmanager
def _session(token: Token, uri: Pkcs11Uri, ask: Ask, *, write: bool = False) -> Iterator[Session]:
    """A session in which the private objects can be used."""
    import pkcs11

    if pkcs11.TokenFlag.LOGIN_REQUIRED not in token.flags:
        opened = token.open(rw=write)
    elif pkcs11.TokenFlag.PROTECTED_AUTHENTICATION_PATH in token.flags:
        opened = token.open(rw=write, user_pin=pkcs11.PROTECTED_AUTH)
    else:
        opened = token.open(rw=write, user_pin=_pin(uri, ask))
    with opened as session:
        yield session


def _pin(uri: Pkcs11Uri, ask: Ask) -> str:
    if uri.pin_file is not None:
        pin: bytes | None = _pin_of_file(uri.pin_file)
    else:
        pin = ask(f"token {uri.token.get('token', 'of ' + uri.label)!r} (PIN)")
    if pin is None:
        raise KeyUnusableError(
            "key-passphrase-needed",
            f"{uri.label}: the token wants its PIN",
            "run it on a terminal, pass the PIN with --passphrase-fd N, or name a private file "
            "in the URI: pin-source=file:/path",
        )
    return pin.decode("utf-8", "surrogateescape")


def _pin_of_file(path: Path) -> bytes:
    try:
        return read_private(path).split(b"\n", 1)[0]
    except FileNotFoundError:
        raise ForgeError("key-missing", f"pin-source: there is no file {path}") from None


def _template(uri: Pkcs11Uri, kind: Any) -> dict[Any, Any]:
    from pkcs11 import Attribute

    wanted: dict[Any, Any] = {Attribute.CLASS: kind}
    if uri.object is not None:
        wanted[Attribute.LABEL] = uri.object
    if uri.id is not None:
        wanted[Attribute.ID] = uri.id
    return wanted


def _one(session: Session, uri: Pkcs11Uri, kind: Any, what: str) -> Any:
    found = list(session.get_objects(_template(uri, kind)))
    if len(found) != 1:
        hint = {
            "public": "where the token does not show it: forge key add NAME URI --public FILE",
            "private": "make one in the token: forge key new NAME --pkcs11 URI",
        }[what]
        raise ForgeError(
            "key-missing", f"{uri.label}: expected one {what} key there, found {len(found)}", hint
        )
    return found[0]


def _public_in(token: Token, uri: Pkcs11Uri) -> PublicKey:
    """The public half as the token shows it to anybody."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from pkcs11 import Attribute, ObjectClass

    with token.open() as session:
        key = _one(session, uri, ObjectClass.PUBLIC_KEY, "public")
        curve, point = bytes(key[Attribute.EC_PARAMS]), bytes(key[Attribute.EC_POINT])
    # CKA_EC_POINT is a DER OCTET STRING around the point (PKCS #11 2.40 §2.3.3), though not for
    # every vendor.
    if len(point) in (34, 67) and point[0] == 0x04 and point[1] == len(point) - 2:
        point = point[2:]
    public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    if curve == _P256:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    elif curve in (_ED25519, _EDWARDS25519):
        public = ed25519.Ed25519PublicKey.from_public_bytes(point)
    else:
        raise KeyUnusableError(
            "key-malformed", f"{uri.label}: only P-256 and Ed25519 keys can sign here"
        )
    return PublicKey.from_pem(
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _sign(uri: Pkcs11Uri, algorithm: str, ask: Ask, data: bytes) -> bytes:
    from pkcs11 import Mechanism, ObjectClass

    with _failures(uri), _session(_find_token(uri), uri, ask) as session:
        key = _one(session, uri, ObjectClass.PRIVATE_KEY, "private")
        if algorithm == "ed25519":
            return bytes(key.sign(data, mechanism=Mechanism.EDDSA))
        # Hashed here: every token signs a digest, few hash megabytes.
        return bytes(key.sign(hashlib.sha256(data).digest(), mechanism=Mechanism.ECDSA))


@contextmanager
def _failures(uri: Pkcs11Uri) -> Iterator[None]:
    """Turns what a token may answer into errors that say what to do."""
    try:
        from pkcs11 import exceptions
    except ImportError:  # said better by `_library`
        yield
        return
    try:
        yield
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange):
        raise KeyUnusableError(
            "key-passphrase-wrong",
            f"{uri.label}: the token refuses the PIN",
            "it was tried once; after a few wrong ones the token locks",
        ) from None
    except exceptions.PinLocked:
        raise KeyUnusableError(
            "key-passphrase-wrong",
            f"{uri.label}: the token is locked after too many wrong PINs",
            "its security officer can set a new PIN",
        ) from None
    except (exceptions.PKCS11Error, RuntimeError) as error:
        raise ForgeError(
            "key-unreachable",
            f"{uri.label}: the token failed ({type(error).__name__}{': ' * bool(str(error))}"
            f"{error})",
            hint="is it plugged in, and is module-path the library of this token?",
        ) from None
