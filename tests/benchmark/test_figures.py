"""Figures: families, order, labels that do not overlap in the committed results, the same bytes."""

import inspect
import itertools
from pathlib import Path

import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg

from headwater import attributors, curvature
from headwater.attributors import method_names
from headwater.benchmark.drawing import COLOURS, DPI, WIDTH, save
from headwater.benchmark.families import OTHER, family_of
from headwater.benchmark.figures import cost_figure, metric_figure
from headwater.benchmark.removal.figure import removal_figure
from stages.evaluate import family
from stages.files import load_json
from stages.params import Method

ROOT = Path(__file__).resolve().parents[2]


def estimate(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def results(lds, models, kind):
    return {
        "lds": estimate(lds), "checkpoints": models, "function": "margin", "family": kind,
        "gradient_seconds": 1.0, "method_seconds": 1.0,
    }  # fmt: skip


RECORD = {
    "confidence": 0.95,
    "noise_ceiling": {"margin": estimate(0.9)},
    "methods": {
        "low": results(0.1, 1, "Fisher"),
        "huge": {"infeasible": "needs 48 GB of memory, the budget has 20 GB"},
        "high": results(0.5, 10, "Hessian"),
    },
}


def boxes(figure, artists):
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [artist.get_window_extent(renderer) for artist in artists]


def test_a_family_is_that_of_the_curvature_and_else_of_the_attributors_file():
    assert family_of("InfluenceFunction", "ExactHessian") == "Hessian"
    assert family_of("RelatIF", "headwater.curvature:EKFAC") == "Fisher"
    assert family_of("TRAK") == family_of("InfluenceFunction", "MarginGaussNewton")
    assert family_of("my_package.my_module:Mine") == OTHER
    recipe = {"attributor": "InfluenceFunction", "store": "loss"}
    assert family(Method(**recipe, curvature={"kind": "KFAC", "seed": 1})) == "Fisher"
    assert family(Method(**recipe, curvature="ExactHessian")) == "Hessian"


def test_every_method_and_curvature_of_ours_has_a_family():
    for name in method_names():
        takes = inspect.signature(getattr(attributors, name)).parameters
        assert "curvature" in takes or family_of(name) != OTHER, f"add {name} to FAMILIES"
    for name in curvature.__all__:
        kind = getattr(curvature, name)
        if inspect.isclass(kind) and issubclass(kind, curvature.Curvature):
            known = inspect.isabstract(kind) or family_of("InfluenceFunction", name) != OTHER
            assert known, f"add {name} to FAMILIES"


def test_the_best_is_on_top_in_the_colour_of_its_family_and_infeasible_ones_say_why():
    figure = metric_figure("x", "lds", "LDS", RECORD)
    (axes,) = figure.axes
    rows = [label.get_text().split() for label in axes.get_yticklabels()]
    assert rows == [["high", "×10"], ["low", "×1"]] and axes.yaxis_inverted()
    dots = [line for line in axes.lines if line.get_marker() == "D"]
    assert [line.get_color() for line in dots] == [COLOURS["Hessian"], COLOURS["Fisher"]]
    assert [line.get_xdata()[0] for line in dots] == [0.5, 0.1]
    assert figure.get_supxlabel().startswith("huge is infeasible: needs 48 GB")
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["Hessian", "Fisher", "explains the margin", "noise ceiling (margin)"]


@pytest.fixture(scope="module", params=["mnist-lr", "mnist-mlp"])
def record(request):
    """Return committed results, with the families that stage evaluate gives them."""
    recipes = yaml.safe_load((ROOT / "params.yaml").read_text())["methods"]
    found = load_json(ROOT / "results" / request.param / "metrics.json")
    for name, kept in found["methods"].items():
        if "infeasible" not in kept:
            kept["family"] = family(Method(**recipes[name]))
    return found


def test_labels_of_the_cost_lie_on_no_other_and_on_no_point(record):
    figure = cost_figure("x", record)
    (axes,) = figure.axes
    labels = [text for text in axes.texts if text.get_text()]
    points = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    feasible = {name for name, found in record["methods"].items() if "lds" in found}
    assert {label.get_text() for label in labels} == feasible and len(points) == len(feasible)
    named = list(zip([t.get_text() for t in labels], boxes(figure, labels), strict=True))
    assert not [(a, b) for (a, x), (b, y) in itertools.combinations(named, 2) if x.overlaps(y)]
    dots = boxes(figure, points)
    assert not [name for name, box in named if any(box.overlaps(dot) for dot in dots)]


def test_all_of_a_figure_is_in_it_and_rows_do_not_touch(record):
    figure = metric_figure("x", "lds", "LDS", record)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    rows = boxes(figure, axes.get_yticklabels())
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(rows))
    (legend,) = boxes(figure, [axes.get_legend()])
    for box in [*rows, legend, *boxes(figure, axes.texts)]:
        assert box.x0 >= 0 and box.x1 <= WIDTH * DPI


def test_removal_has_a_line_a_method_told_apart_in_one_family():
    curve = [{"share": 0.1, "value": 1.0, "low": 0.5, "high": 1.5}]
    methods = {name: {"family": "Fisher", "removal": {"curve": curve}} for name in ("a", "b")}
    removal = {"curve": curve, "queries": [3]}
    (axes,) = removal_figure("x", {"removal": removal, "methods": methods}).axes
    lines = {line.get_label(): line for line in axes.lines if len(line.get_xdata()) == 2}
    assert lines["a"].get_color() == lines["b"].get_color() != lines["random samples"].get_color()
    assert lines["a"].get_linestyle() != lines["b"].get_linestyle()


def test_the_same_figure_has_the_same_bytes_and_names_no_version(tmp_path):
    for name in ("one", "two"):
        save(cost_figure("x", RECORD), tmp_path / name)
    written = (tmp_path / "one").read_bytes()
    assert written == (tmp_path / "two").read_bytes() and b"Matplotlib" not in written
