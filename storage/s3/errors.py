"""From what an S3 store answers, or does not, to the errors of `storage`.

Some answers are no failure but news that the caller asked for: the object is not there, the
condition does not hold. They are exceptions of this module, which never leave the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import BackendError


class S3AnswerError(Exception):
    """An answer that the caller of a request deals with."""


class ObjectMissingError(S3AnswerError):
    """There is no such object (404)."""


class UploadMissingError(S3AnswerError):
    """There is no such multipart upload: it was completed, aborted or swept (404)."""


class ConditionFailedError(S3AnswerError):
    """``If-Match`` or ``If-None-Match`` does not hold (412), or a competing write is under way
    (409): look again."""


class BeyondEndError(S3AnswerError):
    """The range begins at or behind the end of the object (416)."""


_CHECK_KEYS = "Check the store's credentials and what its bucket policy lets them do."
_CHECK_BUCKET = "Check the bucket's name and the region in the settings, or create the bucket."
_FREE_SPACE = "Raise the quota of the bucket or free space in it, then repeat."
_CHECK_CLOCK = "Set this machine's clock right; the store refuses signatures of another time."

# code of the answer → (what happened, may the same call succeed later, our code, next step)
_CODES: dict[str, tuple[str, bool, str, str | None]] = {
    "NoSuchBucket": ("the bucket is not there", False, "backend-failed", _CHECK_BUCKET),
    "PermanentRedirect": ("the bucket is elsewhere", False, "backend-failed", _CHECK_BUCKET),
    "AuthorizationHeaderMalformed": ("wrong region", False, "backend-failed", _CHECK_BUCKET),
    "RequestTimeTooSkewed": ("the clocks differ", False, "storage-permission", _CHECK_CLOCK),
    "QuotaExceeded": ("the bucket is full", False, "disk-full", _FREE_SPACE),
    "EntityTooLarge": ("the object is too large for the store", False, "file-too-large", None),
    # The store noticed that what arrived is not what was sent.
    "XAmzContentSHA256Mismatch": ("altered on the way", True, "backend-failed", None),
    "BadDigest": ("altered on the way", True, "backend-failed", None),
    "IncompleteBody": ("cut off on the way", True, "backend-failed", None),
    "RequestTimeout": ("the store got nothing for too long", True, "backend-failed", None),
}
_STATUSES: dict[int, tuple[str, bool, str, str | None]] = {
    401: ("the store does not accept the credentials", False, "storage-permission", _CHECK_KEYS),
    403: ("the store refuses access", False, "storage-permission", _CHECK_KEYS),
    429: ("the store asks to slow down", True, "backend-failed", None),
    501: ("the store cannot do this", False, "backend-failed", "Use a store that can."),
    503: ("the store asks to slow down", True, "backend-failed", None),
    507: ("the store is full", False, "disk-full", _FREE_SPACE),
}
_CONDITION_CODES = ("PreconditionFailed", "ConditionalRequestConflict")


@contextmanager
def reported_as(action: str) -> Iterator[None]:
    """Turns what boto3 raises into a `BackendError` or an `S3AnswerError`; ``action`` completes
    "could not …"."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _from_answer(action, error) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise _from_transport(action, error) from error


def _from_answer(action: str, error: Any) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status == 412 or code in _CONDITION_CODES:
        return ConditionFailedError(action)
    if status == 416:
        return BeyondEndError(action)
    if code == "NoSuchUpload":
        return UploadMissingError(action)
    if status == 404 and code != "NoSuchBucket":
        return ObjectMissingError(action)
    known = _CODES.get(code) or _STATUSES.get(status)
    if known is None:
        known = (f"the store answered {status}", status >= 500, "backend-failed", None)
    reason, retry, ours, hint = known
    return BackendError(f"could not {action}: {reason}", retry, code=ours, hint=hint)


def _from_transport(action: str, error: Exception) -> BackendError:
    from botocore import exceptions as boto

    no_keys = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
    timeouts = (boto.ReadTimeoutError, boto.ConnectTimeoutError)
    # What is not of botocore's own family is an answer that its parser gave up on.
    lost = (boto.HTTPClientError, boto.IncompleteReadError, boto.ResponseStreamingError)
    code, hint = "backend-failed", None
    if isinstance(error, no_keys):
        reason, retry, code, hint = "no credentials", False, "storage-permission", _CHECK_KEYS
    elif isinstance(error, boto.SSLError):
        reason, retry, hint = "TLS failed", False, "Check the store's certificate and its name."
    elif isinstance(error, timeouts):
        reason, retry = "the store does not answer", True
    elif isinstance(error, boto.EndpointConnectionError):
        reason, retry = "the store cannot be reached", True
    elif isinstance(error, lost):
        reason, retry = "the connection was lost", True
    elif not isinstance(error, boto.BotoCoreError):
        reason, retry = "its answer makes no sense", True
    else:
        reason, retry = "the request could not be made", False
    return BackendError(f"could not {action}: {reason}", retry, code=code, hint=hint)
