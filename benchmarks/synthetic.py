"""Synthetic graphs: the layout of the real one, with stages of milliseconds. Standard library only."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ONE", "EVALUATION", "build", "shape"]

ONE = "settings/s0/dvc.yaml:solve@m0"
"""A stage that is forced; as a real one it makes other bytes again: those of its cost."""
EVALUATION = "artifacts/evaluation/s0.json"
_PER_SETTING = 100

CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"

ROOT_GRAPH = """\
stages:
  code:
    cmd: python -m toy code {settings} {methods} artifacts/code
    deps: [params.yaml, toy]
    outs: [artifacts/code]
    meta: {{first: true}}
  report:
    foreach: ${{benchmark}}
    do:
      cmd: python -m toy make results/${{item}}.md
      deps: ["artifacts/code/${{item}}/evaluate.json", "artifacts/evaluation/${{item}}.json",
        "artifacts/cost/${{item}}"]
      outs: ["results/${{item}}.md": {{cache: false}}]
"""
TEMPLATE = """\
vars: [setting.yaml, ../../params.yaml]
stages:
  data:
    wdir: ../..
    cmd: python -m toy make artifacts/data/${setting}/train artifacts/data/${setting}/test
    deps: ["artifacts/code/${setting}/data.json"]
    params: [params.yaml: [seed, "settings.${setting}.data", "settings.${setting}.device"]]
    outs: ["artifacts/data/${setting}/train", "artifacts/data/${setting}/test"]
  solve:
    foreach: ${methods}
    do:
      wdir: ../..
      cmd: python -m toy make artifacts/solve/${setting}/${key}
        artifacts/cost/${setting}/solve/${key}.json
      deps: ["artifacts/code/${setting}/solve/${key}.json", "artifacts/data/${setting}/train",
        "artifacts/data/${setting}/test"]
      params: [params.yaml: ["methods.${key}", "settings.${setting}.n_tune",
        "settings.${setting}.device"]]
      outs: ["artifacts/solve/${setting}/${key}", "artifacts/cost/${setting}/solve/${key}.json"]
  score:
    foreach: ${methods}
    do:
      wdir: ../..
      cmd: python -m toy make artifacts/scores/${setting}/${key}
        artifacts/cost/${setting}/score/${key}.json
      deps: ["artifacts/code/${setting}/score/${key}.json", "artifacts/data/${setting}/train",
        "artifacts/data/${setting}/test", "artifacts/solve/${setting}/${key}"]
      params: [params.yaml: ["methods.${key}", "settings.${setting}.device"]]
      outs: ["artifacts/scores/${setting}/${key}", "artifacts/cost/${setting}/score/${key}.json"]
  evaluate:
    wdir: ../..
    cmd: python -m toy make artifacts/evaluation/${setting}.json artifacts/metrics/${setting}.json
    deps: ["artifacts/code/${setting}/evaluate.json", "artifacts/scores/${setting}",
      "artifacts/data/${setting}/test"]
    params: [params.yaml: [seed, methods, "settings.${setting}.n_tune"]]
    outs: ["artifacts/evaluation/${setting}.json"]
    metrics: ["artifacts/metrics/${setting}.json"]
"""
TOY = """\
import time

START = time.process_time()  # what is before it is not the work of the stage

import hashlib, json, os, sys
from pathlib import Path


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\\n")


def code(settings, methods, out):
    source = {"toy/__main__.py": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}
    each = [f"{stage}/m{i}" for stage in ("solve", "score") for i in range(int(methods))]
    for setting in range(int(settings)):
        for name in ("data", "evaluate", *each):
            write(Path(out, f"s{setting}", f"{name}.json"), source)


def make(*outs):
    for out in outs:
        seconds = time.perf_counter() if "/cost/" in out else 0  # other ones each time
        write(Path(out), {"key": hashlib.sha256(out.encode()).hexdigest(), "seconds": seconds})


{"code": code, "make": make}[sys.argv[1]](*sys.argv[2:])
if "TOY_CLOCK" in os.environ:  # one short write at the end of a file: nothing is lost or mixed
    with open(os.environ["TOY_CLOCK"], "a") as file:
        file.write(f"{time.process_time() - START}\\n")
"""


def shape(stages: int) -> tuple[int, int]:
    """Return how many settings, about 100 stages each, and methods make about so many stages."""
    settings = max(1, round(stages / _PER_SETTING))
    return settings, max(1, round(((stages - 1) / settings - 3) / 2))


def build(folder: Path, settings: int, methods: int) -> int:
    """Write a DVC repository without git, nothing of which has run; return its number of stages."""
    sizes = {"dvc.yaml": ROOT_GRAPH.format(settings=settings, methods=methods)}
    files = {".dvc/config": CONFIG, ".dvcignore": "__pycache__\n/.prefect\n", **sizes}
    files |= {"toy/__init__.py": "", "toy/__main__.py": TOY}
    names = [f"s{i}" for i in range(settings)]
    lines = ["seed: 0", f"benchmark: [{', '.join(names)}]", "settings:"]
    for name in names:
        files[f"settings/{name}/dvc.yaml"] = TEMPLATE
        files[f"settings/{name}/setting.yaml"] = f"setting: {name}\n"
        lines.append(
            f"  {name}: {{device: cpu, n_tune: 100, data: {{n_train: 5000, n_test: 500}}}}"
        )
    lines.append("methods:")
    for i in range(methods):
        lines += [f"  m{i}:", f"    attributor: InfluenceFunction{i}", "    store: loss"]
        lines.append(f"    solver: {{kind: Woodbury, damping: [0.01, 0.03, 0.1], seed: {i}}}")
    files["params.yaml"] = "\n".join(lines) + "\n"
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return 1 + settings * (3 + 2 * methods)
