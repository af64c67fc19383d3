"""Software tokens (SoftHSM2) for tests; they stand where an HSM or a smart card would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
PIN = "271828"


class Tokens:
    """A folder of tokens. The module reads SOFTHSM2_CONF once a process: use one folder in each."""

    def __init__(self, folder: Path, module: str) -> None:
        self.module = module
        (folder / "tokens").mkdir()
        self.config = folder / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
        self.pin_file = folder / "pin"
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(f"{PIN}\n")

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.config)}

    def util(self, *arguments: str) -> None:
        done = subprocess.run(
            ["softhsm2-util", "--module", self.module, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def create(self, label: str) -> None:
        """A fresh token with `PIN`."""
        import pkcs11

        # SoftHSM looks for tokens when it is loaded, not again.
        pkcs11.unload(self.module)
        self.util("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "31415926")

    def take(self, label: str, name: str, pem: Path) -> None:
        """Puts the unencrypted key of ``pem`` into the token, as ``name``."""
        where = ("--token", label, "--pin", PIN)
        self.util("--import", str(pem), *where, "--label", name, "--id", "a1")

    def uri(self, token: str, name: str, *, pin: bool = False) -> str:
        """The URI of a key; with ``pin`` it names the file that holds the PIN."""
        source = f"&pin-source=file:{self.pin_file}" if pin else ""
        return f"pkcs11:token={token};object={name}?module-path={self.module}{source}"


def require_module() -> str:
    """The PKCS #11 module; without one the test is skipped, or fails in CI."""
    module = next((path for path in _MODULES if Path(path).exists()), None)
    if module is None:
        if os.environ.get("CI"):
            pytest.fail("SoftHSM2 is required in CI: apt-get install softhsm2")
        pytest.skip("SoftHSM2 is not installed (apt-get install softhsm2)")
    return module


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """The tokens of this process."""
    made = Tokens(tmp_path_factory.mktemp("softhsm"), require_module())
    os.environ.update(made.environment)
    return made
