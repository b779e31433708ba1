"""The environment in which Prefect and DVC stay quiet and offline."""

import logging
import os
from pathlib import Path

_CLOCK = "%(asctime)s "


def quiet(root: Path) -> None:
    """Set the variables that keep DVC and Prefect quiet, offline and inside ``root``.

    Call it before Prefect is imported, which reads most of them then. Variables that are set
    already are left alone, so a user's own Prefect server stays in use.

    Args:
        root: The repository; Prefect's database goes to its ``.prefect`` folder.
    """
    defaults = {
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(root / ".prefect"),
        # The default of 20 s is too short on a busy machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FORMAT": _CLOCK + "%(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": _CLOCK + "%(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": _CLOCK
        + "%(task_run_name)s | %(message)s",
    }
    if "PREFECT_API_URL" not in os.environ:  # nobody reads the log of a private server
        defaults["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record is a stage's own or tells of a crash, and not just of another state."""
    crash = record.levelno >= logging.ERROR and record.module == "flow_engine"
    return crash or record.module not in ("flow_engine", "task_engine")


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
