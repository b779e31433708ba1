"""What the leaderboard page holds is what results/, dvc.lock and the docstrings say."""

import inspect
import json

import pytest
import yaml

from headwater import attributors, curvature, solvers
from headwater.benchmark.drawing import COLOURS
from pipelines.leaderboard import cards
from pipelines.leaderboard.page import contents
from tests.architecture.imports import ROOT
from tests.pipelines.leaderboard.workspaces import HOSTILE, RECIPES, make_workspace


@pytest.fixture(scope="module")
def committed():
    return contents(ROOT)


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path)


def test_all_committed_settings_and_methods_are_there_best_first(committed):
    found = {setting["name"]: setting for setting in committed["settings"]}
    files = {path.parent.name: path for path in ROOT.glob("results/*/metrics.json")}
    assert found.keys() == files.keys() and files
    for name, path in files.items():
        record = json.loads(path.read_text())
        methods = {method["name"]: method for method in found[name]["methods"]}
        assert methods.keys() == record["methods"].keys()
        assert found[name]["ceilings"] == record["noise_ceiling"]
        for method, results in record["methods"].items():
            for metric in ("lds", "loo", "auc"):
                assert methods[method].get(metric) == results.get(metric)
        feasible = [m["lds"]["value"] for m in found[name]["methods"] if "infeasible" not in m]
        assert feasible == sorted(feasible, reverse=True)
        assert all("infeasible" in m for m in found[name]["methods"][len(feasible) :])


def squeezed(text):
    return " ".join(text.split())


def test_cards_say_what_docstrings_say(committed):
    for key, found in committed["classes"].items():
        module, _, name = key.partition(":")
        kind = getattr(__import__(module, fromlist=[name]), name)
        docstring = squeezed(inspect.getdoc(kind))
        assert found["name"] == name and found["text"]
        for text in (*found["text"], *found["papers"]):
            assert squeezed(text) in docstring
        if kind.__module__.startswith("headwater.attributors."):
            assert "use it" in dict(found["documented"]), f"{name} has no row in docs/methods.md"
    methods = [method for setting in committed["settings"] for method in setting["methods"]]
    assert all(key in committed["classes"] for method in methods for key in method["parts"])


def test_the_documentation_has_a_row_of_every_attributor_solver_and_curvature():
    rows = cards.documented((ROOT / "docs" / "methods.md").read_text())
    assert set(attributors.method_names()) <= rows.keys()
    for known in (("Woodbury", "DataInf", "Lanczos"), ("EKFAC", "EmpiricalFisher", "GaussNewton")):
        assert set(known) <= rows.keys()
    assert dict(rows["InfluenceFunction"])["paper"] == "Koh and Liang 2017"  # not RelatIF's row
    assert hasattr(solvers, "Woodbury") and hasattr(curvature, "EKFAC")


def test_sections_of_a_docstring_do_not_run_into_each_other():
    class Method:
        """Do it.

        scores[i, j] = 1, over
        two lines:

        - one,
        - two.

        Args:
            x: no part of the card.

        Reference:
            A and B, First, 2001.
            C, Second,
            2002.
        """

    found = cards.describe_class(Method, {})
    assert found["text"] == ["Do it.", "scores[i, j] = 1, over two lines:", "- one,\n- two."]
    assert found["papers"] == ["A and B, First, 2001.", "C, Second, 2002."]


def test_a_recipe_is_the_one_that_made_the_results(workspace):
    methods = {m["name"]: m for m in contents(workspace)["settings"][0]["methods"]}
    assert methods.keys() == RECIPES.keys()
    for name, recipe in RECIPES.items():
        assert yaml.safe_load(methods[name]["recipe"]) == recipe
    assert [part.partition(":")[2] for part in methods["fisher"]["parts"]] == [
        "InfluenceFunction", "EmpiricalFisher", "Woodbury", "Relative",
    ]  # fmt: skip
    assert methods["fisher"]["family"] == "Fisher"
    assert methods[HOSTILE]["family"] == "Gauss-Newton and TRAK"


def test_stores_and_stages_have_seconds_and_disk(workspace):
    one, two = contents(workspace)["settings"]
    loss, margin = one["stores"]
    assert (loss["name"], loss["disk"], loss["seconds"]) == ("loss", 3000, 3.5)
    assert loss["methods"] == ["random", "grad-dot", "fisher"]
    assert (margin["name"], margin["seconds"], margin["methods"]) == ("margin", None, [HOSTILE])
    stages = {stage["name"]: stage for stage in one["stages"]}
    assert (stages["gradients"]["runs"], stages["gradients"]["disk"]) == (4, 4000)
    assert stages["gradients"]["seconds"] == 3.0 and stages["solve"]["seconds"] is None
    assert two["charts"]["damping"] is None


def test_charts_show_every_method_and_the_damping_that_was_chosen(workspace):
    charts = contents(workspace)["settings"][0]["charts"]
    text = json.dumps(charts["cost"])
    assert all(json.dumps(name)[1:-1] in text for name in ("random", "grad-dot", "fisher", HOSTILE))
    assert '"seconds": 0.5' in text and "too-large" not in text
    points = charts["damping"]["data"]["values"]
    assert [point["damping"] for point in points if point["chosen"]] == [4.0]


def test_every_family_has_a_colour_for_both_themes(committed):
    families = committed["families"]
    assert {family["name"]: family["light"] for family in families} == COLOURS
    for family in families:
        brightness = [int(family["dark"][i : i + 2], 16) for i in (1, 3, 5)]
        assert max(brightness) + min(brightness) >= 2 * 0.67 * 255


def test_results_that_nobody_recorded_are_refused(workspace, tmp_path_factory):
    with pytest.raises(ValueError, match=r"results/\*/metrics.json must exist, got none"):
        contents_of_nothing = tmp_path_factory.mktemp("nothing")
        (contents_of_nothing / "docs").mkdir()
        (contents_of_nothing / "docs" / "methods.md").write_text("")
        contents(contents_of_nothing)
    path = workspace / "settings" / "one" / "dvc.lock"
    record = yaml.safe_load(path.read_text())
    del record["stages"]["solve@fisher"]
    path.write_text(yaml.safe_dump(record))
    with pytest.raises(ValueError, match=r"one/dvc.lock must record solve@fisher"):
        contents(workspace)
