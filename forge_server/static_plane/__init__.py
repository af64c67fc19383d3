"""``/tuf`` and ``/blobs``: files that any web server could serve, served well enough from here."""
