"""The Python blocks of README.md, CONTRIBUTING.md and docs/*.md run, in one namespace a file."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FILES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def python_blocks(file: Path) -> list[tuple[int, str]]:
    """Return (line, source) of each Python block."""
    text = file.read_text(encoding="utf-8")
    return [(text[: m.start(1)].count("\n"), m.group(1)) for m in BLOCK.finditer(text)]


def test_the_readme_shows_how_to_use_the_library() -> None:
    assert README.is_file(), "README.md is missing"
    assert python_blocks(README), "README.md must hold a ```python block"


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.is_file()], ids=lambda f: str(f.relative_to(ROOT))
)
def test_the_examples_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Path
) -> None:
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")  # as in the root of the repository
    namespace: dict[str, object] = {"__name__": "__example__"}
    for line, source in python_blocks(file):
        place = f"{file.relative_to(ROOT)}:{line}"
        code = compile("\n" * line + source, place, "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of PyTorch's own first jvp
            exec(code, namespace)


def test_blocks_are_found_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# Page\n\n```python\na = 1\n```\n```bash\nls\n```\n```python\nb = a\n```\n")
    assert python_blocks(file) == [(3, "a = 1\n"), (9, "b = a\n")]


def test_the_smallest_example_runs() -> None:
    import torch
    import torch.nn.functional as F

    from headwater import AttributionTask
    from headwater.attributors import InfluenceFunction
    from headwater.solvers import ConjugateGradient

    model = torch.nn.Linear(4, 3)
    train_loader = [(torch.randn(6, 4), torch.randint(3, (6,)))]
    test_loader = [(torch.randn(2, 4), torch.randint(3, (2,)))]

    def loss(model, batch):
        x, y = batch
        return F.cross_entropy(model(x), y, reduction="none")

    task = AttributionTask(model, loss=loss, checkpoints=[model.state_dict()])
    solver = ConjugateGradient(damping=1e-2, max_iterations=10)
    attributor = InfluenceFunction(task, solver=solver)
    attributor.cache(train_loader)
    scores = attributor.attribute(train_loader, test_loader)
    suspects = attributor.self_influence(train_loader)
    assert scores.shape == (6, 2)
    assert suspects.shape == (6,)
