"""Training of the benchmark's models: runs that follow from their seeds alone, forwards and back."""

from headwater.benchmark.training.replay import Replay
from headwater.benchmark.training.seeds import derive_seed
from headwater.benchmark.training.training import train_epochs, train_model

__all__ = ["Replay", "derive_seed", "train_epochs", "train_model"]
