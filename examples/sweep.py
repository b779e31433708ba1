"""A sweep with `dvc exp`, to a plot: how does LDS depend on the damping of a method?

In the root of the project, after `make benchmark`, with all that git tracks committed:

    python examples/sweep.py mnist-lr gauss-newton-1 0.01 0.1 1

Each value becomes an experiment, which runs that method's `solve` and `score` and what follows from
them, and nothing else. `sweep.png` shows LDS with its damping; `dvc exp show` has all that was measured.
"""

import json
import subprocess
import sys

from matplotlib.figure import Figure


def dvc(*words):
    """Run one command of DVC, and return what it prints."""
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(setting, method):
    """Return (damping, LDS) of a method in each experiment on the present commit, ascending."""
    place = f"artifacts/metrics/{setting}/{method}.json"
    found = set()
    for commit in json.loads(dvc("exp", "show", "--json")):
        for experiment in commit.get("experiments") or ():
            metrics = experiment["revs"][0]["data"]["metrics"][place]["data"]
            found.add((float(metrics["damping"]), metrics["lds"]))
    return sorted(found)


def plot(points, method, path):
    """Write a figure of LDS against damping."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), marker="o")
    axes.set(xscale="log", xlabel="damping", ylabel="LDS", title=method)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    setting, method, *values = sys.argv[1:]
    for value in values:
        dvc("exp", "run", "--queue", "-S", f"methods.{method}.solver.damping={value}")
    dvc("exp", "run", "--run-all")
    points = measured(setting, method)
    for damping, lds in points:
        print(f"damping {damping:g}: LDS {lds:.3f}")
    plot(points, method, "sweep.png")
