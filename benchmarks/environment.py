"""The peers' virtual environment, made once in `benchmarks/.peers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["PEERS", "ROOT", "make_environment", "pip_version"]

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / ".peers"
CONSTRAINTS = "constraints.txt"
# Torch by its exact version first: the peer's own requirement would accept any of its builds.
STEPS = (("torch==2.13.0",), ("dattri==0.3.0", "safetensors", "torch"))


def make_environment(folder: Path = PEERS) -> Path:
    """Make the peers' environment if it is not complete, and return its Python."""
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "-c", CONSTRAINTS]
        for packages in STEPS:
            subprocess.run([*pip, *packages], check=True, cwd=ROOT)
        stamp.touch()
    return python


def pip_version(python: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return found.stdout.strip()
