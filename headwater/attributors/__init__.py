"""Attributors: one file per family of methods, each a short composition of the parts.

Names are imported on first use: a workflow stage depends on the file of its own method only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.attributors.attributor import Attributor as Attributor
    from headwater.attributors.baselines import FeatureSimilarity as FeatureSimilarity
    from headwater.attributors.baselines import LabelMatch as LabelMatch
    from headwater.attributors.baselines import LossOnly as LossOnly
    from headwater.attributors.baselines import RandomScores as RandomScores
    from headwater.attributors.data_value_embedding import DataValueEmbedding as DataValueEmbedding
    from headwater.attributors.exact_trak import ExactTRAK as ExactTRAK
    from headwater.attributors.gradient_similarity import GradCos as GradCos
    from headwater.attributors.gradient_similarity import GradDot as GradDot
    from headwater.attributors.influence_function import InfluenceFunction as InfluenceFunction
    from headwater.attributors.knn_shapley import KNNShapley as KNNShapley
    from headwater.attributors.projected_influence import ProjectedInfluence as ProjectedInfluence
    from headwater.attributors.relative_influence import RelatIF as RelatIF
    from headwater.attributors.rps import RPS as RPS
    from headwater.attributors.tracin import TracInCP as TracInCP
    from headwater.attributors.trak import TRAK as TRAK
    from headwater.attributors.unrolling import Unrolling as Unrolling

__all__ = [
    "RPS",
    "TRAK",
    "Attributor",
    "DataValueEmbedding",
    "ExactTRAK",
    "FeatureSimilarity",
    "GradCos",
    "GradDot",
    "InfluenceFunction",
    "KNNShapley",
    "LabelMatch",
    "LossOnly",
    "ProjectedInfluence",
    "RandomScores",
    "RelatIF",
    "TracInCP",
    "Unrolling",
]

MODULES = {
    "Attributor": "attributor",
    "DataValueEmbedding": "data_value_embedding",
    "ExactTRAK": "exact_trak",
    "FeatureSimilarity": "baselines",
    "GradCos": "gradient_similarity",
    "GradDot": "gradient_similarity",
    "InfluenceFunction": "influence_function",
    "KNNShapley": "knn_shapley",
    "LabelMatch": "baselines",
    "LossOnly": "baselines",
    "ProjectedInfluence": "projected_influence",
    "RPS": "rps",
    "RandomScores": "baselines",
    "RelatIF": "relative_influence",
    "TRAK": "trak",
    "TracInCP": "tracin",
    "Unrolling": "unrolling",
}
"""The file that each attributor lives in."""


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
