"""What gunicorn is told, and what it makes of that."""

from __future__ import annotations

import os

import pytest

from forge_server.operate import listening


def test_files_are_sent_by_the_kernel_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr(listening._Server, "run", lambda self: seen.append(self.cfg))
    monkeypatch.setenv("SENDFILE", "no")
    listener = listening.listen("127.0.0.1", 0)
    descriptor = listener.fileno()

    listening.serve_with(
        lambda: None,
        listener=listener,
        workers=1,
        threads=2,
        name="test",
        on_ready=lambda: None,
    )
    os.close(descriptor)

    assert [found.sendfile for found in seen] == [True]
