"""Take stages from a Prefect server: ``python -m pipelines.agent [--gpu]`` in the repository."""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from pipelines import environment, fresh


def main() -> int:
    """Do one stage at a time until a signal ends this process, and the stage with it."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.agent", description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="take stages that want a GPU, too")
    gpu = parser.parse_args().gpu or bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if "PREFECT_API_URL" not in os.environ:
        sys.stderr.write("PREFECT_API_URL must name the Prefect server that the flow uses\n")
        return 1
    environment.quiet(Path.cwd())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    fresh.prepare()
    from prefect.task_worker import serve

    from pipelines import flow, runners

    runners.FOLDER.mkdir(parents=True, exist_ok=True)
    sign = runners.FOLDER / f"{runners.ME}.{'gpu' if gpu else 'cpu'}"
    tasks = [flow.run_stage, flow.run_stage_gpu] if gpu else [flow.run_stage]
    # In the main thread Prefect would let a signal wait for the end of the stage.
    server = threading.Thread(target=serve, args=tasks, kwargs={"limit": 4}, daemon=True)
    server.start()
    while server.is_alive():
        sign.touch()
        time.sleep(1)
    return 1


def _leave(*_: object) -> None:
    fresh.stop_all()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
