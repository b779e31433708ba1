"""Small files, and no path of one machine in any of them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("headwater", "stages", "pipelines", "tests", "benchmarks", "examples")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".csv", ".sh", ".txt", ".svg", ".ipynb"}
LINES = 300

# A path that starts at the root, not one that goes on after a folder or a variable.
MACHINE = re.compile(r"(?<![\w.}\])*/-])/(?:home|root|work|tmp)/")


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXT and "__pycache__" not in path.parts:
                yield path


def test_no_module_is_longer_than_it_can_be_read_at_once():
    lengths = {p: len(p.read_text().splitlines()) for p in files() if p.suffix == ".py"}
    assert lengths
    too_long = {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LINES}
    assert not too_long, f"split these, each at most {LINES} lines: {too_long}"


def test_no_file_names_a_path_of_one_machine():
    found = {
        str(p.relative_to(ROOT)): m[0] for p in files() if (m := MACHINE.search(p.read_text()))
    }
    assert not found, f"use a path relative to the repository, or tmp_path in a test: {found}"
