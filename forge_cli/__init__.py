"""The `forge` command: publish, verify and install signed components.

A thin shell over `signing` (what is true) and `storage` (where bytes live): commands read
options, flows fetch and write, `signing` decides.
"""

from __future__ import annotations

__version__ = "0.1.0"
