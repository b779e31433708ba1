"""DVC's YAML as the flow reads and writes it."""

from collections import OrderedDict

import pytest
import yaml
from dvc.utils.serialize import _yaml as dvc_yaml
from dvc.utils.serialize import load_yaml, modify_yaml

from pipelines import fast_yaml, lock_file
from tests.pipelines.toy import ROOT

STAGE = OrderedDict(
    cmd="python -m stages.solve one --data artifacts/data/one/train.safetensors --out somewhere else",
    deps=[OrderedDict(path="a.py", hash="md5", md5="0" * 32, size=3)],
    params={"runs.yaml": {"runs.solve.one": {"damping": 1e-06, "infeasible": "näher", "on": True}}},
)


def test_it_says_what_dvc_itself_would_have_written(tmp_path):
    ours, theirs = tmp_path / "ours.lock", tmp_path / "theirs.lock"
    for path, modify in ((ours, lock_file.modify), (theirs, modify_yaml)):
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
    with lock_file.modify(str(ours)) as written:
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


KEYS = [["a"], ["a.b"], ["a.b.c", "d"], ["a.x"], ["e.0"], ["a.*"], ["d.x"]]


@pytest.mark.parametrize("keys", KEYS, ids=str)
@pytest.mark.parametrize("flatten", [True, False])
def test_parameters_are_found_as_dvc_finds_them(tmp_path, keys, flatten):
    from dvc.dependency.param import read_param_file
    from dvc.fs import LocalFileSystem

    slow = getattr(read_param_file, "args", (None, read_param_file))[1]  # installed or not
    path, fs = tmp_path / "runs.yaml", LocalFileSystem()
    path.write_text("a: {b: {c: [1, 2]}}\nd: 3\ne: [4, 5]\n")
    parsed = fast_yaml._Parsed(dvc_yaml.parse_yaml)
    found = fast_yaml._read_params(parsed, slow, fs, str(path), keys, flatten)
    assert found == slow(fs, str(path), keys, flatten)
    for value in found.values():
        value.clear() if isinstance(value, dict) else None
    assert fast_yaml._read_params(parsed, slow, fs, str(path), ["a.b.c"], True) == {"a.b.c": [1, 2]}


def _file(folder, text):
    path = folder / "dvc.lock"
    path.write_text(text)
    return path


def test_the_committed_lock_file_is_read_stage_by_stage_as_dvc_reads_it():
    ours, theirs = lock_file.read(ROOT / "dvc.lock"), load_yaml(ROOT / "dvc.lock")
    assert isinstance(ours["stages"], lock_file.Stages)
    assert {**ours, "stages": dict(ours["stages"])} == theirs
    assert list(ours["stages"]) == list(theirs["stages"])


def test_a_change_of_one_stage_leaves_the_text_of_the_others(tmp_path):
    path = _file(tmp_path, "schema: '2.0'\nstages:\n  b:\n    cmd: 'x'\n  c@1:\n    cmd: \"y\"\n")
    with lock_file.modify(str(path)) as data:
        data["stages"]["b"] = {"cmd": "new"}
        data["stages"]["d"] = {"cmd": "more"}
    assert path.read_text() == (
        "schema: '2.0'\nstages:\n  b:\n    cmd: new\n  c@1:\n    cmd: \"y\"\n  d:\n    cmd: more\n"
    )
    with lock_file.modify(str(path)) as data:
        del data["stages"]["c@1"]
    assert load_yaml(path)["stages"] == {"b": {"cmd": "new"}, "d": {"cmd": "more"}}
    assert [file.name for file in tmp_path.iterdir()] == ["dvc.lock"]


OTHER_FORMS = [
    "schema: '2.0'\nstages:\n  '7':\n    cmd: x\n",
    "schema: '2.0'\nstages:\n    a:\n        cmd: x\n",
    "schema: '2.0'\nstages: {a: {cmd: x}}\n",
    "stages:\n  a:\n    cmd: x\nschema: '2.0'\n",
    "schema: '2.0'\nstages:\n  a:\n    cmd: x\ndatasets: []\n",
    "schema: '2.0'\nstages:\n  a: {cmd: x}\n",
    "schema: '2.0'\nstages:\n  # why\n  a:\n    cmd: x\n",
]


@pytest.mark.parametrize("text", OTHER_FORMS)
def test_any_other_form_is_read_and_changed_as_a_whole(tmp_path, text):
    path = _file(tmp_path, text)
    before = load_yaml(path)
    assert lock_file.read(path) == before
    with lock_file.modify(str(path)) as data:
        data["stages"]["new"] = {"cmd": "z"}
    before["stages"]["new"] = {"cmd": "z"}
    assert load_yaml(path) == before


def test_a_conflict_that_git_left_is_dvcs_to_report(tmp_path):
    text = "schema: '2.0'\nstages:\n<<<<<<< ours\n  a:\n    cmd: x\n"
    with pytest.raises(yaml.YAMLError):
        lock_file.read(_file(tmp_path, text))
