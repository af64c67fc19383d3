"""No file for this process any more but what it is allowed to read (Landlock, Linux 5.13).

A scanner runs as the user that the registry runs as. Without this a file that took a scanner over
could have it read the registry's keys, and tell them in a finding. What was opened before stays
readable. Numbers are those of linux/landlock.h, the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1  # flag of create_ruleset: which rights does the kernel know?
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVS: Final = 38
READ_FILE, READ_DIR = 1 << 2, 1 << 3
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}  # how many of files; later versions know 16
_MOST_RIGHTS: Final = 16
_NETWORK: Final = 0b11  # bind and connect of TCP, since version 4
_SCOPES: Final = 0b11  # abstract sockets of others and signals to them, since version 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


def confine(readable: Iterable[str], listable: Iterable[str]) -> bool:
    """Gives up every file but those beneath ``readable``, and every folder's list but also those
    beneath ``listable``; whether the kernel holds this process to it. Paths that are not there are
    left out."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    asked = _Ruleset(
        files=(1 << _RIGHTS.get(version, _MOST_RIGHTS)) - 1,
        net=_NETWORK if version >= 4 else 0,
        scoped=_SCOPES if version >= 6 else 0,
    )
    length = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(asked), ctypes.c_size_t(length), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(libc, rules, path, READ_FILE | READ_DIR)
        for path in listable:
            _allow(libc, rules, path, READ_DIR)
        if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, access: int) -> None:
    with suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):
                access &= READ_FILE
            rule = _Beneath(access=access, parent=place)
            libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(place)
