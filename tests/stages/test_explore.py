"""Stage explore puts what other stages made into one page."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from headwater.benchmark.settings import get_setting
from stages.explore import ExploreRow, best_methods, main
from stages.problem import save_state
from tests.explorer.test_explore import contents


def made(folder, setting, inputs, labels):
    """Write artifacts of a setting with two methods; return the arguments of the stage."""
    n, tests = len(labels), len(labels) // 2
    (folder / "data/clean").mkdir(parents=True)
    (folder / "data/noisy").mkdir()
    save_file({"inputs": inputs, "labels": labels}, folder / "data/clean/train.safetensors")
    test = {"inputs": inputs[:tests].clone(), "labels": labels[:tests].clone()}
    save_file(test, folder / "data/clean/test.safetensors")
    noisy = {"inputs": inputs[:8].clone(), "labels": labels[:8].clone()}
    noisy["flipped"] = torch.arange(8) == 3
    save_file(noisy, folder / "data/noisy/train.safetensors")
    (folder / "models").mkdir()
    save_state(folder / "models/0.safetensors", get_setting(setting).make_model().state_dict())
    record = {"families": {"ensemble": [{"file": "0.safetensors"}]}}
    (folder / "models/record.json").write_text(json.dumps(record))
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    methods = {}
    for name, value in (("weak", 0.1), ("strong", 0.5)):
        (folder / "scores" / name).mkdir(parents=True)
        values = np.random.default_rng(0).normal(size=(n, tests)).astype(np.float32)
        np.save(folder / "scores" / name / "scores.npy", values)
        np.save(folder / "scores" / name / "self_influence.npy", np.arange(8.0))
        methods[name] = {"lds": {**estimate, "value": value}, "function": "loss", "checkpoints": 1}
    methods["none"] = {"infeasible": "too large"}
    evaluation = {"methods": methods, "noise_ceiling": {"loss": estimate}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return {
        "data": folder / "data", "models": folder / "models", "scores": folder / "scores",
        "evaluation": folder / "evaluation.json", "out": folder / "page.html",
    }  # fmt: skip


def test_a_page_of_images(tmp_path):
    paths = made(tmp_path, "mnist-lr", torch.randn(20, 784), torch.arange(20) % 10)
    main(ExploreRow(setting="mnist-lr"), "mnist-lr", **paths)
    first = paths["out"].read_bytes()
    record, _ = contents(paths["out"])
    assert [method["name"] for method in record["methods"]] == ["strong", "weak"]
    assert record["kind"] == "images" and record["classes"] == [str(i) for i in range(10)]
    assert record["methods"][0]["evidence"]["lds"]["value"] == 0.5
    assert record["suspects"]["wrong"] == 1 and record["test"]["losses"]
    main(ExploreRow(setting="mnist-lr"), "mnist-lr", **paths)
    assert paths["out"].read_bytes() == first


def test_a_page_of_text_has_no_labels(tmp_path):
    tokens = torch.randint(65, (20, 65))
    name = "shakespeare-nanogpt-small"
    paths = made(tmp_path, name, tokens[:, :-1].clone(), tokens[:, 1:].clone())
    main(ExploreRow(setting=name), name, **paths)
    record, _ = contents(paths["out"])
    assert record["kind"] == "text" and record["classes"] is None and record["suspects"] is None


def test_no_scores_are_refused():
    with pytest.raises(ValueError, match="the explorer needs scores of one method, got none"):
        best_methods({"none": {"infeasible": "too large"}})
