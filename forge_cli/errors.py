"""What can go wrong on this side, and the one table from error code to exit code.

ForgeError
├── UsageError       the command line asks for something that makes no sense: exit 2
├── RemoteError      the registry answered with a problem document (RFC 9457)
└── NetworkError     no usable answer came back: try again, nothing was changed

Everything else that reaches `main` is a `SigningError`, a `StorageError` or an `OSError`;
`describe` turns each of them into one `Failure`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
VERIFICATION: Final = 3
PERMISSION: Final = 4
NOT_FOUND: Final = 5
CONFLICT: Final = 6
POLICY: Final = 7
NETWORK: Final = 8
INTERRUPTED: Final = 130

EXIT_CODES: Final[Mapping[int, str]] = {
    OK: "it worked",
    ERROR: "an input or a local problem; the message says which",
    USAGE: "the command line is wrong",
    VERIFICATION: "something signed does not hold: nothing was written",
    PERMISSION: "not logged in, or the token or key does not allow it",
    NOT_FOUND: "the thing asked for does not exist",
    CONFLICT: "somebody was faster, or versions contradict each other",
    POLICY: "blocked by policy: the release is genuine, and quarantined, revoked or not permitted",
    NETWORK: "the registry could not be reached; try again",
    INTERRUPTED: "interrupted; run the same command again to continue",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error code means to a person and to a script."""

    exit_code: int
    help: str


# One row per stable code. Codes that are not here get the exit code of their class or status.
CODES: Final[Mapping[str, Meaning]] = {
    "malformed": Meaning(ERROR, "A file or answer does not have the form its format demands."),
    "usage": Meaning(USAGE, "The command line asks for something that makes no sense."),
    "nothing-to-state": Meaning(
        NOT_FOUND, "Nothing is to be stated in a document that must state something."
    ),
    "no-registry": Meaning(
        USAGE, "No registry is chosen: `forge trust add URL`, or with an account `forge login URL`."
    ),
    "fingerprint-needed": Meaning(
        USAGE, "A registry is trusted by its root fingerprint, got through another channel."
    ),
    "signature-invalid": Meaning(VERIFICATION, "A signature does not verify."),
    "own-release": Meaning(
        PERMISSION, "Nobody reviews a release of an organisation that they belong to."
    ),
    "webhook-not-delivered": Meaning(
        ERROR, "A webhook's receiver did not accept a test message, or has not got it yet."
    ),
    "findings-new": Meaning(
        POLICY, "Findings became known since the decision that is to be renewed."
    ),
    "threshold-not-met": Meaning(VERIFICATION, "Fewer valid signatures than the role demands."),
    "digest-mismatch": Meaning(VERIFICATION, "The bytes are not the ones that were signed."),
    "length-mismatch": Meaning(VERIFICATION, "More or fewer bytes than were signed."),
    "path-not-delegated": Meaning(VERIFICATION, "The signer has no right to this name."),
    "name-mismatch": Meaning(VERIFICATION, "Signed under one name, offered under another."),
    "expired": Meaning(VERIFICATION, "Signed metadata has expired; the registry may be frozen."),
    "rollback": Meaning(VERIFICATION, "The registry offers older metadata than it did before."),
    "key-unlisted": Meaning(VERIFICATION, "The signing key is not among the publisher's keys."),
    "key-revoked": Meaning(
        VERIFICATION,
        "Only a key that its organisation revoked signed it; `forge resign` by the publisher "
        "makes it installable again.",
    ),
    "tree-mismatch": Meaning(VERIFICATION, "A folder does not hold exactly the signed files."),
    "chain-broken": Meaning(
        VERIFICATION, "A link from the trusted root to the release is missing."
    ),
    "ceremony-differs": Meaning(
        VERIFICATION, "Keyholders hold different files: not the one that was agreed upon."
    ),
    "quorum-unsafe": Meaning(
        VERIFICATION, "One theft or one lost key would be the end of the authority."
    ),
    "root-form": Meaning(VERIFICATION, "A root in a form that clients do not follow."),
    "left-behind": Meaning(
        VERIFICATION, "A role would no longer verify under the new keys; it must come along."
    ),
    "hidden-content": Meaning(VERIFICATION, "Something to be signed that no words describe."),
    "fingerprint-mismatch": Meaning(
        VERIFICATION, "The registry's root is not the one that was pinned."
    ),
    "status-stale": Meaning(
        VERIFICATION, "The status host has not renewed its statement; the registry may be frozen."
    ),
    "status-missing": Meaning(
        VERIFICATION, "The authority names a status host, and there is no word of it."
    ),
    "status-contradicts": Meaning(
        VERIFICATION, "The registry shows another log than the status host saw."
    ),
    "revocation-lifted": Meaning(
        VERIFICATION, "A release that was revoked for good would no longer be."
    ),
    "registry-malformed": Meaning(VERIFICATION, "The registry serves something that is not valid."),
    "not-in-log": Meaning(
        VERIFICATION, "The public log does not hold what the registry announces."
    ),
    "log-fork": Meaning(
        VERIFICATION, "The log showed two histories. Both signed checkpoints were kept as evidence."
    ),
    "log-inconsistent": Meaning(VERIFICATION, "Files of the log do not belong to its checkpoint."),
    "log-unknown": Meaning(VERIFICATION, "A log that the authority does not name."),
    "no-fork": Meaning(VERIFICATION, "The evidence does not show that a log contradicts itself."),
    "witnesses-missing": Meaning(
        VERIFICATION, "Fewer witnesses cosigned the log than this client requires."
    ),
    "lock-mismatch": Meaning(VERIFICATION, "The registry offers other content than the lock pins."),
    "not-logged-in": Meaning(PERMISSION, "This needs an access token: `forge login`."),
    "login-denied": Meaning(PERMISSION, "The login was refused, or not approved."),
    "login-expired": Meaning(PERMISSION, "Nobody approved the login in time: log in again."),
    "key-passphrase-needed": Meaning(PERMISSION, "The key is encrypted and no passphrase came."),
    "key-passphrase-wrong": Meaning(PERMISSION, "The passphrase does not open the key."),
    "key-malformed": Meaning(PERMISSION, "The key file cannot be read as a private key."),
    "key-permissions": Meaning(PERMISSION, "A private key can be read by others on this machine."),
    "key-missing": Meaning(PERMISSION, "No key of that name, or none that is allowed to sign."),
    "key-unreachable": Meaning(PERMISSION, "The token or the command that holds the key failed."),
    "key-signature-wrong": Meaning(
        PERMISSION, "What a token or command answered is no signature by its key; nothing was sent."
    ),
    "signature-missing": Meaning(PERMISSION, "Somebody else's signature is needed first."),
    "not-found": Meaning(NOT_FOUND, "Nothing of that name is there."),
    "not-installed": Meaning(NOT_FOUND, "The folder was not installed by forge."),
    "lock-missing": Meaning(NOT_FOUND, "There is no forge.lock to follow."),
    "version-taken": Meaning(
        CONFLICT, "The version exists with other content; versions are final."
    ),
    "nothing-changes": Meaning(CONFLICT, "The plan changes nothing, so there is nothing to sign."),
    "role-version": Meaning(CONFLICT, "Somebody else signed a newer version of the role."),
    "already-exists": Meaning(CONFLICT, "It is already there; nothing was overwritten."),
    "unsatisfiable": Meaning(CONFLICT, "No set of versions satisfies every requirement."),
    "not-writable": Meaning(USAGE, "A program tried to write where releases are only read."),
    "tree-not-ours": Meaning(CONFLICT, "The folder holds files that forge did not put there."),
    "too-many-withheld": Meaning(CONFLICT, "The list of withheld releases is full."),
    "release-quarantined": Meaning(
        POLICY, "The status host withholds the release until it is cleared up."
    ),
    "release-revoked": Meaning(POLICY, "The status host revoked the release for good."),
    "policy-refused": Meaning(
        POLICY, "A pinned policy does not permit the release; the message names each rule."
    ),
    "policy-unusable": Meaning(
        POLICY, "A policy is pinned and cannot be read or verified, so nothing is permitted."
    ),
    "withheld": Meaning(
        POLICY, "The registry does not hand the files out: the release is quarantined or revoked."
    ),
    "taken-down": Meaning(
        POLICY, "The files were deleted by order of an authority; they do not come back."
    ),
    "quota-exceeded": Meaning(
        POLICY, "The organisation may not publish as much; its operator can give it more."
    ),
    "unsafe-format": Meaning(ERROR, "A file is in a format that executes code when it is loaded."),
    "changed-while-read": Meaning(ERROR, "A file changed while it was being hashed."),
    "disk-full": Meaning(ERROR, "No room left; what was fetched is kept, so free some and retry."),
    "local-io": Meaning(ERROR, "The operating system refused to read or write a file."),
    "refused-file": Meaning(ERROR, "A component may hold regular files and folders only."),
    "wheel-install": Meaning(ERROR, "pip or uv refused the verified wheels."),
    "no-environment": Meaning(USAGE, "No Python environment to install the wheels into."),
    "network": Meaning(NETWORK, "The registry did not answer; nothing was changed."),
    "window-closed": Meaning(NETWORK, "The hours of --window are over; what came is kept."),
    "not-repairable": Meaning(VERIFICATION, "What failed is not about files; none can mend it."),
    "chunks-malformed": Meaning(VERIFICATION, "A signed chunk list is not one of its file."),
    "too-many-requests": Meaning(NETWORK, "The registry asks to wait longer than we do."),
}

_STATUS_EXIT: Final[Mapping[int, int]] = {
    401: PERMISSION,
    403: PERMISSION,
    404: NOT_FOUND,
    409: CONFLICT,
    410: NOT_FOUND,
    429: NETWORK,
    451: POLICY,
}


class ForgeError(Exception):
    """A refusal of ours. ``facts`` are machine-readable extras for ``--json``."""

    def __init__(self, code: str, message: str, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.facts = facts


class UsageError(ForgeError):
    """The options contradict each other or something needed is missing."""

    def __init__(self, message: str, hint: str | None = None, code: str = "usage") -> None:
        super().__init__(code, message, hint)


class RemoteError(ForgeError):
    """The registry refused; ``status`` and ``request_id`` say where to look in its log."""

    def __init__(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        *,
        status: int,
        request_id: str | None = None,
        **facts: object,
    ) -> None:
        super().__init__(code, message, hint, **facts)
        self.status = status
        self.request_id = request_id


class NetworkError(ForgeError):
    """No usable answer: refused, reset, timed out, TLS or DNS failure."""

    def __init__(self, message: str, hint: str | None = None, code: str = "network") -> None:
        super().__init__(code, message, hint)

    def also_again(self, kept: str) -> None:
        """Adds to the hint that the same command continues, where it does not say so already."""
        if "again" not in (self.hint or ""):
            self.hint = f"{self.hint}\n{kept}" if self.hint else kept


class NotThereError(NetworkError):
    """An answer that there is no such file: what was asked is well, and lacks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error, ready to be shown. ``expected`` and ``found`` are set where they exist apart."""

    code: str
    exit_code: int
    message: str
    expected: str | None = None
    found: str | None = None
    hint: str | None = None
    request_id: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The ``error`` member of a ``--json`` answer."""
        shown: dict[str, object] = {
            "code": self.code,
            "exit_code": self.exit_code,
            "message": self.message,
        }
        for name in ("expected", "found", "hint", "request_id"):
            if (value := getattr(self, name)) is not None:
                shown[name] = value
        return shown | {key: value for key, value in self.facts.items() if key not in shown}


def describe(error: Exception) -> Failure:
    """What to tell the person about ``error``; unknown exceptions are a bug of ours."""
    if isinstance(error, OSError):
        return _describe_os(error)
    code = getattr(error, "code", None)
    if not isinstance(code, str):
        return Failure(
            code="internal",
            exit_code=ERROR,
            message=f"forge itself failed: {type(error).__name__}: {error}",
            hint="this is a bug; set FORGE_DEBUG=1 and run it again to see where",
        )
    facts = getattr(error, "facts", None)
    return Failure(
        code=code,
        exit_code=_exit_code(error, code),
        message=str(getattr(error, "message", error)),
        expected=getattr(error, "expected", None),
        found=getattr(error, "found", None),
        hint=getattr(error, "hint", None),
        request_id=getattr(error, "request_id", None),
        facts=facts if isinstance(facts, dict) else {},
    )


def _exit_code(error: Exception, code: str) -> int:
    # The class speaks before the table: whatever its code, a broken promise is exit 3.
    names = {kind.__name__ for kind in type(error).__mro__}
    if "VerificationError" in names or "BlobMismatchError" in names:
        return VERIFICATION
    if code in CODES:
        return CODES[code].exit_code
    for name, exit_code in (("ConflictError", CONFLICT), ("KeyUnusableError", PERMISSION)):
        if name in names:
            return exit_code
    if isinstance(error, RemoteError):
        if error.status >= 500:
            return NETWORK
        return _STATUS_EXIT.get(error.status, ERROR)
    return ERROR


def _describe_os(error: OSError) -> Failure:
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Failure(
            code="disk-full",
            exit_code=ERROR,
            message=f"{where}no room left ({os.strerror(error.errno)})",
            hint="free some space (`forge cache prune`), then run the same command again: "
            "it continues where it stopped",
        )
    text = os.strerror(error.errno) if error.errno else str(error)
    return Failure(code="local-io", exit_code=ERROR, message=f"{where}{text}")
