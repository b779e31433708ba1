"""Our numbers against the peers', one line a check; exit status 1 if one fails.

python -m benchmarks.parity [PEER ...]    in the peers' environment: `make peers-parity`
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings

import torch

from benchmarks.parity.check import Check, relative_difference

__all__ = ["PEERS", "run_check"]

PEERS = ("dattri", "captum", "curvlinops", "kronfluence", "traker")


def run_check(check: Check) -> tuple[bool, str]:
    """Return whether a check holds, and what was found. An exception is a failure as well."""
    try:
        found = relative_difference(*check.pair())
    except Exception as error:  # one line a check, whatever happens in a peer
        return False, f"{type(error).__name__}: {error}"
    return found <= check.tolerance, f"difference {found:.1e}, tolerance {check.tolerance:.0e}"


def main(peers: list[str]) -> int:
    """Run the checks of the named peers and return the exit status."""
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_default_dtype(torch.float64)  # dattri and captum make tensors of the default one
    warnings.simplefilter("ignore")
    failed = 0
    for peer in peers:
        checks = importlib.import_module(f"benchmarks.parity.{peer}").CHECKS
        for check in checks:
            good, text = run_check(check)
            failed += not good
            print(f"{'ok' if good else 'FAILED'}\t{peer}: {check.name}\t{text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PEERS)))
