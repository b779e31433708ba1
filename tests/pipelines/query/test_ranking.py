"""Both ends of the scores."""

import numpy as np

from pipelines.query.ranking import both_ends, ends


def test_no_sample_is_on_both_sides():
    found = ends(np.array([3.0, 1.0, 2.0]), "margin", 10)
    assert found.proponents.tolist() == [0, 2]
    assert found.opponents.tolist() == [1]


def test_a_loss_is_turned():
    found = ends(np.array([3.0, -1.0, 2.0, 0.0]), "loss", 1)
    assert (found.proponents.tolist(), found.opponents.tolist()) == ([1], [0])


def test_the_shortlist_is_half_of_each_side():
    scores = np.array([0.1, 5.0, -4.0, 0.0, 3.0, -6.0])
    assert both_ends(scores, "margin", 3).tolist() == [1, 4, 5]
    assert both_ends(scores, "loss", 3).tolist() == [1, 2, 5]
    assert both_ends(scores, "margin", 6).tolist() == both_ends(scores, "margin", 9).tolist()
