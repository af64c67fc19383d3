"""Keys behind a command (``exec:``): for a key management service, or anything that signs.

The command is run without a shell. It gets the bytes to sign on standard input and prints the
signature in base64 on standard output; see docs/reference/formats.md. Bytes rather than a digest,
because Ed25519 has no digest to send and because the command can look at what it signs.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from signing.keys import ExternalKey, PublicKey, SigningKey

from ..errors import ForgeError, UsageError

_MAX_ANSWER_BYTES = 1024


def open_command(reference: str, public: PublicKey | None) -> SigningKey:
    """The key behind the command of ``reference``; its public half is in ``COMMAND.pub`` unless
    it is given."""
    command = parse_command(reference)
    label = f"exec:{Path(command[0]).name}"
    return ExternalKey(
        public or _public_beside(command[0]), lambda data: _run(command, data), label
    )


def parse_command(reference: str) -> list[str]:
    """The words of the command, its program as an absolute path.

    Raises:
        UsageError: no words.
        ForgeError: there is no such program (``key-missing``).
    """
    try:
        words = shlex.split(reference.removeprefix("exec:"))
    except ValueError as error:
        raise UsageError(f"{reference}: {error}") from None
    if not words:
        raise UsageError(f"{reference!r}: expected a command, like exec:/usr/local/bin/kms-sign")
    program = shutil.which(words[0])
    if program is None:
        raise ForgeError(
            "key-missing",
            f"exec: there is no program {words[0]}",
            hint="give its whole path, and make it executable",
        )
    return [os.path.abspath(program), *words[1:]]


def _public_beside(program: str) -> PublicKey:
    path = Path(f"{program}.pub")
    try:
        return PublicKey.from_pem(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ForgeError(
            "key-missing",
            f"exec:{program}: expected its public key in {path}, found no such file",
            hint="write it there in PEM, or give it once: forge key add NAME exec:… --public FILE",
        ) from None


def _run(command: list[str], data: bytes) -> bytes:
    # Our access token is no business of a signing command.
    environment = {key: value for key, value in os.environ.items() if key != "FORGE_TOKEN"}
    try:
        done = subprocess.run(
            command, input=data, stdout=subprocess.PIPE, env=environment, check=False
        )
    except OSError as error:
        raise _failed(command, os.strerror(error.errno or 0)) from None
    if done.returncode != 0:
        raise _failed(command, f"exit code {done.returncode}")
    if len(done.stdout) > _MAX_ANSWER_BYTES:
        raise _failed(command, f"an answer of {len(done.stdout)} bytes")
    try:
        return base64.b64decode(b"".join(done.stdout.split()), validate=True)
    except binascii.Error:
        raise _failed(command, "an answer that is not base64") from None


def _failed(command: list[str], found: str) -> ForgeError:
    return ForgeError(
        "key-unreachable",
        f"exec:{command[0]}: expected a signature in base64, found {found}",
        hint="what it wrote to standard error is above; nothing was signed or sent",
    )
