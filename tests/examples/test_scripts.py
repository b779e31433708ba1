"""The scripts of examples/ run as they are, and what they find is right."""

from __future__ import annotations

import os
import runpy
import warnings
from typing import Any

import pytest
import torch

from tests.architecture.imports import ROOT

EXAMPLES = ROOT / "examples"
ELSEWHERE = {"sweep": "tests/stages/test_sweep.py"}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a script by name, in a folder of its own; return its variables and what it printed."""

    def named(name: str) -> tuple[dict[str, Any], str]:
        monkeypatch.chdir(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of PyTorch's own first jvp
            found = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert not os.listdir(tmp_path), "a script leaves nothing behind"
        return found, capsys.readouterr().out

    return named


def test_every_script_is_run_by_a_test():
    source = (ROOT / "tests/examples/test_scripts.py").read_text()
    for script in EXAMPLES.glob("*.py"):
        if script.stem in ELSEWHERE:
            assert script.name in (ROOT / ELSEWHERE[script.stem]).read_text()
        else:
            assert f'run("{script.stem}")' in source, script.name


def test_flipped_labels_of_a_table_are_found(run):
    found, printed = run("tabular")
    wrong, suspects = found["wrong"], found["suspects"]
    assert len(wrong) == 21
    assert int(torch.isin(suspects[:21], wrong).sum()) >= 14, (
        "5 % of the rows, two thirds of them found"
    )
    assert f"{int(found['found'])} of the 21 flipped labels" in printed
    values = found["scores"][:, found["worst"]]
    assert bool((values[found["harmful"]] > 0).all()), "they raise the loss"
    named = found["y_train"][found["harmful"]] != found["y_test"][found["worst"]]
    assert int(named.sum()) >= 4, "rows of the other class make a mistake worse"


def test_the_sources_of_a_passage_are_found_token_by_token(run):
    found, printed = run("huggingface_lm")
    assert found["sources"] == [found["first"], found["second"]]
    (first, its_other), (other, second) = found["halves"].tolist()
    assert first > 2 * abs(its_other) and second > 2 * abs(other)
    whole = found["attributor"].attribute(found["train"], found["test"])[:, 0]
    torch.testing.assert_close(
        found["by_token"].sum(1), whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max())
    )
    assert "comes from blocks [20, 150] (made of 20 and 150)" in printed


def test_fine_tuning_samples_in_capitals_support_a_text_in_capitals(run):
    found, printed = run("lora")
    capitals, best = found["capitals"], found["best"]
    assert float(capitals.float().mean()) == pytest.approx(0.2)
    assert int(capitals[best].sum()) >= 8
    assert found["task"].layout.size < found["whole"] / 4
    assert "are in capitals" in printed


def test_retraining_by_a_loop_of_ones_own_agrees_with_scores(run):
    found, printed = run("own_loop")
    lds = {name: estimate.value for name, estimate in found["lds"].items()}
    assert lds["influence functions"] > lds["gradient dot products"] > 0
    assert lds["influence functions"] > 0.5
    assert found["ceiling"].value > lds["influence functions"]
    assert "A perfect method would reach" in printed


def test_cleaning_the_most_suspicious_labels_gains_accuracy(run):
    found, printed = run("clean_labels")
    flipped, chosen = found["flipped"], found["chosen"]
    assert int(flipped[chosen["the most suspicious"]].sum()) >= 70
    assert int(flipped[chosen["random"]].sum()) <= 25
    after, before = found["after"], found["before"]
    for how in ("dropped", "relabelled"):
        assert after["the most suspicious", how] > before + 0.01
    gained = {name: after[name, "dropped"] + after[name, "relabelled"] for name in chosen}
    assert gained["the most suspicious"] > gained["random"] + 0.01
    assert "of them were wrong" in printed


def test_files_in_the_folder_of_another_class_come_first(run):
    found, printed = run("image_folder")
    wrong, suspects = found["wrong"], found["suspects"]
    assert sum(wrong) == 100
    assert sum(wrong[i] for i in suspects[:100]) >= 70, "a tenth of the files are, so chance is 10"
    assert found["scores"].shape == (1000, 100)
    assert f"train/{found['train'].samples[suspects[0]][0].parent.name}/" in printed
    assert "explorer.html has" in printed


def test_a_lightning_module_is_attributed_as_it_is(run):
    found, printed = run("lightning_module")
    assert found["scores"].shape == (600, 100)
    assert float(found["same"]) > 0.6, "chance is 0.1"
    assert "show its digit" in printed
