"""Being here puts this folder on the import path: fixtures and builders are in the modules beside
this file, and a test module imports by name what it uses."""
