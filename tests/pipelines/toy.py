"""A small DVC repository whose stages are shell lines, and the flow as a process in it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

GRAPH = """\
stages:
  source:
    cmd: cat seed > source.txt
    deps: [seed]
    outs: [source.txt]
  half:
    foreach: [left, right]
    do:
      cmd: {half}
      deps: [source.txt]
      outs: ["${{item}}.txt"]
      meta: {{tags: [{tag}], retries: 1}}
  whole:
    cmd: cat left.txt right.txt > whole.txt; echo $OMP_NUM_THREADS > threads
    deps: [left.txt, right.txt]
    outs: [whole.txt]
    meta: {{cores: all}}
  other:
    cmd: echo other > other.txt
    outs: [other.txt]
"""
COPY = "cp source.txt ${item}.txt"

ROOT_GRAPH = """\
stages:
  code:
    cmd: python -m tool library > code.txt
    deps: [library]
    outs: [code.txt]
    meta: {first: true}
  report:
    cmd: cat scores/*/* > report.txt
    deps: [scores]
    outs: [report.txt: {cache: false}]
"""
TEMPLATE = """\
vars: [setting.yaml, ../../params.yaml]
stages:
  data:
    wdir: ../..
    cmd: mkdir -p data && echo ${size} > data/${setting}.txt
    params: ["settings/${setting}/setting.yaml": [size]]
    outs: ["data/${setting}.txt"]
  solve:
    foreach: ${methods}
    do:
      wdir: ../..
      cmd: while [ -e hold-${key} ]; do touch held-${setting}; sleep 0.1; done;
        python -m tool data/${setting}.txt ${item.scale} > solve-${setting}-${key}.txt
      params: [params.yaml: ["methods.${key}"], "settings/${setting}/setting.yaml": [device]]
      deps: ["data/${setting}.txt", code.txt]
      outs: ["solve-${setting}-${key}.txt"]
  score:
    foreach: ${methods}
    do:
      wdir: ../..
      cmd:
        - mkdir -p scores/${setting}
        - cp solve-${setting}-${key}.txt scores/${setting}/${key}.txt
      deps: ["solve-${setting}-${key}.txt"]
      outs: ["scores/${setting}/${key}.txt"]
"""
TOOL = """\
import sys
print(*sys.argv[2:], *open(sys.argv[1]).read().split())
"""
METHODS = ("first", "second", "third")
COUNT = 2 + 2 * (1 + 2 * len(METHODS))


def make(folder: Path, half: str = COPY, tag: str = "cpu") -> Path:
    """Five stages: source -> half@left, half@right -> whole, and other."""
    _make(folder)
    (folder / "seed").write_text("1\n")
    rewrite(folder, half, tag)
    return folder


def _make(folder: Path) -> None:
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").write_text((ROOT / ".dvc/config").read_text())
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")


def make_settings(folder: Path) -> Path:
    """Two settings that share one template, each with a lock file of its own: COUNT stages."""
    _make(folder)
    files = {"dvc.yaml": ROOT_GRAPH, "settings/template.yaml": TEMPLATE, "tool.py": TOOL}
    files |= {"library": "1\n", "params.yaml": "methods:\n"}
    files["params.yaml"] += "".join(f"  {name}: {{scale: {len(name)}}}\n" for name in METHODS)
    for name in ("a", "b"):
        files[f"settings/{name}/setting.yaml"] = f"setting: {name}\nsize: 3\ndevice: cpu\n"
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for name in ("a", "b"):
        (folder / f"settings/{name}/dvc.yaml").symlink_to("../template.yaml")
    return folder


def records(folder: Path) -> dict[str, bytes]:
    """What a run leaves for the next: the lock files, and which entries its run-cache has."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("dvc.lock")}
    runs = (folder / ".dvc/cache/runs").rglob("*")
    return found | {path.name: b"" for path in runs if path.is_file()}


def dvc(folder: Path, *arguments: str) -> str:
    """Run plain DVC there, as in an activated environment; return what it says."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    return process.stdout


def assert_plain_dvc_agrees(folder: Path) -> None:
    """It has nothing to do, and to ask it changes no byte of what was recorded."""
    before = records(folder)
    assert dvc(folder, "status") == "Data and pipelines are up to date.\n"
    assert "Running stage" not in dvc(folder, "repro")
    assert records(folder) == before


def rewrite(folder: Path, half: str, tag: str = "cpu") -> None:
    """Give the two middle stages another command and tag."""
    (folder / "dvc.yaml").write_text(GRAPH.format(half=half, tag=tag))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the benchmark there, as a user would; its output goes to the file `log`."""
    return start_module(folder, "log", "pipelines.benchmark", *arguments)


def start_module(folder: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python module there; its output goes to the file `name`."""
    with (folder / name).open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - nothing but pytest runs here
        )


def _heed_interrupts() -> None:
    """Take SIGINT as a terminal would send it; a job in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run it to its end; return the exit code and the output."""
    code = start(folder, *arguments).wait(100)
    return code, (folder / "log").read_text()


def processes(folder: Path) -> list[psutil.Process]:
    """The living processes, other than this one, that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and Path(process.cwd()) == folder and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {seconds} seconds"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
