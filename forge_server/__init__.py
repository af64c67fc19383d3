"""The registry's server: accounts, organisations, releases, and the signed static plane."""

from __future__ import annotations

__version__ = "0.1.0"
