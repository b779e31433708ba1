"""The peers' virtual environment, made once in `.peers`.

python -m benchmarks.environment    makes it if need be, and prints the path of its Python
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["PEERS", "ROOT", "make_environment", "pip_version"]

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers"
CONSTRAINTS = ("constraints.txt", "benchmarks/constraints.txt")
PEER_PACKAGES = ("dattri", "kronfluence", "traker", "captum", "curvlinops-for-pytorch")
OUR_NEEDS = ("safetensors", "google-crc32c", "zarr", "psutil", "rich", "scipy")
"""What headwater itself imports: the checks of parity run both in one process."""
# Torch by its exact version first: the peers' own requirements would accept any of its builds.
STEPS = (("torch",), (*PEER_PACKAGES, *OUR_NEEDS, "torch"))


def make_environment(folder: Path = PEERS) -> Path:
    """Make the peers' environment, or renew it if its versions changed, and return its Python."""
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join([*map(repr, STEPS), *((ROOT / name).read_text() for name in CONSTRAINTS)])
    if not stamp.exists() or stamp.read_text() != wanted:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        for name in CONSTRAINTS:
            pip += ["-c", name]
        for packages in STEPS:  # what pip says goes to stderr: stdout is for the path
            subprocess.run([*pip, *packages], check=True, cwd=ROOT, stdout=sys.stderr)
        stamp.write_text(wanted)
    return python


def pip_version(python: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return found.stdout.strip()


if __name__ == "__main__":
    print(make_environment())
