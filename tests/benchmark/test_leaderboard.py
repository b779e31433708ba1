"""The table of a setting, and the best of it."""

import pytest

from headwater.benchmark.leaderboard import leaderboard, show, summary


def estimate(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def results(lds, auc, models, seconds, function="margin"):
    return {
        "lds": estimate(lds), "auc": estimate(auc), "checkpoints": models, "function": function,
        "damping": 0.1, "gradient_seconds": 1.0, "method_seconds": seconds, "peak_memory_mb": 9,
    }  # fmt: skip


RECORD = {
    "confidence": 0.95,
    "noise_ceiling": {"loss": estimate(0.8), "margin": estimate(0.9)},
    "methods": {
        "trak-10": results(0.5, 0.7, 10, 5.0),
        "trak-1": results(0.3, 0.9, 1, 1.0),
        "grad-dot": results(0.2, 0.8, 1, 0.5, function="loss"),
        "too-large": {"infeasible": "needs 48 GB"},
    },
}


def test_the_summary_names_the_best_of_all_and_of_those_with_one_model():
    found = summary(RECORD)
    assert found.keys() == {"lds", "auc"}
    assert found["lds"]["any"] == {
        **estimate(0.5), "method": "trak-10", "models": 10, "function": "margin", "ceiling": 0.9,
        "seconds": 6.0,
    }  # fmt: skip
    assert found["lds"]["one"]["method"] == "trak-1"
    assert found["auc"]["any"]["method"] == "trak-1" and found["auc"]["any"]["ceiling"] is None


def test_a_table_of_methods_that_are_all_infeasible_has_no_summary():
    methods = {"too-large": {"infeasible": "needs 48 GB"}}
    assert summary({**RECORD, "methods": methods}) == {}


def test_what_is_worth_its_cost_is_bold_on_the_page_and_on_the_terminal(capsys):
    page = leaderboard("x", RECORD)
    assert "| **trak-10** | margin | 10 |" in page and "infeasible: needs 48 GB" in page
    show("x", RECORD)
    printed = capsys.readouterr().out
    assert "trak-10" in printed and "**" not in printed and "[bold]" not in printed


@pytest.mark.parametrize("worse", ["grad-dot", "trak-1"])
def test_rows_are_in_the_order_of_their_lds(worse):
    page = leaderboard("x", RECORD)
    assert page.index("**trak-10**") < page.index(f"**{worse}**") < page.index("too-large")
