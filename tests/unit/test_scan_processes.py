"""A scanner that crashes, hangs, eats memory, writes files, calls out or talks nonsense has said
nothing: that is `failed`, and the next file gets another process."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from forge_server.scans.base import Answer, File
from forge_server.scans.running import Limits, Opened, run

EVIL = """
import json, os, sys
from forge_server.scans import child, known
from forge_server.scans.base import Answer, FoundItem

class Evil:
    name, version, header_only = "evil", "1", False
    def scan(self, file, target):
        act = target.file.path
        if act == "crash":
            os.kill(os.getpid(), 11)
        elif act == "exit":
            os._exit(0)
        elif act == "raise":
            raise ValueError("x")
        elif act == "hang":
            while True:
                pass
        elif act == "sleep":
            import time
            time.sleep(600)
        elif act == "memory":
            data = b"x" * (1 << 30)
        elif act == "write":
            with open({place!r}, "w") as out:
                out.write("x" * 100)
        elif act == "open-many":
            files = [open("/dev/null") for _ in range(1000)]
        elif act == "network":
            import socket
            names = [name for _, name in socket.if_nameindex()]
            return Answer(state="clean", facts={{"interfaces": names}})
        elif act.startswith("/"):
            try:
                with open(act, "rb") as other:
                    return Answer(state="clean", facts={{"read": len(other.read(9))}})
            except OSError as error:
                return Answer(state="clean", facts={{"refused": error.errno}})
        elif act == "garbage":
            print("]]]")
        elif act == "no-state":
            return Answer(state="wonderful")
        elif act == "stale":
            return Answer(state="stale")
        elif act == "clean-with-findings":
            return Answer(state="clean", items=[FoundItem(rule="a", severity="low", title="b")])
        elif act == "no-severity":
            return Answer(state="findings", items=[FoundItem(rule="a", severity="?", title="b")])
        elif act == "endless":
            while True:
                print("x" * 100000)
        elif act == "environment":
            return Answer(state="clean", facts={{"environment": dict(os.environ)}})
        elif act == "descriptors":
            def is_open(number):
                try:
                    return bool(os.fstat(number))
                except OSError:
                    return False
            return Answer(state="clean", facts={{"open": sum(map(is_open, range(256)))}})
        return Answer(state="clean")

known.known = lambda: {{"evil": Evil()}}
child.main()
"""


def ask(tmp_path: Path, *acts: str, seconds: int = 60) -> list[Answer]:
    (tmp_path / "file").write_bytes(b"data")
    program = (sys.executable, "-I", "-c", EVIL.format(place=str(tmp_path / "written")))
    opened = [
        Opened(
            file=File(path=act, size=4, sha256="0" * 64),
            descriptor=os.open(tmp_path / "file", os.O_RDONLY),
        )
        for act in acts
    ]
    limits = Limits(memory_bytes=2**29, seconds=seconds)
    return run("evil", opened, {}, None, limits, program)


@pytest.mark.parametrize(
    "act",
    [
        "crash", "exit", "raise", "memory", "write", "open-many", "garbage", "no-state",
        "stale", "clean-with-findings", "no-severity", "endless",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure_and_the_others_are_asked(tmp_path: Path, act: str) -> None:
    before, failed, after = ask(tmp_path, "good", act, "good")
    assert (before.state, failed.state, after.state) == ("clean", "failed", "clean")
    assert failed.detail.startswith("evil ")
    assert not (tmp_path / "written").exists() or not (tmp_path / "written").read_bytes()


@pytest.mark.parametrize("act", ["hang", "sleep"])
def test_what_takes_too_long_is_a_failure(tmp_path: Path, act: str) -> None:
    (answer,) = ask(tmp_path, act, seconds=1)
    assert (answer.state, answer.detail) == ("failed", "evil took too long")


def test_the_process_has_no_environment_and_only_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "1")
    with (tmp_path / "inherited").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        environment, descriptors = ask(tmp_path, "environment", "descriptors")
    assert "SECRET" not in environment.facts["environment"]
    assert descriptors.facts["open"] <= 5  # standard ones, and this file


def test_the_network_is_cut_where_the_kernel_permits_it(tmp_path: Path) -> None:
    (answer,) = ask(tmp_path, "network")
    assert answer.state == "clean"
    if answer.facts["network"] == "none":
        assert set(answer.facts["interfaces"]) <= {"lo"}


def test_no_file_but_its_own_can_be_read_where_the_kernel_permits_it(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"a key of the registry's")
    environment = f"/proc/{os.getpid()}/environ"
    answers = ask(tmp_path, str(tmp_path / "key.pem"), environment, os.__file__)
    if answers[0].facts["other_files"] != "none" and "CI" not in os.environ:
        pytest.skip("this kernel has no Landlock")
    assert [each.facts.get("refused") for each in answers] == [errno.EACCES, errno.EACCES, None]


def test_descriptors_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ask(tmp_path, "good", "crash", "good")
    assert len(os.listdir("/proc/self/fd")) == before
