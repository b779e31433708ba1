"""Scores: strongest and diverse samples, names, files, tables, what notebooks show."""

import numpy as np
import pandas as pd
import pytest
import torch

from headwater import Scores
from headwater.scores import ALIKE, Similarity, diverse_order

VALUES = np.array([[-3, 1, 0], [2, -1, 0], [-1, 4, 0], [0.5, -2, 0]], dtype=np.float32)


def made(**arguments):
    return Scores(VALUES, **{"method": "m", **arguments})


def test_proponents_lower_a_loss_and_raise_a_margin():
    found = made().top(0, 3)
    assert found.proponents.rows.tolist() == [0, 2]
    assert found.opponents.rows.tolist() == [1, 3]
    assert found.proponents.values.tolist() == [-3, -1]
    margin = made(function="margin").top(0, 3)
    assert margin.proponents.rows.tolist() == [1, 3]
    assert margin.opponents.rows.tolist() == [0, 2]


def test_samples_without_influence_are_in_no_list():
    found = made().top(2, 4)
    assert not len(found.proponents) and not len(found.opponents)


def test_the_strongest_are_those_of_sorting_everything():
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    scores = Scores(torch.from_numpy(values), "m")
    order = np.argsort(values[:, 1], kind="stable")
    assert scores.top(1, 7).proponents.rows.tolist() == order[:7].tolist()
    assert scores.top(1, 7).opponents.rows.tolist() == order[::-1][:7].tolist()


def test_diverse_samples_are_strong_and_not_alike():
    scores = Scores([[-3.0], [-2.9], [-1.0]], "m")
    gram = np.array([[1, 0.99, 0.1], [0.99, 1, 0.1], [0.1, 0.1, 1]])
    assert scores.top(0, 2).proponents.rows.tolist() == [0, 1]
    assert scores.diverse(0, 2, gram).proponents.rows.tolist() == [0, 2]
    assert scores.diverse(0, 2, Similarity.of_gram(9 * gram)).proponents.rows.tolist() == [0, 2]


def test_the_greedy_order_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 5))
    weights = rng.random(12)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    picked = []
    for _ in range(4):
        gains = []
        for i in range(12):
            span = units[picked].T
            rest = (
                units[i] - span @ np.linalg.lstsq(span, units[i], rcond=None)[0]
                if picked
                else units[i]
            )
            gains.append(-1 if i in picked else weights[i] * np.linalg.norm(rest))
        picked.append(int(np.argmax(gains)))
    cosines = Similarity.of_vectors(vectors).among(range(12))
    assert diverse_order(weights, cosines, 4).tolist() == picked
    everyone = diverse_order(weights, cosines, 12)
    assert len(set(everyone.tolist())) == len(everyone)
    chosen = np.triu(cosines[everyone][:, everyone], 1)
    assert chosen.max() < ALIKE, "no pick is interchangeable with another"
    left = sorted(set(range(12)) - set(everyone.tolist()))
    assert (cosines[left][:, everyone].max(1) >= ALIKE).all()


def test_vectors_and_their_gram_matrix_are_one_similarity():
    vectors = np.random.default_rng(0).normal(size=(9, 4))
    vectors[3], vectors[5] = 0, 2 * vectors[1]
    first, second = Similarity.of_vectors(vectors), Similarity.of_gram(vectors @ vectors.T)
    np.testing.assert_allclose(first.among(range(9)), second.among(range(9)), atol=1e-5)
    assert [row for row, _ in first.alike([1], 0.999)[0]] == [5]
    assert first.alike([3], 0.1) == [[]]


def test_a_file_brings_everything_back(tmp_path):
    before = made(
        setting="toy", train_ids=["a", "b", "c", "d"], function="reward", helpful="higher"
    )
    after = Scores.load(before.save(tmp_path / "scores.safetensors"))
    np.testing.assert_array_equal(after.values, VALUES)
    for name in ("method", "setting", "function", "helpful"):
        assert getattr(after, name) == getattr(before, name)
    assert list(after.train_ids) == ["a", "b", "c", "d"]
    assert list(after.test_ids) == [0, 1, 2]


def test_another_file_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"scores": VALUES}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"must be a file of Scores\.save"):
        Scores.load(tmp_path / "other")


def test_tables_have_the_names(tmp_path):
    table = made(train_ids=list("abcd"), test_ids=["x", "y", "z"]).to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert table.loc["c", "y"] == 4
    rows = made().top(0, 2).to_pandas()
    assert rows["side"].tolist() == ["proponent", "proponent", "opponent", "opponent"]
    assert rows["sample"].tolist() == [0, 2, 1, 3]


def test_the_plot_has_a_bar_for_each_sample():
    axes = made().plot(0)
    assert len(axes.patches) == 4
    assert "loss" in axes.get_xlabel()


def test_notebooks_show_images_and_never_run_text():
    images = np.zeros((4, 5, 5))
    assert made(thumbnails=images).top(0)._repr_html_().count("data:image/png") == 4
    hostile = ["<script>alert(1)</script>"] * 4
    shown = made(thumbnails=hostile, method="<b>")._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<b>m" not in shown


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"values": [1.0]}, r"scores must be \(n_train, n_test\), got \(1,\)"),
        ({"values": [[np.nan]]}, "scores must be finite"),
        ({"function": "reward"}, "helpful must be 'lower' or 'higher' for function 'reward'"),
        ({"train_ids": ["a"]}, "train_ids must be one for each of 4 training samples, got 1"),
        ({"thumbnails": ["a"]}, "thumbnails must be one for each of 4"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scores(**{"values": VALUES, "method": "m", **arguments})


def test_questions_that_have_no_answer_are_refused():
    with pytest.raises(ValueError, match="j must name one of 3 test samples, got 3"):
        made().top(3)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        made().top(0, 0)
    with pytest.raises(ValueError, match="similarity must be of 4 training samples, got 3"):
        made().diverse(0, 1, np.eye(3))
    with pytest.raises(ValueError, match=r"a Gram matrix must be \(n, n\)"):
        made().diverse(0, 1, np.ones((4, 3)))
