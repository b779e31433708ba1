"""``headwater plan``: what settings take before anything runs."""

from pipelines.cli.errors import need_project
from pipelines.cli.options import Debug, Json, Settings
from pipelines.cli.output import print_json


def plan(setting: Settings = None, json: Json = False, debug: Debug = False) -> None:
    """Say what settings take before anything runs, and what does not fit.

    Bytes on disk, peak memory and time of every stage, after a probe of seconds; by default of the
    settings under `benchmark` in params.yaml.
    """
    need_project("params.yaml")
    from rich.console import Console

    from pipelines import plan as workflow

    plans = workflow.plan_all(setting or [])
    if json:
        print_json(workflow.records(plans))
    else:
        workflow.show(plans, Console(highlight=False))
