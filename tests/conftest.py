"""Being here puts this folder on the import path: fixtures and builders are in the modules beside
this file, and a test module imports by name what it uses."""

from postgres import postgres_server

__all__ = ["postgres_server"]  # here, so that it is one for the whole run
