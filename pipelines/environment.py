"""The environment in which Prefect and DVC stay quiet and offline, and what the machine has."""

import logging
import os
import re
import subprocess
from pathlib import Path


def quiet(root: Path) -> None:
    """Set the variables that keep DVC and Prefect quiet, offline and inside ``root``.

    Call it before Prefect is imported, which reads most of them then. Variables that are set
    already are left alone, so a user's own Prefect server stays in use.
    """
    defaults = {
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(root / ".prefect"),
        # The default of 20 s is too short on a busy machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",  # the run's own words say it all
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        # The libraries read this once, in the fork server; stages compute with one thread each.
        "OMP_NUM_THREADS": os.environ.get("HEADWATER_THREADS", "1"),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def quiet_dvc() -> None:
    """Keep DVC's bars and log lines out of the view; call it after DVC is imported."""
    for library in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # at ERROR there are bars


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers() -> int:
    """Return how many stages run at the same time unless somebody says otherwise."""
    return min(cores(), 8)


def gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return re.findall(r"^GPU (\d+):", subprocess.getoutput("nvidia-smi -L"), re.MULTILINE)
    return [name for name in named.replace(" ", "").split(",") if name not in ("", "-1")]
