"""What the explorer packs is what the scores say."""

import json
import re
import zlib
from base64 import b64decode

import numpy as np
import pytest

from headwater import explore
from headwater.explorer import Split, Suspects, Text, TokenScores
from headwater.explorer.kinds.images import Images
from headwater.explorer.lists import LEVELS, Lists
from headwater.pages import Files
from headwater.scores import Scores
from tests.explorer import pages


def contents(page):
    """Return the record of a page, and a reader of its arrays."""
    found = dict(re.findall(r'id="file:([^"]+)">([^<]*)</script>', page.read_text()))
    record = json.loads(zlib.decompress(b64decode(found["record"])))

    def array(reference):
        flat = np.frombuffer(
            zlib.decompress(b64decode(found[reference["array"]])), reference["type"]
        )
        return flat.reshape(reference["shape"])

    return record, array


def test_lists_are_those_of_the_scores(tmp_path):
    record, array = contents(pages.image_page(tmp_path / "page.html"))
    scores = pages.scores(0, "first")
    method = record["methods"][0]
    rows, values = (
        array(method["rows"]),
        array(method["scores"]) * array(method["scale"])[:, None, None],
    )
    for j in range(pages.N_TEST):
        found = scores.top(j, 100)
        for side, ranking in enumerate((found.proponents, found.opponents)):
            count = array(method["counts"])[j, side]
            assert count == len(ranking)
            ids = [record["train"]["ids"][place] for place in rows[j, side, :count]]
            assert ids == list(ranking.rows)
            unit = np.abs(scores.values[:, j]).max() / LEVELS
            np.testing.assert_allclose(values[j, side, :count], ranking.values, atol=0.51 * unit)
            picks = array(method["diverse"])[j, side]
            diverse = scores.diverse(j, 10)
            diverse_rows = (diverse.proponents, diverse.opponents)[side].rows
            assert [ids[p] for p in picks[:10]] == diverse_rows.tolist()


def test_groups_add_up_and_interchangeable_samples_are_named(tmp_path):
    record, array = contents(pages.image_page(tmp_path / "page.html"))
    sums = array(record["methods"][0]["groups"])
    np.testing.assert_allclose(sums.sum(1), -pages.scores(0, "first").values.sum(0), rtol=1e-4)
    place = {i: p for p, i in enumerate(record["train"]["ids"])}
    assert record["alike"]["samples"][str(place[3])] == [[place[7], 1.0]]


def test_stability_counts_models_with_about_the_same_rank():
    values = -np.arange(1, 41, dtype=np.float32)[::-1, None]  # row 0 helps most
    scores = Scores(np.hstack([values, values]), "m")
    lists = Lists.of(scores, 30, scores.similarity())
    moved = scores.values.copy()
    moved[25] = -100  # from rank 26 to the first
    moved[0] = 0  # from the first to the last
    found = lists.stability([scores.values, moved])
    assert found[0, 0, :3].tolist() == [50, 100, 100]
    assert found[0, 0, 25] == 100
    with pytest.raises(ValueError, match="per_model must hold scores"):
        lists.stability([values])


def test_token_scores_are_those_of_the_pair(tmp_path):
    record, array = contents(pages.text_page(tmp_path / "page.html"))
    method = record["methods"][0]
    rng = np.random.default_rng(0)
    rng.integers(6, size=(pages.N_TRAIN, 6)), rng.integers(6, size=(pages.N_TEST, 5))
    by_test = rng.normal(size=(pages.N_TRAIN, pages.N_TEST, 5)).astype(np.float32)
    by_train = rng.normal(size=(pages.N_TRAIN, 6, pages.N_TEST)).astype(np.float32)
    rows, pairs = array(method["rows"]), array(method["tokens"]["pairs"])
    for j, side, k in [(0, 0, 0), (3, 1, 2), (11, 0, 5)]:
        i = record["train"]["ids"][rows[j, side, pairs[j, side, k]]]
        for name, expected in (("test", by_test[i, j]), ("train", by_train[i, :, j])):
            part = method["tokens"][name]
            got = array(part["values"])[j, side, k] * array(part["scale"])[j, side, k]
            np.testing.assert_allclose(got, -expected, atol=np.abs(expected).max() / 250)


def test_lines_are_in_the_format_of_the_viewer(tmp_path):
    pages.text_page(tmp_path / "page.html")
    lines = [json.loads(line) for line in (tmp_path / "page.jsonl").read_text().splitlines()]
    assert len(lines) == pages.N_TEST
    for line in lines:
        assert {"example_id", "inputs_plaintext", "targets_plaintext"} <= set(line)
        for side in ("proponent", "opponent"):
            scores = line[f"{side}_scores"]
            assert len(line[f"{side}s"]) == len(line[f"{side}_ids"]) == len(scores) > 0
        assert min(line["proponent_scores"]) > 0 > max(line["opponent_scores"])
    assert lines[0]["proponent_ids"][:2] == ["3", "7"]


def test_tiles_lie_where_the_page_looks_for_them():
    from io import BytesIO

    from PIL import Image

    pixels = np.random.default_rng(0).integers(256, size=(70, 4, 6), dtype=np.uint8)
    files = Files()
    packed = Images(pixels).pack(np.arange(70), files, "train")
    sheet = np.asarray(Image.open(BytesIO(files.content["train.0"])))
    for i in (0, 31, 32, 69):
        row, column = divmod(i, packed["across"])
        tile = sheet[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        np.testing.assert_array_equal(tile, pixels[i])


def test_large_images_are_shown_small_and_colours_stay():
    packed = Images(np.zeros((3, 3, 200, 100))).pack(np.arange(3), Files(), "train")
    assert (packed["width"], packed["height"]) == (32, 64)
    assert packed["sheets"][0]["type"] == "image/webp"


def test_a_page_that_does_not_fit_keeps_less_and_then_says_so(tmp_path):
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(size=(300, 40)), "m")
    texts = ["a"] * 300
    whole = explore(scores, (texts,), (texts[:40],), tmp_path / "a.html").stat().st_size
    record, _ = contents(
        explore(scores, (texts,), (texts[:40],), tmp_path / "b.html", limit=whole - 1000)
    )
    assert record["methods"][0]["rows"]["shape"][2] == 50
    with pytest.raises(ValueError, match="the page must have at most 50,000 bytes"):
        explore(scores, (texts,), (texts[:40],), tmp_path / "c.html", limit=50_000)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": (["a"],)}, "samples of the train split must be 40"),
        ({"test": (["a"] * 12, [0])}, "labels of the test split must be 12"),
        ({"train": 3}, "samples must be images"),
        ({"scores": []}, "scores must be of different methods"),
        ({"scores": [pages.scores(0, "a")] * 2}, "scores must be of different methods"),
        ({"evidence": {"other": None}}, "evidence must name methods of the scores, got 'other'"),
        (
            {"classes": ["a"], "test": (["a"] * 12, [1] * 12)},
            "labels must be among 1 classes, got 1",
        ),
        ({"scores": np.zeros((40, 12))}, "scores must be headwater.Scores, got ndarray: wrap"),
        (
            {"train": np.full((40, 2, 2), -2.0)},
            "images must be bytes, or numbers from 0 to 1, got -2",
        ),
        (
            {"tokens": {"first": TokenScores(np.zeros((40, 12, 1)))}, "test": (["a"] * 12,)},
            "needs samples as lists of tokens, got whole strings",
        ),
        ({"tokens": {"first": TokenScores()}}, "token scores must be of test or training tokens"),
        (
            {"tokens": {"first": TokenScores(np.zeros((2, 2, 2)))}},
            "scores of test tokens must have",
        ),
        ({"suspects": Suspects({"a": np.zeros(41)})}, "at most 40, got"),
        ({"suspects": Suspects({"a": np.zeros(4)}, flipped=[True])}, "must be of 4 samples, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, tmp_path):
    arguments = {
        "scores": pages.scores(0, "first"),
        "train": Split(Text([["a"]] * 40)),
        "test": ([["a"]] * 12,),
        "path": tmp_path / "page.html",
        **change,
    }
    with pytest.raises(ValueError, match=message):
        explore(**arguments)
