"""What the registry refuses, and how each refusal is explained.

A domain error carries a stable ``code`` and knows nothing of HTTP. `TABLE` is the one place
where a code gets its status, its title and its help text; the problem documents of the API, the
error page of the web pages and the reference in the documentation are all made from it.

RegistryError
├── every refusal of our own, told apart by its ``code``
└── (errors of `signing` and `storage` are turned into one by `from_library`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from signing.errors import ConflictError, MalformedError, SigningError, VerificationError
from storage.errors import BackendError, BlobMismatchError, StorageError

Fact = str | int | None


class RegistryError(Exception):
    """A refusal. ``facts`` become members of the problem document, for programs to read."""

    def __init__(self, code: str, message: str, hint: str | None = None, **facts: Fact) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.facts: Mapping[str, Fact] = facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How a code is answered. ``help`` says what causes it and what to do about it."""

    status: int
    title: str
    help: str


def _row(status: int, title: str, help_: str) -> Row:
    return Row(status=status, title=title, help=help_)


TABLE: Mapping[str, Row] = {
    # Reviews
    "body-not-found": _row(404, "No such reviewer body", "The authority names no body of that "
        "name; GET /api/v1/reviews/bodies lists those it names."),
    "claimed": _row(409, "Another body looks at it", "A reviewer of another "
        "body claimed the release until the moment that the detail names."),
    "own-release": _row(403, "A release of their own", "A body reviews no release of an "
        "organisation that it belongs to, and no publisher reviews what they publish."),
    "review-lapsed": _row(422, "The decision would not count", "It expired, is dated in the "
        "future, or claims more time than this risk class allows; decide again."),
    "statement-missing": _row(422, "A signed statement is missing", "A body's role lists a "
        "statement that the registry does not have and that did not come along."),
    "release-not-found": _row(404, "No such release", "The statement is about a release that is "
        "not here, or that has other content."),
    # The request itself
    "malformed": _row(400, "Not the expected form", "A field has the wrong type, is missing or "
        "is unknown; the detail names it with what was expected and found."),
    "token-in-url": _row(400, "Access token in a URL", "Addresses end up in logs and histories. "
        "Send tokens in the Authorization header only, and revoke the one that was shown."),
    "not-found": _row(404, "Not found", "Nothing has this address."),
    "method-not-allowed": _row(405, "Method not allowed", "The address exists, but not for this "
        "HTTP method; the Allow header lists the right ones."),
    "not-acceptable": _row(406, "No such form", "The address exists, but in none of the media "
        "types that the Accept header lists."),
    "length-required": _row(411, "Length required", "Uploads need an exact Content-Length."),
    "too-large": _row(413, "Too large", "The body is larger than this registry takes; the member "
        "limit_bytes says how large it may be."),
    "unsupported-media-type": _row(415, "Unsupported encoding or type", "Bodies are sent plain, "
        "without Content-Encoding, and JSON as application/json."),
    # Accounts
    "not-authenticated": _row(401, "Not logged in", "The request needs an access token: "
        "Authorization: Bearer forge_…"),
    "token-invalid": _row(401, "Unknown access token", "The token is not one of this registry, "
        "or was mistyped. Make another one: forge-server user add, or forge token create."),
    "token-expired": _row(401, "Expired access token", "Make another token and log in again."),
    "token-revoked": _row(401, "Revoked access token", "Someone took this token back. Make "
        "another one and log in again."),
    "account-disabled": _row(403, "Account disabled", "The registry's operator disabled this "
        "account."),
    "scope-missing": _row(403, "Token not meant for this", "The access token has not the scope "
        "that the detail names; create one that has."),
    "scope-exceeded": _row(403, "Token would exceed its maker", "A token can only hand on what "
        "it may do itself."),
    "not-a-member": _row(403, "Not a member", "Only members of the organisation may do this."),
    "role-too-low": _row(403, "Role does not suffice", "The detail names the role that is needed; "
        "an owner of the organisation can give it."),
    "not-a-reviewer": _row(403, "No reviewer of this", "Answers to findings are judged by members "
        "of a reviewer body, and never by who belongs to the organisation that is concerned."),
    "answer-changed": _row(409, "Answered again", "The publisher answered again, or never did: "
        "read the newest answer before you judge it."),
    "too-many-failures": _row(429, "Too many refused attempts", "Wait as long as the Retry-After "
        "header says."),
    "too-many-requests": _row(429, "Too many requests", "The RateLimit headers say how many one "
        "caller may make, and the Retry-After header when to go on."),
    "too-many-transfers": _row(503, "Too many transfers", "As many files are on their way as the "
        "registry carries at once. Wait as long as the Retry-After header says."),
    "too-many-applications": _row(409, "Too many pending applications", "Wait until the registrar "
        "has dealt with the ones that are pending."),
    "token-not-found": _row(404, "No such token", "Only tokens of one's own are found."),
    "login-not-found": _row(404, "No such login", "No program waits for approval with this code, "
        "or it has its access token already. Compare the code with what the program shows."),
    "login-expired": _row(410, "Login expired", "A login waits for ten minutes. Begin it again on "
        "the machine that is to be logged in."),
    "login-denied": _row(403, "Login refused", "Somebody refused the login on another machine, or "
        "the account that approved it is no longer in use."),
    "login-decided": _row(409, "Login decided before", "A login is approved or refused once. "
        "If that was not you, revoke what you do not know: forge token list."),
    "user-not-found": _row(404, "No such user", "The operator adds users: forge-server user add."),
    "user-exists": _row(409, "User exists", "A user name is given once."),
    "member-not-found": _row(404, "No such member", "The user is not a member."),
    "last-owner": _row(409, "Last owner", "An organisation keeps at least one owner; make another "
        "member owner first."),
    # Names
    "organisation-not-found": _row(404, "No such organisation", "Check the spelling; an "
        "application is not an organisation until the registrar approved it."),
    "application-not-found": _row(404, "No such application", "Nobody applied for this name."),
    "component-not-found": _row(404, "No such component", "Check the spelling: "
        "organisation/name."),
    "revision-not-found": _row(404, "No such revision", "There is no version or commit of that "
        "name, or it is withheld, or no version may stand for the newest; the detail says which."),
    "file-not-found": _row(404, "No such file", "The release has no file at this path."),
    "name-taken": _row(409, "Name taken", "Names are given once and never again."),
    "name-look-alike": _row(409, "Name looks like another", "A quick eye would take it for the "
        "name in the member existing; choose another."),
    "organisation-pending": _row(409, "Not approved yet", "The registrar has not approved the "
        "organisation yet."),
    "organisation-refused": _row(409, "Application refused", "The registrar refused the "
        "application; the application says why. Change what it names and apply again."),
    "policy-unusable": _row(409, "Not a policy to hold to", "What is to be pinned is no policy, or "
        "it was taken back; the detail says which."),
    "policy-not-pinned": _row(404, "No such pinned policy", "The organisation has not pinned a "
        "policy of this name."),
    # Webhooks
    "webhook-refused": _row(422, "Webhook refused", "The organisation has as many webhooks as it "
        "may, or the address is none of the public internet and of no network that the operator "
        "named: webhook_networks."),
    "webhook-not-found": _row(404, "No such webhook", "The organisation has no webhook with this "
        "id."),
    "webhook-ended": _row(409, "Webhook has ended", "Its receiver answered 410, or nothing was "
        "delivered for days. Put the receiver right, then enable the webhook again."),
    # Roles and releases
    "role-not-found": _row(404, "No such role", "No metadata of that name is published."),
    "role-version": _row(409, "Role has moved on", "Someone published meanwhile. Fetch the role "
        "again (current_version), repeat the change on it, sign and send it."),
    "role-missing": _row(422, "Role missing", "A role that is delegated to needs metadata of its "
        "own: send it along, or let the organisation apply first."),
    "releases-need-offer": _row(422, "Releases need an offer", "A role update cannot add "
        "releases; publish them with their manifest, signature and files."),
    "unsigned-upload": _row(403, "Not signed", "Releases are signed by their publisher before they "
        "are sent; the detail says what this client could have sent and did not."),
    "version-taken": _row(409, "Version taken", "A published version never changes. The member "
        "manifest_sha256 says what is there. Raise the version."),
    "distribution-taken": _row(409, "Distribution taken", "The name of a Python distribution "
        "belongs to the component that published it first, and a file name keeps its bytes. The "
        "detail names the one and the other; rename the distribution, or raise its version."),
    "upstream-off": _row(409, "No upstream", "The operator named no other index in server.toml "
        "that projects could be let through from."),
    "upstream-failed": _row(424, "Upstream failed", "The index that this registry passes on did "
        "not give what was asked for; the detail says why. What is here already is served on."),
    "upstream-changed": _row(424, "Upstream changed a file", "The index that this registry passes "
        "on sent other bytes than it named at first. They are refused, and the operator is told: "
        "forge-server upstream list."),
    "quota-exceeded": _row(403, "Quota reached", "The organisation may not publish as much. The "
        "members used_bytes, limit_bytes and asked_bytes (or used_releases and limit_releases) say "
        "how much it has, may have and asked for; the operator can give it more: forge-server "
        "quota."),
    "metadata-mismatch": _row(422, "Description differs from forge.toml", "The manifest must "
        "repeat what forge.toml inside the release says."),
    "unsafe-format": _row(422, "Format executes code", "A file of the release is in a format that "
        "executes code when it is loaded. The members path and format say which; the hint says how "
        "to convert it. The registry's operator can allow a format: allow_code_formats."),
    "digest-mismatch": _row(422, "Wrong digest", "The bytes do not hash to the announced SHA-256; "
        "they were cut, altered or changed meanwhile. Send them again."),
    "length-mismatch": _row(422, "Wrong length", "The number of bytes is not the announced one."),
    "verification-failed": _row(422, "Verification failed", "A signature, delegation, path or "
        "expiry does not hold; the member check says which, the detail what was found."),
    # Blobs
    "blob-not-found": _row(404, "No such blob", "No published release contains these bytes."),
    "withheld": _row(451, "Withheld", "Every release that holds these bytes is quarantined or "
        "revoked. The members release, state, reason and since say which, and why."),
    "taken-down": _row(451, "Taken down", "The bytes were deleted by order of an authority; the "
        "member reference says which order. They do not come back."),
    "range-not-satisfiable": _row(416, "Range not satisfiable", "The range lies outside the file, "
        "or several ranges were asked for at once."),
    "upload-not-found": _row(404, "No such upload", "It was never begun, is finished, or nothing "
        "was added to it for a day. Begin it again."),
    "parts-missing": _row(409, "Parts missing", "Not every part of the upload has come. Begin it "
        "again to hear which are here, send the others, then finish it."),
    "upload-interrupted": _row(400, "Upload interrupted", "The body ended before its announced "
        "length. Send it again."),
    # The server's own condition
    "read-only": _row(503, "Read-only", "The registry cannot sign at the moment, or its operator "
        "switched changes off: it takes none. Reading and installing work. The detail says why."),
    "witnesses-missing": _row(503, "Not witnessed yet", "The change is accepted and recorded, and "
        "becomes visible when enough witnesses have cosigned the public log. The same command "
        "again says whether it has."),
    "busy": _row(503, "Busy", "The registry could not do this now. Try again a little later."),
    "database-unavailable": _row(503, "Database unavailable", "The registry lost its database, or "
        "cannot reach it. Try again a little later: the same command says whether the change was "
        "made before. If it lasts, the operator must look."),
    "database-lacks-extension": _row(500, "Extension missing", "PostgreSQL lacks pg_trgm, which "
        "search needs. Its operator installs it; the detail says how."),
    "storage-failed": _row(503, "Storage failed", "The place for files did not work. Try again "
        "later; if it lasts, the operator must look."),
    "disk-full": _row(507, "Disk full", "The registry has no room left. Its operator must act."),
    "internal": _row(500, "Internal error", "A fault of the registry. Give its operator the "
        "request_id."),
}  # fmt: skip

# Codes of `storage` that say what the table says in its own words.
_STORAGE_CODES = {
    code: code for code in ("disk-full", "blob-not-found", "upload-not-found", "parts-missing")
}


def row_of(code: str) -> Row:
    """The row of ``code``; an unknown one is a fault of ours and answered as such."""
    return TABLE.get(code, TABLE["internal"])


def from_library(error: SigningError | StorageError) -> RegistryError:
    """The same refusal in the registry's terms, with the library's own message and hint."""
    if isinstance(error, SigningError):
        return _from_signing(error)
    if isinstance(error, BlobMismatchError):
        return RegistryError(
            error.code, error.message, error.hint, expected=error.expected, found=error.found
        )
    if isinstance(error, BackendError):
        # What exactly failed is for the operator's log, not for the world.
        code = _STORAGE_CODES.get(error.code, "storage-failed")
        return RegistryError(code, TABLE[code].help)
    return RegistryError(_STORAGE_CODES.get(error.code, "malformed"), error.message, error.hint)


def _from_signing(error: SigningError) -> RegistryError:
    if isinstance(error, ConflictError) and error.code in TABLE:
        return RegistryError(error.code, error.message, error.hint, **error.facts)
    if isinstance(error, MalformedError):
        return RegistryError("malformed", error.message, error.hint, where=error.where)
    if isinstance(error, VerificationError):
        code = error.code if error.code in ("digest-mismatch", "length-mismatch") else None
        return RegistryError(
            code or "verification-failed", error.message, error.hint, check=error.code
        )
    return RegistryError("verification-failed", error.message, error.hint, check=error.code)
