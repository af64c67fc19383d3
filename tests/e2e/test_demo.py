"""`make demo`, as somebody without a terminal runs it: to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_demonstration_ends_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [Path(sys.executable).with_name("forge-server"), "demo"],
        env={**os.environ, "TMPDIR": str(temporary), "HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,  # for a demonstration that waits for a Ctrl-C which nobody can press
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "verified: minds-lab/darija-lid" in said
    answers = said[said.index("The installed model answers") :]
    for language in ("Darija (Arabic script)", "Darija (Latin script, Arabizi)", "French"):
        assert language in answers
    assert "Traceback" not in said + done.stderr
    assert list(temporary.iterdir()) == []
