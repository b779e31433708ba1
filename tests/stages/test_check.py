"""A bad params.yaml is one clear line before any work."""

import copy
import fnmatch

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.check import check_params, load_params
from stages.contract import StageError, call
from tests.stages.workspace import ROOT


def of_settings(params, *names):
    """Return parameters with some of the settings and no others."""
    params = copy.deepcopy(params)
    params["settings"] = {name: params["settings"][name] for name in names}
    params["benchmark"] = [name for name in params["benchmark"] if name in names]
    for group in ("stores", "methods"):
        for thing in params[group].values():
            if "only" in thing:
                thing["only"] = [only for only in thing["only"] if fnmatch.filter(names, only)]
        params[group] = {k: v for k, v in params[group].items() if v.get("only", names)}
    return params


PARAMS = of_settings(yaml.safe_load((ROOT / "params.yaml").read_text()), "mnist-lr", "mnist-mlp")
SMALL = yaml.safe_load((ROOT / "tests/stages/params.yaml").read_text())


def check(folder, params):
    """Do what stage code does with params.yaml."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    check_params(load_params(path), {"mnist-lr", "mnist-mlp"})


@pytest.mark.parametrize("name", ["params.yaml", "params.smoke.yaml", "tests/stages/params.yaml"])
def test_the_committed_files_are_right(name):
    params = load_params(ROOT / name)
    check_params(params, set(params.settings))


BAD = {
    "unknown key": (("settings", "mnist-lr", "n_tset"), 1, "settings.mnist-lr.n_tset: unknown key"),
    "wrong type": (("settings", "mnist-lr", "data", "n_train"), "many", "data.n_train"),
    "device": (("settings", "mnist-lr", "device"), "gpu", "settings.mnist-lr.device"),
    "unknown argument": (("methods", "trak-1", "dampign"), 1.0, "TRAK takes no 'dampign', it takes"),
    "negative damping": (("methods", "trak-1", "damping"), -1.0, "methods.trak-1: damping must be"),
    "damping of a part": (
        ("methods", "if-explicit", "solver", "damping"), "much", "methods.if-explicit.solver.damping",
    ),
    "unknown setting": (("settings", "mnist-cnn"), "COPY", "must have a folder settings/mnist-cnn"),
    "setting that is none": (("settings", "mnist-lr", "setting"), "mnist-cnn", "mnist-cnn"),
    "unknown benchmark": (("benchmark",), ["mnist"], "benchmark must be one of mnist-lr, mnist-mlp"),
    "unknown store": (("methods", "grad-dot", "store"), "nowhere", "must be one of"),
    "wrong store": (("methods", "trak-10", "store"), "logra", "TRAK explains"),
    "other function": (("methods", "grad-dot", "store"), "margin", "GradDot takes the gradients of"),
    "projected store": (("methods", "k-fac", "store"), "logra", "works on whole gradients"),
    "projected twice": (
        ("methods", "trak-1", "projection"), {"kind": "Rademacher", "dimension": 9},
        "methods.trak-1.projection: its store is projected already",
    ),
    "unknown only": (("methods", "trak-50", "only"), ["mnist"], "trak-50: a setting must be one of"),
    "pattern of none": (("methods", "trak-50", "only"), ["mnist-*", "cnn-*"], "got 'cnn-*'"),
    "too many": (("methods", "trak-10", "count"), 11, "count must be at most 10"),
    "no such family": (("stores", "early", "checkpoints"), "late", "must be one of early, ensemble"),
    "no end of a run": (("methods", "dvemb", "store"), "trajectory", "at the end of their runs have"),
    "epochs after the end": (
        ("settings", "mnist-lr", "train", "early", "epochs"), [3, 21],
        "settings.mnist-lr.train.early: epochs must ascend from 1 to the end of mnist-lr after 20",
    ),
    "unknown attributor": (("methods", "trak-1", "attributor"), "TRAKK", "must be one of BM25"),
    "unknown solver": (("methods", "fisher-1", "solver", "kind"), "Woodbry", "must be one of Con"),
    "no class": (("methods", "trak-1", "attributor"), "os:getcwd", "import path package.module:Class"),
    "no module": (("methods", "trak-1", "attributor"), "no.where:X", "No module named 'no'"),
    "foreign argument": (("methods", "grad-dot", "neighbours"), 3, "GradDot takes no 'neighbours'"),
    "missing argument": (("methods", "knn-shapley", "neighbours"), None, "KNNShapley needs 'neighbours'"),
    "no solver": (("methods", "fisher-1", "solver"), None, "InfluenceFunction needs 'solver'"),
    "wrong pair": (("methods", "fisher-1", "curvature"), "ExactHessian", "Woodbury"),
    "tune": (("settings", "mnist-lr", "n_tune"), 500, "n_tune must be below n_test"),
    "removal by an unknown method": (
        ("settings", "mnist-lr", "removal", "methods"), ["trak-11"], "removal.methods must be one of",
    ),
    "removal by a method that is left out": (
        ("settings", "mnist-lr", "removal", "methods"), ["exact-trak-50"], "got 'exact-trak-50'",
    ),
    "removal for too many": (("settings", "mnist-lr", "removal", "queries"), 401, "at most the 400 test"),
    "removal by nothing": (
        ("settings", "mnist-lr", "removal", "methods"), [], "10 queries needs methods and fractions",
    ),
    "removal in disorder": (
        ("settings", "mnist-lr", "removal", "fractions"), [0.05, 0.01], "fractions must ascend",
    ),
    "removal of nothing": (
        ("settings", "mnist-lr", "removal", "fractions"), [0.00001], "must remove 1 sample or more",
    ),
    "no removal": (("settings", "mnist-lr", "removal"), None, "settings.mnist-lr.removal"),
    "damping of one setting": (
        ("methods", "trak-1", "damping"), {"mnist-lr": 1.0}, "must be given for mnist-mlp",
    ),
    "dimension of a store": (
        ("stores", "projected", "projection", "dimension"), "auto", "stores.projected: a projection in",
    ),
    "dimension of a method": (
        ("methods", "fisher-1", "projection"), {"kind": "Rademacher", "dimension": "auto"},
        "methods.fisher-1: a projection in a workflow needs its dimension as a number",
    ),
    "no projection": (("stores", "projected", "projection"), None, "needs a projection"),
    "unknown projection": (("stores", "projected", "projection", "kind"), "JL", "must be one of"),
    "no number of bytes": (("budget", "memory"), "much", "budget.memory: a budget must be a positive"),
    "no disk": (("budget", "disk"), -1, "budget.disk: a budget must be a positive number of bytes"),
    "no minutes": (("budget", "minutes"), 0, "budget.minutes: Input should be greater than 0"),
    "part of a budget": (("budget", "gflops"), None, "budget.gflops: Field required"),
    "no dropout": (("stores", "dropout", "infeasible"), None, "must have Dropout modules"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_every_mistake_is_one_line(tmp_path, case):
    keys, value, message = BAD[case]
    params = place = copy.deepcopy(PARAMS)
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = copy.deepcopy(place["mnist-lr"]) if value == "COPY" else value
    if value is None:
        del place[keys[-1]]
    with pytest.raises(ValueError) as caught:
        check(tmp_path, params)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_yaml_is_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    for text in ("seed: [", "\x00", "a: *b", "- 1", ""):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"params\.yaml") as caught:
            load_params(path)
        assert "\n" not in str(caught.value)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=6),
    st.sampled_from(["loss", "margin", "TRAK", "Woodbury", "KFAC", "mnist-lr", "os:path", "a.b:C", ":"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)


def places(value, path=()):
    """Yield every place in a nested mapping."""
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*path, key)
        yield from places(item, (*path, key))


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(list(places(SMALL))), value=VALUES, extra=st.booleans())
def test_any_edit_is_right_or_one_line(tmp_path_factory, place, value, extra):
    """Whatever stands at a place of params.yaml: it is taken, or refused in one line."""
    params = around = copy.deepcopy(SMALL)
    for key in place[:-1]:
        around = around[key]
    around[f"{place[-1]}x" if extra else place[-1]] = value
    path = tmp_path_factory.getbasetemp() / "drawn.yaml"
    path.write_text(yaml.safe_dump(params))
    try:
        found = load_params(path)
        check_params(found, set(found.settings))
    except ValueError as error:
        assert "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["solve", "data", "--out", "mnist-lr"]), max_size=5
    )
)
def test_any_command_line_is_an_exit_code(words):
    with pytest.raises((SystemExit, StageError)):
        call(words)


def test_a_setting_by_import_path_is_one_of_the_settings(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import dataclasses\n"
        "from headwater.benchmark.settings.mnist_lr import SETTING\n"
        "MINE = dataclasses.replace(SETTING, name='mine')\n"
        "OTHER = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    params = copy.deepcopy(SMALL)
    params["settings"]["mnist-lr"]["setting"] = "mine:MINE"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    check_params(load_params(path), {"mnist-lr"})
    params["settings"]["mnist-lr"]["setting"] = "mine:OTHER"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(ValueError, match="mine:OTHER"):
        check_params(load_params(path), {"mnist-lr"})
