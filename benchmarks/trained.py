"""What the models of finished settings reach: ``python -m benchmarks.trained [SETTING ...]``.

The mean loss per label and the share of right labels of the checkpoints at the end of training, on their
training samples and on the test samples. Writes benchmarks/results/trained.md.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from benchmarks.finished import chosen
from benchmarks.tables import table, write_page
from headwater.benchmark.settings import get_setting
from stages.problem import checkpoint_files, load_split, load_state, training_record

PAGE = Path("benchmarks/results/trained.md")
ABOUT = """Mean ± standard deviation over the models at the end of training (`ensemble`): cross-entropy in
nats, and the share of labels that are the most probable. A sequence has a label at each place, the
next token. The data are the first samples, far fewer than the models were made for."""
HEADER = (
    "setting",
    "models",
    "training samples",
    "loss, test",
    "loss, training",
    "right, test",
    "right, training",
)
BATCH, CPU = 100, torch.device("cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print and write the page; status 1 where nothing is trained."""
    words = "been trained", "trained"
    root, names = chosen(arguments, "python -m benchmarks.trained", __doc__, trained, words)
    artifacts = root / "artifacts"
    parts = ["# Trained models", ABOUT, table(HEADER, [row(name, artifacts) for name in names])]
    print("\n\n".join(parts))
    write_page(PAGE, parts)
    return 0


def trained(root: Path) -> list[str]:
    """Return the settings whose models are there."""
    records = root.glob("artifacts/models/*/clean/record.json")
    return sorted(path.parent.parent.name for path in records)


def row(name: str, artifacts: Path) -> list[str]:
    """Return the row of a setting."""
    models = artifacts / "models" / name / "clean"
    count = len(training_record(models)["families"]["ensemble"])
    files, (n, losses, shares) = checkpoint_files(models, "ensemble", count), (0, [], [])
    for split in ("test", "train"):
        samples = load_split(artifacts / f"data/{name}/clean/{split}.safetensors", CPU)
        both = [reached(name, file, samples) for file in files]
        losses.append(spread([loss for loss, _ in both]))
        shares.append(spread([share for _, share in both]))
        n = len(samples[0])
    return [name, str(count), f"{n:,}", *losses, *shares]


@torch.no_grad()
def reached(
    name: str, file: Path, samples: tuple[torch.Tensor, torch.Tensor]
) -> tuple[float, float]:
    """Return the mean loss per label of a checkpoint, and the share of its labels that are right."""
    model = get_setting(name).make_model()
    model.load_state_dict(load_state(file, CPU))
    model.eval()
    loss = right = 0.0
    for inputs, labels in zip(*(part.split(BATCH) for part in samples), strict=True):
        logits, wanted = model(inputs).flatten(0, -2), labels.flatten()
        loss += float(cross_entropy(logits, wanted, reduction="sum"))
        right += float((logits.argmax(1) == wanted).sum())
    return loss / samples[1].numel(), right / samples[1].numel()


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    sys.exit(main())
