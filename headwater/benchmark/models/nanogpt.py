"""A small GPT over characters."""

import math

import torch
from torch import Tensor, nn

from headwater.benchmark.models.attention import (
    causal_softmax,
    check_heads,
    check_positions,
    heads_of,
)
from headwater.benchmark.models.dropout import StatelessDropout

__all__ = ["NanoGPT"]


class NanoGPT(nn.Module):
    """Map tokens (n, T) to logits (n, T, n_tokens) of the token that follows each position.

    h = E[tokens] + P[0 … T-1]; in each layer h ← h + attention(norm(h)), h ← h + mlp(norm(h));
    logits = norm(h) Eᵀ: one matrix E embeds tokens and scores them. No layer has a bias. 10,745,088
    parameters at the default sizes.

    Weights start as N(0, 0.02²), those of the last projection of each branch as N(0, 0.02² / 2L)
    with L layers, so that the sum of 2L branches does not grow with L.

    Args:
        n_tokens: Number of different tokens.
        length: Largest number of positions T.
        n_layers: Number of layers L.
        n_heads: Attention heads of a layer.
        width: Length d of the vector h at a position, a multiple of the heads.
        dropout: Probability that an element is dropped in train mode: of the embeddings, the
            attention weights and the output of each branch.

    Raises:
        ValueError: If the width is no multiple of the number of heads, or inputs are longer than
            the length.

    Reference:
        Radford et al., Language Models are Unsupervised Multitask Learners, 2019 (GPT-2).
    """

    def __init__(
        self,
        n_tokens: int = 65,
        length: int = 256,
        n_layers: int = 6,
        n_heads: int = 6,
        width: int = 384,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(n_tokens, width)
        self.positions = nn.Embedding(length, width)
        self.dropout = StatelessDropout(dropout)
        self.layers = nn.Sequential(*(_Layer(width, n_heads, dropout) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, n_tokens, bias=False)
        self.head.weight = self.tokens.weight
        self._initialise(n_layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, T, n_tokens) of tokens int64 (n, T), T <= length."""
        check_positions(inputs, self.positions.num_embeddings)
        positions = torch.arange(inputs.shape[1], device=inputs.device)
        hidden = self.dropout(self.tokens(inputs) + self.positions(positions))
        logits: Tensor = self.head(self.norm(self.layers(hidden)))
        return logits

    def _initialise(self, n_layers: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, _CausalAttention | _MLP):
                nn.init.normal_(module.output.weight, std=0.02 / math.sqrt(2 * n_layers))


class _Layer(nn.Module):
    """h ← h + attention(norm(h)), then h ← h + mlp(norm(h)), for h (n, T, d)."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.attention = _CausalAttention(width, n_heads, dropout)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.mlp = _MLP(width, dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden))
        hidden = hidden + self.mlp(self.mlp_norm(hidden))
        return hidden


class _CausalAttention(nn.Module):
    """Σ_{s<=t} a_ts v_s with a_t = softmax_s(q_t·k_s / √d_head), in each head; then projected."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, n_heads)
        self.n_heads = n_heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.weight_dropout = StatelessDropout(dropout)
        self.dropout = StatelessDropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = heads_of(self.project(hidden), self.n_heads)
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        mixed = self.weight_dropout(causal_softmax(scores)) @ value
        result: Tensor = self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        return result


class _MLP(nn.Module):
    """GELU between two linear layers, four times wider than h."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.input = nn.Linear(width, 4 * width, bias=False)
        self.activation = nn.GELU()
        self.output = nn.Linear(4 * width, width, bias=False)
        self.dropout = StatelessDropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.output(self.activation(self.input(hidden))))
        return result
