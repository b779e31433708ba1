"""Small problems in float64: closed forms where there are any, awkward models elsewhere."""

from __future__ import annotations

import copy
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.batches import batch_size, map_tensors, select
from tests.awkward_models import (
    ConvNet,
    MixedNet,
    PaddedLanguageModel,
    PositionsFirst,
    SharedLinear,
    TiedWeights,
    TinyMLP,
    TinySequence,
    TransformerBlock,
    WeightOutside,
)

Batch = Any
DTYPE = torch.float64


@dataclass(frozen=True)
class Problem:
    """A model, its loss, and a training and a test batch, each a tuple of tensors."""

    model: nn.Module
    loss: Callable[[Any, Batch], Tensor]
    train: Batch
    test: Batch
    target: Callable[[Any, Batch], Tensor] | None = None

    def task(self, **arguments: Any) -> AttributionTask:
        """Return the attribution task; arguments replace the problem's own."""
        return AttributionTask(
            self.model, **{"loss": self.loss, "target": self.target, **arguments}
        )

    @property
    def n(self) -> int:
        return batch_size(self.train)

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Problem:
        """Return the problem in other numbers."""

        def moved(t: Tensor) -> Tensor:
            return t.to(device=device, dtype=dtype if t.is_floating_point() else t.dtype)

        return replace(
            self,
            model=copy.deepcopy(self.model).to(device=device, dtype=dtype),
            train=map_tensors(self.train, moved),
            test=map_tensors(self.test, moved),
        )

    def mapped(self) -> Problem:
        """Return the problem with batches that are mappings, as collators of Hugging Face make them."""
        named = lambda batch: UserDict({f"part {k}": t for k, t in enumerate(batch)})  # noqa: E731
        opened = lambda f: f and (lambda model, batch: f(model, tuple(batch.values())))  # noqa: E731
        return Problem(
            self.model, opened(self.loss), named(self.train), named(self.test), opened(self.target)
        )


def split(batch: Batch, sizes: int | list[int]) -> list[Batch]:
    """Cut a batch into batches of one size, or of the given sizes."""
    n = batch_size(batch)
    if isinstance(sizes, int):
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    assert sum(sizes) == n, f"{sizes} do not add up to {n}"
    return [select(batch, slice(i, i + k)) for i, k in zip(starts, sizes, strict=True)]


def cross_entropy(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy of (inputs..., labels); the mean over positions, those with label -100 ignored."""
    *inputs, labels = batch
    logits = model(*inputs)
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    counted = (labels != -100).unsqueeze(-1).flatten(1)
    return losses.view(counted.shape).sum(1) / counted.sum(1)


def randomised(model: nn.Module, seed: int, scale: float = 0.5) -> nn.Module:
    """Draw every parameter anew, the same in every process, without the global generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=DTYPE)
            parameter.copy_(scale * noise)
    return model


def perturbed(model: nn.Module, seed: int, scale: float = 0.3) -> dict[str, Tensor]:
    """Return another checkpoint, near the model's own."""
    copied, noise = copy.deepcopy(model), randomised(copy.deepcopy(model), seed, scale)
    with torch.no_grad():
        for parameter, change in zip(copied.parameters(), noise.parameters(), strict=True):
            parameter.add_(change)
    return copied.state_dict()


# Closed forms ---------------------------------------------------------------------------------


class Ridge:
    """½(w·x - y)² + L2: gradient, Hessian and leave-one-out in closed form.

    Args:
        n: training samples.
        d: features.
        l2: λ of the objective (1/n) Σ ℓ_i + (λ/2)‖w‖².
    """

    def __init__(self, n: int = 200, d: int = 3, l2: float = 0.01, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=DTYPE)  # noqa: E731
        self.l2, truth = l2, draw(d)
        self.x, self.x_test = draw(n, d), draw(6, d)
        self.y, self.y_test = self.x @ truth + 0.5 * draw(n), self.x_test @ truth
        self.weight = self.fit(torch.ones(n, dtype=DTYPE))

    def fit(self, included: Tensor) -> Tensor:
        """Return the minimiser of (1/n) Σ included_i ℓ_i + (λ/2)‖w‖²; n counts all samples."""
        n, d = self.x.shape
        matrix = (self.x * included[:, None]).T @ self.x / n + self.l2 * torch.eye(d, dtype=DTYPE)
        return torch.linalg.solve(matrix, self.x.T @ (included * self.y) / n)

    def gradients(self) -> Tensor:
        """∇ℓ_i = (w·x_i - y_i) x_i."""
        return (self.x @ self.weight - self.y)[:, None] * self.x

    def hessian(self) -> Tensor:
        """XᵀX / n."""
        return self.x.T @ self.x / len(self.x)

    def leave_one_out(self) -> Tensor:
        """f_j(with i) - f_j(without i) for the predictions f_j = w·x_j, (n, m)."""
        everything = torch.ones(len(self.x), dtype=DTYPE)
        effects = []
        for i in range(len(self.x)):
            included = everything.clone()
            included[i] = 0.0
            effects.append(self.x_test @ (self.weight - self.fit(included)))
        return torch.stack(effects)

    def problem(self) -> Problem:
        """Return it as a problem whose target is the prediction."""
        model = nn.Linear(self.x.shape[1], 1, bias=False, dtype=DTYPE)
        model.weight.data.copy_(self.weight[None])
        return Problem(
            model,
            lambda model, batch: 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2,
            (self.x, self.y),
            (self.x_test, self.y_test),
            target=lambda model, batch: model(batch[0])[:, 0],
        )


class Logistic:
    """Softmax regression with L2, trained to the optimum by Newton's method.

    Args:
        n: training samples.
        d: features.
        classes: classes.
        l2: λ of the objective (1/n) Σ ℓ_i + (λ/2)‖W‖².
    """

    def __init__(
        self, n: int = 40, d: int = 6, classes: int = 2, l2: float = 0.02, seed: int = 1
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=DTYPE)  # noqa: E731
        self.l2, truth = l2, draw(classes, d)
        self.x, self.x_test = draw(n, d), draw(8, d)
        self.y = (self.x @ truth.T + draw(n, classes)).argmax(1)
        self.y_test = (self.x_test @ truth.T).argmax(1)
        self.classes = classes
        self.weight = self.fit(torch.ones(n, dtype=DTYPE))

    def gradients(self, weight: Tensor) -> Tensor:
        """∇ℓ_i = (p_i - e_y) ⊗ x_i, (n, classes · d)."""
        error = (self.x @ weight.T).softmax(1) - F.one_hot(self.y, self.classes)
        return torch.einsum("nc,nd->ncd", error, self.x).flatten(1)

    def hessian(self, weight: Tensor, included: Tensor | None = None) -> Tensor:
        """(1/n) Σ (diag p - p pᵀ) ⊗ x xᵀ."""
        p = (self.x @ weight.T).softmax(1)
        blocks = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        if included is not None:
            blocks = blocks * included[:, None, None]
        full = torch.einsum("nab,nc,nd->acbd", blocks, self.x, self.x) / len(self.x)
        return full.reshape(weight.numel(), weight.numel())

    def fit(self, included: Tensor) -> Tensor:
        """Return the minimiser of (1/n) Σ included_i ℓ_i + (λ/2)‖W‖², (classes, d)."""
        weight = torch.zeros(self.classes, self.x.shape[1], dtype=DTYPE)
        eye = torch.eye(weight.numel(), dtype=DTYPE)
        for _ in range(50):
            gradient = included @ self.gradients(weight) / len(self.x) + self.l2 * weight.flatten()
            step = torch.linalg.solve(self.hessian(weight, included) + self.l2 * eye, gradient)
            weight = weight - step.view_as(weight)
            if step.norm() < 1e-12:
                return weight
        raise AssertionError("Newton's method did not converge; the problem is set up wrongly")

    def margins(self, weight: Tensor) -> Tensor:
        """Return the margins of the test samples, (m,)."""
        return targets.margin(lambda x: x @ weight.T, (self.x_test, self.y_test))

    def leave_one_out(self) -> Tensor:
        """m_j(with i) - m_j(without i) for the test margins m_j, by retraining, (n, m)."""
        everything = torch.ones(len(self.x), dtype=DTYPE)
        with_all, effects = self.margins(self.weight), []
        for i in range(len(self.x)):
            included = everything.clone()
            included[i] = 0.0
            effects.append(with_all - self.margins(self.fit(included)))
        return torch.stack(effects)

    def problem(self) -> Problem:
        """Return it as a problem whose target is the margin."""
        model = nn.Linear(self.x.shape[1], self.classes, bias=False, dtype=DTYPE)
        model.weight.data.copy_(self.weight)
        train, test = (self.x, self.y), (self.x_test, self.y_test)
        return Problem(model, cross_entropy, train, test, targets.margin)


# All problems by name ----------------------------------------------------------------------


def _made(model: nn.Module, inputs: Callable[..., tuple], frozen: str = "", n: int = 9) -> Problem:
    model = randomised(model.to(DTYPE), seed=3)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (frozen and name.startswith(frozen)))
    generator = torch.Generator().manual_seed(4)
    return Problem(model, cross_entropy, inputs(n, generator), inputs(5, generator))


def _normal(*shape: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda n, g: torch.randn(n, *shape, generator=g, dtype=DTYPE)


def _classes(count: int, *shape: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda n, g: torch.randint(count, (n, *shape), generator=g)


def _tuple(*makers: Callable[[int, torch.Generator], Tensor]) -> Callable[..., tuple]:
    return lambda n, g: tuple(make(n, g) for make in makers)


def _sentences(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw tokens of sentences, 0 after their ends, and the next tokens, -100 where there is none."""
    tokens = torch.randint(1, 6, (n, 5), generator=generator)
    ends = torch.randint(2, 6, (n, 1), generator=generator)
    tokens = tokens.masked_fill(torch.arange(5) >= ends, 0)
    following = F.pad(tokens[:, 1:], (0, 1))
    return tokens, following.masked_fill(following == 0, -100)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "ridge": lambda: Ridge(n=9).problem(),
    "logistic": lambda: Logistic(n=9, d=4, classes=3).problem(),
    "mlp": lambda: _made(TinyMLP(), _tuple(_normal(5), _classes(3))),
    "mlp with frozen layer": lambda: _made(TinyMLP(), _tuple(_normal(5), _classes(3)), "body"),
    "mlp with frozen weight": lambda: _made(
        TinyMLP(), _tuple(_normal(5), _classes(3)), "head.weight"
    ),
    "sequence": lambda: _made(TinySequence(), _tuple(_normal(6, 4), _classes(3, 6))),
    "shared linear": lambda: _made(SharedLinear(), _tuple(_normal(3, 4), _classes(3))),
    "tied weights": lambda: _made(TiedWeights(), _tuple(_classes(6, 4), _classes(6, 4))),
    "tied weights, linear first": lambda: _made(
        TiedWeights(linear_first=True), _tuple(_classes(6, 4), _classes(6, 4))
    ),
    "mixed": lambda: _made(MixedNet(), _tuple(_normal(1, 4, 4), _classes(3), _classes(3))),
    "positions first": lambda: _made(PositionsFirst(), _tuple(_normal(3, 4), _classes(3))),
    "weight outside": lambda: _made(WeightOutside(), _tuple(_normal(5), _classes(3))),
    "padded language model": lambda: _made(PaddedLanguageModel(), _sentences),
    "conv net": lambda: _made(ConvNet(), _tuple(_normal(2, 6, 6), _classes(3))),
    "transformer block": lambda: _made(TransformerBlock(), _tuple(_normal(3, 4), _classes(3))),
}
"""All of them, by name."""
