"""What the budget leaves out: counted, with figures, and before any work."""

import copy
import json
from functools import partial
from pathlib import Path

import pytest
import yaml

from headwater.benchmark.plan import footprint, samples_of, task_of, training_of
from headwater.benchmark.settings import get_setting
from headwater.gradients import GradientCapture, StoreDescription, write_gradients
from headwater.memory import Sizes
from headwater.projections import Kronecker, SparseJL
from headwater.solvers import ConjugateGradient, Explicit, Lanczos, Woodbury
from stages import gradients, solve
from stages.budget import plan_setting
from stages.params import OVER_BUDGET, Budget, Method, Params, Store
from tests.stages.test_check import PARAMS, SMALL
from tests.stages.workspace import ROOT

TIGHT = {"memory": "20GB", "disk": "1GB", "minutes": 1, "gflops": 0.1}


def planned(params, setting, budget=None):
    """Return what the stages take, by stage, key and problem."""
    params = copy.deepcopy(params) | ({"budget": budget} if budget else {})
    needs = plan_setting(setting, Params.model_validate(params), "sources")
    return {(n.stage, n.key, n.problem): n for n in needs}


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """Keep what is counted out of the repository."""
    monkeypatch.chdir(tmp_path)


def test_the_committed_budget_leaves_out_what_mnist_mlp_cannot_do():
    found = planned(PARAMS, "mnist-mlp")
    over = {key: n.over for (stage, key, _), n in found.items() if n.over and stage != "score"}
    assert over == {
        "if-explicit": "needs 479 GB of memory, the budget has 20 GB",
        "unrolling-2": "needs 112 minutes, the budget has 25",
    }
    assert not any(needs.over for needs in planned(PARAMS, "mnist-lr").values())


@pytest.mark.slow
def test_whole_gradients_of_a_large_model_are_left_out_and_projected_ones_are_not():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    found = planned(params, "cifar2-resnet9")
    stores = {key: n.over for (stage, key, _), n in found.items() if stage == "gradients"}
    assert all(
        "on disk, the budget has 10 GB" in stores[s] for s in ("loss", "margin", "trajectory")
    )
    assert not stores["projected"]
    assert found["solve", "fisher-1", ""].left_out.startswith("store loss needs ")
    assert not found["solve", "trak-10", ""].left_out


def test_each_part_of_the_budget_leaves_out_what_exceeds_it():
    def over(**changes):
        found = planned(SMALL, "mnist-lr", TIGHT | changes)
        return {(n.stage, n.key): n.over for n in found.values() if n.over and n.stage != "score"}

    assert over() == {("solve", "if-cg"): "needs 2 minutes, the budget has 1"}
    assert over(minutes=10) == {}
    no_disk = over(minutes=10, disk="4MB")
    assert no_disk == {
        ("gradients", name): "needs 4.4 MB on disk, the budget has 4.0 MB"
        for name in ("loss", "margin")
    }
    assert "memory, the budget has 1.0 MB" in over(memory="1MB")["gradients", "loss"]


def test_without_a_budget_nothing_is_left_out_and_everything_is_counted():
    found = planned(SMALL, "mnist-lr")
    assert not any(needs.over for needs in found.values())
    clean = found["gradients", "loss", "clean"]
    assert clean.disk == 3 * 300 * 3184
    assert clean.captures == (3, 300)
    assert found["train", "clean", ""].steps == 3 * 20 * 10
    assert found["retrain", "subsets", ""].disk == 12 * 31400
    assert found["solve", "if-cg", ""].operations == pytest.approx(10 * 60 * 300 * 2 * 31360)


def test_figures_that_were_counted_once_are_read_again(tmp_path, monkeypatch):
    first = planned(SMALL, "mnist-lr")
    assert list(tmp_path.glob("work/plan/mnist-lr/sources/*.json"))
    monkeypatch.setattr("stages.budget.footprint", None)  # it is not called
    assert planned(SMALL, "mnist-lr") == first


@pytest.mark.parametrize(
    ("name", "projections", "dtype"),
    [
        ("mnist-mlp", (), "float32"),
        ("cifar2-resnet9-small", (), "float32"),
        ("maestro-music-transformer-small", (), "float32"),
        ("shakespeare-nanogpt-small", (), "float16"),
        ("cifar2-resnet9-small", (SparseJL(512),), "float16"),
        ("shakespeare-nanogpt-small", (Kronecker(8, 8),), "float32"),
    ],
)
def test_bytes_of_stores_are_those_that_are_written(tmp_path, name, projections, dtype):
    setting, n = get_setting(name), 40
    inputs, labels = samples_of(setting, n)
    task = task_of(setting, "margin", inputs)

    def represent(found):
        for projection in projections:
            found = found.project(projection)
        return found

    description = StoreDescription(name, "train", "margin", "none", "form", dtype)
    capture = GradientCapture(task.bind(0), task.target)
    write_gradients(
        tmp_path / "store",
        description,
        capture,
        lambda rows: (inputs[rows], labels[rows]),
        n,
        represent,
    )
    files = [f for f in (tmp_path / "store").rglob("*") if f.is_file()]
    everything = sum(f.stat().st_size for f in files)
    counted = n * footprint(name, "margin", projections, False, dtype).kept
    assert counted == pytest.approx(everything - _heads(files), rel=0.01)
    assert counted == pytest.approx(everything, rel=0.2)


def _heads(files):
    """Return the bytes of what describes arrays and blocks."""
    return sum(f.stat().st_size for f in files if f.suffix == ".json")


def test_costs_grow_as_the_methods_say():
    sizes = Sizes(n=1000, m=10, p=500, pair=100.0, pass_=1e6, product=1e9, rows=1000)
    wide = sizes._replace(p=1000)
    assert Explicit(1.0).cost(wide).memory == 4 * Explicit(1.0).cost(sizes).memory
    assert Explicit(1.0, blocks=2).cost(sizes).memory == Explicit(1.0).cost(sizes).memory / 2
    assert Woodbury(1.0).cost(wide) == Woodbury(1.0).cost(sizes)
    assert (
        Woodbury(1.0).cost(sizes._replace(rows=2000)).memory == 4 * Woodbury(1.0).cost(sizes).memory
    )
    ten, twenty = (ConjugateGradient(1.0, k).cost(sizes).operations for k in (10, 20))
    assert twenty == 2 * ten == 20 * 10 * 1e9
    assert Lanczos(1.0, 7).cost(sizes).operations == 7e9


def test_a_pass_of_a_linear_model_is_counted_exactly():
    found = training_of("mnist-lr")
    assert found.pass_ == 2 * 2 * 7840  # logits, and the gradient of the weight
    assert (found.state, found.epochs, found.batch) == (4 * 7850, 20, 32)
    assert found.steps(100) == 20 * 4


@pytest.mark.parametrize("stage", [solve, gradients])
def test_a_run_over_the_budget_does_no_work(tmp_path, stage):
    code, nowhere = tmp_path / "code.json", tmp_path / "nowhere"
    reason = "needs 48 GB of memory, the budget has 20 GB"
    code.write_text(json.dumps({"headwater/memory.py": "0", f"{OVER_BUDGET}mnist-lr/x/y": reason}))
    out, cost = Path("out"), Path("cost.json")
    run = partial(
        stage.main,
        setting="mnist-lr",
        key="y",
        code=code,
        data=nowhere,
        models=nowhere,
        out=out,
        cost=cost,
    )
    if stage is solve:
        method = Method(attributor="GradDot", store="loss")
        run(solve.SolveRow(method=method, n_tune=5, device="cpu"), gradients=nowhere, truth=nowhere)
        record = json.loads((out / "choice.json").read_text())
    else:
        run(gradients.GradientsRow(store=Store(function="loss", form="factored"), device="cpu"))
        record = json.loads((out / "store.json").read_text())
    assert record == {"left_out": reason, "listed": True}
    assert json.loads(cost.read_text()) == {}


def test_a_budget_takes_units():
    found = Budget.model_validate(TIGHT)
    assert (found.memory, found.disk) == (20 * 10**9, 10**9)
