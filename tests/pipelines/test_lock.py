"""dvc.lock as the flow writes it."""

from collections import OrderedDict

from dvc.utils.serialize import load_yaml, modify_yaml

from pipelines.dvc_process import modify_lock

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
