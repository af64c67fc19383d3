"""Promise: scanning a 2 GiB safetensors model costs at most 1 s beyond hashing, a 1 GiB pickle at
most 10 s and 300 MiB.

The model is a sparse file, of which only the header is read. The pickle is weights in many arrays,
as NumPy and joblib write them; both scanners of pickles are asked.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import tempfile
import time
from pathlib import Path

from forge_server.scans.base import Answer, File
from forge_server.scans.running import Limits, Opened, run

MODEL_SECONDS, PICKLE_SECONDS, PICKLE_MIB = 1.0, 10.0, 300
_ARRAY = 2**22  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-mib", type=int, default=2048)
    parser.add_argument("--pickle-mib", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model = write_model(Path(temporary) / "model.safetensors", options.model_mib * 2**20)
        seconds, answer = timed("safetensors", model)
        report(f"safetensors of {options.model_mib} MiB", seconds, MODEL_SECONDS, answer)
        weights = write_pickle(Path(temporary) / "model.pkl", options.pickle_mib * 2**20)
        for scanner in ("picklescan", "fickling"):
            seconds, answer = timed(scanner, weights)
            report(
                f"pickle of {options.pickle_mib} MiB, {scanner}", seconds, PICKLE_SECONDS, answer
            )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of a scanner: {peak:.0f} MiB of {PICKLE_MIB} ({verdict(peak, PICKLE_MIB)})")


def write_model(path: Path, size: int) -> Path:
    """Four tensors that fill the file."""
    count = size // 16
    entries = ", ".join(
        f'"w{n}": {{"dtype": "F32", "shape": [{count}], '
        f'"data_offsets": [{n * count * 4}, {(n + 1) * count * 4}]}}'
        for n in range(4)
    )
    header = f"{{{entries}}}".encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * 4 * count)
    return path


def write_pickle(path: Path, size: int) -> Path:
    """A list of as many arrays' bytes as fit, each in an opcode of its own."""
    with path.open("wb") as file:
        file.write(b"\x80\x04](")
        for number in range(size // _ARRAY):
            file.write(pickle.dumps(os.urandom(16) + bytes(_ARRAY - 16), 4)[2:-1])
            file.write(b"0K" + bytes([number % 256]))
        file.write(b"e.")
    return path


def timed(scanner: str, path: Path) -> tuple[float, Answer]:
    file = File(path=path.name, size=path.stat().st_size, sha256="0" * 64)
    opened = Opened(file=file, descriptor=os.open(path, os.O_RDONLY))
    begin = time.perf_counter()
    (answer,) = run(scanner, [opened], {}, None, Limits())
    return time.perf_counter() - begin, answer


def report(what: str, seconds: float, most: float, answer: Answer) -> None:
    print(f"{what}: {seconds:.2f} s of {most:g} s ({verdict(seconds, most)}): {answer.state}")


def verdict(found: float, most: float) -> str:
    return "within" if found <= most else "OVER"


if __name__ == "__main__":
    main()
