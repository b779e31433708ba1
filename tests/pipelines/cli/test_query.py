"""Queries: test samples from the scores, a new sample from the stores, with the same numbers."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from headwater.attributors import InfluenceFunction
from headwater.benchmark.datasets.mnist import load_mnist10
from tests.pipelines.toy import ROOT

METHODS = ["grad-dot", "if-cg", "gauss-newton-2", "trak-3"]
TEST = 25


def scores(made, method):
    return np.load(made.folder / f"artifacts/scores/mnist-lr/{method}/scores.npy")


def labels(made, split="test"):
    return load_file(made.folder / f"artifacts/data/mnist-lr/clean/{split}.safetensors")["labels"]


@pytest.fixture(scope="session")
def picture(made, tmp_path_factory):
    """A test sample as a PNG."""
    pixels = load_mnist10(ROOT / "data/mnist10.npz").test_images[TEST].reshape(28, 28)
    path = tmp_path_factory.mktemp("pictures") / "digit.png"
    Image.fromarray(pixels).save(path)
    return path


def test_proponents_raise_a_margin_and_opponents_lower_it(ask, made):
    found = ask("query", "mnist-lr", 3, "--method", "trak-3", "-k", 4, "--json")
    assert found.code == 0
    assert found.record["explains"] == "margin" and found.record["lds"]["value"] > 0
    (query,) = found.record["queries"]
    column = scores(made, "trak-3")[:, 3]
    order = np.argsort(-column, kind="stable")
    assert [row["train"] for row in query["proponents"]] == order[:4].tolist()
    assert [row["train"] for row in query["opponents"]] == order[::-1][:4].tolist()
    for row in (*query["proponents"], *query["opponents"]):
        assert row["score"] == pytest.approx(float(column[row["train"]]))
        assert row["shown"] == str(int(labels(made, "train")[row["train"]]))
    assert (query["test"], query["shown"]) == (3, str(int(labels(made)[3])))


def test_proponents_lower_a_loss(ask, made):
    query = ask("query", "mnist-lr", 3, "-m", "grad-dot", "-k", 1, "--json").record["queries"][0]
    column = scores(made, "grad-dot")[:, 3]
    assert query["proponents"][0]["train"] == int(column.argmin())
    assert query["opponents"][0]["train"] == int(column.argmax())
    shown = ask("query", "mnist-lr", 3, "-m", "grad-dot", "-k", 1).out
    assert "proponents (they lower the loss)" in shown
    assert "opponents (they raise the loss)" in shown
    assert str(int(column.argmin())) in shown


def test_several_samples_by_number_and_range_and_the_best_method(ask):
    record = ask("query", "mnist-lr", 7, "0-2", "--json").record
    assert [query["test"] for query in record["queries"]] == [7, 0, 1, 2]
    reported = ask("report", "--json").record["mnist-lr"]["methods"]
    best = max(reported, key=lambda name: reported[name]["lds"]["value"])
    assert record["method"] == best


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_of_a_test_sample_has_the_scores_of_the_workflow(ask, made, picture, method):
    label = int(labels(made)[TEST])
    found = ask("query", "mnist-lr", picture, "-m", method, "--label", label, "-k", 10,
                "--shortlist", 60, "--json")  # fmt: skip
    assert found.code == 0, found.err
    record, column = found.record, scores(made, method)[:, TEST]
    (query,) = record["queries"]
    rows = [*query["proponents"], *query["opponents"]]
    for row in rows:
        assert row["score"] == pytest.approx(float(column[row["train"]]), rel=2e-3, abs=1e-6)
    if method == "trak-3":  # it is the cheapest on projected gradients itself
        assert (record["first"], record["scored"]) == (None, 300)
        return
    assert record["scored"] == 60
    assert (record["first"]["method"], record["first"]["store"]) == ("trak-3", "projected")
    first = np.argsort(-scores(made, "trak-3")[:, TEST], kind="stable")
    assert {row["train"] for row in rows} <= {*first[:31].tolist(), *first[-31:].tolist()}


def test_both_methods_are_named_in_the_answer(ask, picture):
    found = ask("query", "mnist-lr", picture, "-m", "gauss-newton-2", "--shortlist", 60)
    assert found.code == 0, found.err
    head = " ".join(found.out.split("\n")[:2])
    assert "gauss-newton-2 (2 checkpoints, LDS" in head
    assert "scored 60 of 300 training samples, chosen by trak-3 (3 checkpoints, LDS" in head
    assert "on store projected" in head
    assert "(predicted)" in found.out


def test_the_default_method_of_a_new_sample_has_one_checkpoint(ask, picture):
    record = ask("query", "mnist-lr", picture, "--json").record
    assert record["checkpoints"] == 1
    assert record["scored"] == record["train_samples"] == 300  # fewer than the shortlist


def test_what_is_prepared_is_kept_for_the_next_query(ask, changed, picture, monkeypatch):
    question = ("query", "mnist-lr", picture, "-m", "if-cg", "--first", "if-cg", "--json")
    before = ask(*question, folder=changed.folder)
    assert list((changed.folder / "work/query/mnist-lr/if-cg").glob("*/00.safetensors"))

    def never(*_):
        raise AssertionError("it was kept")

    monkeypatch.setattr(InfluenceFunction, "prepare", never)
    after = ask(*question, folder=changed.folder)
    assert after.code == 0, after.err
    assert after.record["queries"] == before.record["queries"]


def test_a_file_of_tensors_is_a_sample_of_any_setting(ask, made, tmp_path):
    data = load_file(made.folder / "artifacts/data/mnist-lr/clean/test.safetensors")
    path = tmp_path / "sample.safetensors"
    save_file({name: t[TEST : TEST + 1].clone() for name, t in data.items()}, path)
    record = ask("query", "mnist-lr", path, "-m", "grad-dot", "-k", 1, "--json").record
    query = record["queries"][0]
    assert (query["label"], query["shown"]) == ("given", str(int(labels(made)[TEST])))
    assert query["proponents"][0]["train"] == int(scores(made, "grad-dot")[:, TEST].argmin())
    save_file({"inputs": torch.zeros(1, 3), "labels": data["labels"][:1].clone()}, path)
    assert "inputs of" in ask("query", "mnist-lr", path).err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mars", "0"], "SETTING must be one of mnist-lr, got 'mars'"),
        (["mnist-lr", "0", "-m", "mars"], "METHOD must be one of grad-dot, if-cg"),
        (["mnist-lr", "60"], "a test sample of mnist-lr must be one of 0 … 59, got 60"),
        (["mnist-lr", "5-2"], "a range must ascend"),
        (["mnist-lr", "0", "digit.png"], "numbers of test samples or one file, got both"),
        (["mnist-lr", "a.png", "b.png"], "one new sample, got 2"),
        (["mnist-lr", "mars.png"], "mars.png must be a file with a new sample, found none"),
        (["mnist-lr", "params.yaml"], "must be in a file .png, .jpg"),
        (["mnist-lr", "{picture}", "--label", "10"], "--label must be one of 0 … 9, got '10'"),
        (["mnist-lr", "{picture}", "--first", "mars"], "METHOD must be one of"),
    ],
)
def test_a_wrong_question_is_one_line(refused, picture, arguments, words):
    assert words in refused("query", *(a.format(picture=picture) for a in arguments))


def test_what_is_not_made_says_which_command_makes_it(refused, changed):
    (changed.folder / "artifacts/scores/mnist-lr/trak-3/scores.npy").unlink()
    line = refused("query", "mnist-lr", 0, "-m", "trak-3", folder=changed.folder)
    assert "headwater run mnist-lr" in line and "dvc pull" in line


def test_a_method_that_was_left_out_says_why(refused, changed):
    path = changed.folder / "artifacts/solve/mnist-lr/trak-3/choice.json"
    path.unlink()
    path.write_text('{"left_out": "needs 3 TB", "listed": true}')
    line = refused("query", "mnist-lr", 0, "-m", "trak-3", folder=changed.folder)
    assert "needs 3 TB" in line and "methods that were made: grad-dot, if-cg" in line
