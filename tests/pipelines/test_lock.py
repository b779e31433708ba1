"""DVC's YAML as the flow reads and writes it."""

from collections import OrderedDict

import pytest
from dvc.utils.serialize import _yaml as dvc_yaml
from dvc.utils.serialize import load_yaml, modify_yaml

from pipelines import fast_yaml
from pipelines.fast_yaml import modify_lock

STAGE = OrderedDict(
    cmd="python -m stages.solve one --data artifacts/data/one/train.safetensors --out somewhere else",
    deps=[OrderedDict(path="a.py", hash="md5", md5="0" * 32, size=3)],
    params={"runs.yaml": {"runs.solve.one": {"damping": 1e-06, "infeasible": "näher", "on": True}}},
)


def test_it_says_what_dvc_itself_would_have_written(tmp_path):
    ours, theirs = tmp_path / "ours.lock", tmp_path / "theirs.lock"
    for path, modify in ((ours, modify_lock), (theirs, modify_yaml)):
        for name in ("b", "a"):
            with modify(str(path)) as data:
                data.update({"schema": "2.0"})
                data["stages"] = data.get("stages", {})
                data["stages"].update({name: STAGE})
    assert load_yaml(ours) == load_yaml(theirs)
    assert list(load_yaml(ours)["stages"]) == ["b", "a"]
    assert "&" not in ours.read_text(), "nothing is written by reference"


SCALARS = [
    1e-06, 1.5, -2.0, 3, 0, True, None, "1e-06", "12e45", "1234", "on", "no", "true", "0x1f", "010",
    "1_000", "2026-11-23", "", "~", "näher", ".5", "a: b", float("inf"),
]  # fmt: skip


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_what_one_writes_the_other_reads(tmp_path, value):
    data = {"stages": {"a": {"value": value, "list": [value, {"deep": value}]}}}
    ours, theirs = tmp_path / "ours.yaml", tmp_path / "theirs.yaml"
    with modify_lock(str(ours)) as written:
        written.update(data)
    with modify_yaml(str(theirs)) as written:
        written.update(data)
    parse = fast_yaml._Parsed(dvc_yaml.parse_yaml)
    for path in (ours, theirs):
        assert load_yaml(path) == data
        assert parse(path.read_text(), str(path)) == data


def test_what_was_parsed_before_is_a_copy_of_its_own():
    parse = fast_yaml._Parsed(None)
    first = parse("a: [1]", "x")
    first["a"].append(2)
    assert parse("a: [1]", "x") == {"a": [1]}
    assert parse("a: [3]", "x") == {"a": [3]}
