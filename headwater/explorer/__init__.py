"""The influence explorer: scores, samples and what the scores are worth, as one page."""

from headwater.explorer.evidence import Evidence, Suspects, TokenScores
from headwater.explorer.explore import explore
from headwater.explorer.kinds import Images, Kind, Music, Text
from headwater.explorer.split import Split

__all__ = [
    "Evidence", "Images", "Kind", "Music", "Split", "Suspects", "Text", "TokenScores", "explore",
]  # fmt: skip
