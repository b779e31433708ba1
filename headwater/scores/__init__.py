"""Scores with what they are of: the strongest training samples, plain or diverse, saved and shown."""

from headwater.scores.explanation import Explanation, Ranking
from headwater.scores.scores import Scores
from headwater.scores.similarity import ALIKE, Similarity, diverse_order

__all__ = ["ALIKE", "Explanation", "Ranking", "Scores", "Similarity", "diverse_order"]
