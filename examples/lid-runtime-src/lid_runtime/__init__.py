"""Language identification with a hashed character n-gram model, standard library only."""

from __future__ import annotations

from .errors import LidError, MalformedModelError
from .identifier import UNKNOWN, Identifier, load

__all__ = ["UNKNOWN", "Identifier", "LidError", "MalformedModelError", "load"]
__version__ = "1.0.0"
