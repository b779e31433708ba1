"""Music Transformer: a decoder over events, whose attention knows how far apart events are."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.benchmark.models.attention import (
    causal_softmax,
    check_heads,
    check_positions,
    heads_of,
)
from headwater.benchmark.models.dropout import StatelessDropout

__all__ = ["MusicTransformer", "RelativeAttention"]


class MusicTransformer(nn.Module):
    """Map events (n, T) to logits (n, T, n_tokens) of the event that follows each position.

    h = √d E[events] + sinusoids(T, d); in each layer h ← norm(h + attention(h)),
    h ← norm(h + W₂ relu(W₁ h)), with biases; logits = W norm(h) + b. 13,115,782 parameters at the
    default sizes, of which 98,304 are the vectors of the distances.

    Args:
        n_tokens: Number of different events.
        length: Largest number of positions T.
        n_layers: Number of layers.
        n_heads: Attention heads of a layer.
        width: Length d of the vector h at a position, a multiple of the heads, and even.
        hidden: Units between W₁ and W₂.
        dropout: Probability that an element is dropped in train mode: of the embeddings, the
            attention weights, the hidden units and the output of each branch.

    Raises:
        ValueError: If the width is odd or no multiple of the number of heads, or inputs are longer
            than the length.

    Reference:
        Huang et al., Music Transformer, ICLR 2019; Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(
        self,
        n_tokens: int = 390,
        length: int = 256,
        n_layers: int = 6,
        n_heads: int = 8,
        width: int = 512,
        hidden: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even for sin and cos, got {width}: add one")
        self.tokens = nn.Embedding(n_tokens, width)
        self.dropout = StatelessDropout(dropout)
        self.layers = nn.Sequential(
            *(_Layer(length, n_heads, width, hidden, dropout) for _ in range(n_layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_tokens)
        self._initialise()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, T, n_tokens) of events int64 (n, T), T <= length."""
        embedded = self.tokens(inputs) * math.sqrt(self.tokens.embedding_dim)
        hidden = self.dropout(embedded + sinusoids(inputs.shape[1], embedded))
        logits: Tensor = self.head(self.norm(self.layers(hidden)))
        return logits

    def _initialise(self) -> None:
        nn.init.normal_(self.tokens.weight, std=self.tokens.embedding_dim**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class RelativeAttention(nn.Module):
    """Map x (n, T, d) to Σ_{s<=t} a_ts v_s, a_t = softmax_s(q_t·(k_s + r_{t-s}) / √d_head), projected.

    A vector r belongs to each distance t-s, shared by the heads. All q_t·r are one call of a linear
    layer, T x L with L = length; shifting row t by t places puts them where t-s is the distance
    ("skewing"), so that no tensor T x T x d_head is formed.

    Args:
        length: Largest number of positions, and so of distances, L.
        n_heads: Number of heads.
        width: Length d of a vector, a multiple of the heads.
        dropout: Probability that an attention weight is dropped in train mode.

    Raises:
        ValueError: If the width is no multiple of the number of heads, or inputs are
            longer than L.

    Reference:
        Shaw et al., Self-Attention with Relative Position Representations, NAACL 2018.
    """

    def __init__(self, length: int, n_heads: int, width: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, n_heads)
        self.n_heads = n_heads
        self.project = nn.Linear(width, 3 * width)
        # Row j is r of the distance L-1-j. As a layer it has a rule for gradients per sample.
        self.distances = nn.Linear(width // n_heads, length, bias=False)
        self.output = nn.Linear(width, width)
        self.weight_dropout = StatelessDropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, T, d) of inputs (n, T, d), T <= length."""
        n_positions, length = inputs.shape[1], self.distances.out_features
        check_positions(inputs, length)
        query, key, value = heads_of(self.project(inputs), self.n_heads)
        relative = skewed(self.distances(query)[..., length - n_positions :])
        scores = (query @ key.mT + relative) / math.sqrt(query.shape[-1])
        mixed = self.weight_dropout(causal_softmax(scores)) @ value
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result


class _Layer(nn.Module):
    """h ← norm(h + attention(h)), then h ← norm(h + W₂ relu(W₁ h)), for h (n, T, d)."""

    def __init__(self, length: int, n_heads: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            RelativeAttention(length, n_heads, width, dropout), StatelessDropout(dropout)
        )
        self.attention_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            StatelessDropout(dropout),
            nn.Linear(hidden, width),
            StatelessDropout(dropout),
        )
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.attention_norm(hidden + self.attention(hidden))
        hidden = self.mlp_norm(hidden + self.mlp(hidden))
        return hidden


def skewed(relative: Tensor) -> Tensor:
    """Return z (..., T, T) with z[t, s] = x[t, T-1-(t-s)] for s <= t, of x (..., T, T).

    One column of zeros before x, read as T+1 rows of T, moves row t by T-1-t places to the left.
    What comes out at s > t has no meaning.

    Example:
        >>> skewed(torch.tensor([[1, 2], [3, 4]])).tril()
        tensor([[2, 0],
                [3, 4]])
    """
    t = relative.shape[-1]
    return F.pad(relative, (1, 0)).flatten(-2).unflatten(-1, (t + 1, t))[..., 1:, :]


def sinusoids(n_positions: int, like: Tensor) -> Tensor:
    """Return the position vectors (T, d): sin and cos of t / 10000^(2i/d), i = 0 … d/2 - 1.

    Args:
        n_positions: T.
        like: Tensor (..., d) whose device and dtype they take.
    """
    d = like.shape[-1]
    places = torch.arange(n_positions, device=like.device)[:, None]
    steps = torch.arange(0, d, 2, device=like.device)
    angles = places * torch.exp(steps * (-math.log(10_000.0) / d))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1).to(like.dtype)
