"""Multi-head attention whose projections are calls of modules, so that hooks see their inputs."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projection(nn.Module):
    """Compute x Wᵀ + b with rows (start, stop) of parameters that its parent owns, by name."""

    def __init__(
        self, parameter: str, rows: tuple[int, int], bias: str | None, bias_rows: tuple[int, int]
    ) -> None:
        super().__init__()
        self.parameter, self.rows = parameter, rows
        self.bias, self.bias_rows = bias, bias_rows

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return x (n, T, d_in) projected to (n, T, rows)."""
        return F.linear(x, weight, bias)

    def extra_repr(self) -> str:
        """Return the rows for printing."""
        return f"{self.parameter}[{self.rows[0]}:{self.rows[1]}]"


class ExplicitAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention with every projection a call of a child, batch first.

    Parameters, state dict, arguments and results are those of nn.MultiheadAttention off its fast
    path, but for rounding. With one input for query, key and value `project_qkv` is called; with one
    for key and value `project_q` and `project_kv`; otherwise, or with weights of their own, `project_q`,
    `project_k` and `project_v`; then `out_proj`. All see (n, T, d), an unbatched input as a batch of one.
    A nested tensor is left to nn.MultiheadAttention, which calls no child. ValueError if there is a
    `bias_k` or a row of zeros to attend to.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._add_projections()

    @classmethod
    def of(cls, module: nn.MultiheadAttention) -> ExplicitAttention:
        """Return an attention with the parameters, buffers, hooks and mode of a given one."""
        new = cls.__new__(cls)
        # The hooks stay in the same dicts: handles of the given module still remove them.
        new.__dict__.update(module.__dict__, _modules=dict(module._modules))
        new._add_projections()
        return new

    def _add_projections(self) -> None:
        if not _can_be_explicit(self):
            raise ValueError(
                "attention must have neither bias_k, bias_v nor add_zero_attn, got one of them; "
                "use nn.MultiheadAttention"
            )
        d = self.embed_dim
        bias = None if self.in_proj_bias is None else "in_proj_bias"
        thirds = {"q": (0, d), "k": (d, 2 * d), "v": (2 * d, 3 * d)}
        if self._qkv_same_embed_dim:
            parts = {**thirds, "qkv": (0, 3 * d), "kv": (d, 3 * d)}
            new = {part: Projection("in_proj_weight", r, bias, r) for part, r in parts.items()}
        else:
            new = {p: Projection(f"{p}_proj_weight", (0, d), bias, r) for p, r in thirds.items()}
        for part, child in new.items():
            self.add_module(f"project_{part}", child.train(self.training))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return softmax(Q Kᵀ / √d_head + mask) V for each head, projected, and the softmax.

        ValueError if shapes do not fit, or `is_causal` comes without a mask.
        """
        if query.is_nested or key.is_nested or value.is_nested:
            rest = (key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
            return super().forward(query, key, value, *rest)
        if is_causal and attn_mask is None:
            raise ValueError("is_causal must come with the causal attn_mask, got None; pass it")
        batched = query.dim() == 3
        if not batched and key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
        q, k, v = self._heads(query, key, value)
        # PyTorch takes the hint only where no other mask has to be merged in.
        hint = is_causal and key_padding_mask is None and not need_weights
        scores = (*q.shape[:3], k.shape[2])
        mask = None if hint else _merge(attn_mask, key_padding_mask, scores, query.dtype)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            logits = (q * math.sqrt(1.0 / self.head_dim)) @ k.transpose(-2, -1)
            if mask is not None:
                logits = logits + mask.to(logits.dtype)
            weights = torch.softmax(logits, dim=-1)
            if p > 0.0:
                weights = F.dropout(weights, p)
            context = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
        else:
            context = F.scaled_dot_product_attention(q, k, v, mask, p, hint)
        result = self.out_proj(context.transpose(1, 2).flatten(2))
        if not batched:
            return result.squeeze(0), None if weights is None else weights.squeeze(0)
        # Contiguous, as PyTorch's is: callers may view() it.
        return result if self.batch_first else result.transpose(0, 1).contiguous(), weights

    def _heads(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Project the inputs with as few calls as can be; return three (N, heads, T, d_head)."""
        _check_inputs(query, key, value, self.batch_first)
        if key is not value or not self._qkv_same_embed_dim:
            inputs = {"q": query, "k": key, "v": value}
        else:
            inputs = {"qkv": query} if query is key else {"q": query, "kv": key}
        parts = [part for names, x in inputs.items() for part in self._project(names, x)]
        heads = (self.num_heads, self.head_dim)
        return [part.unflatten(-1, heads).transpose(1, 2) for part in parts]

    def _project(self, names: str, x: Tensor) -> tuple[Tensor, ...]:
        if x.dim() == 2:
            x = x.unsqueeze(0)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        child: Any = self.get_submodule(f"project_{names}")
        bias = None if child.bias is None else _rows(getattr(self, child.bias), child.bias_rows)
        found = child(x, _rows(getattr(self, child.parameter), child.rows), bias)
        return found.chunk(len(names), dim=-1)


def explicit(model: nn.Module) -> nn.Module:
    """Replace every nn.MultiheadAttention of a model by an ExplicitAttention, in place.

    The new modules share parameters, buffers and hooks with the old ones: state dicts and optimisers
    stay valid. Subclasses, and modules with `bias_k`, `bias_v` or `add_zero_attn`, are left as they
    are. A model that is itself an nn.MultiheadAttention is returned as the module that replaces it.
    """
    new: dict[nn.Module, ExplicitAttention] = {}
    root = nn.ModuleList([model])  # so that the model itself is a child as well
    for parent in list(root.modules()):
        for name, child in list(parent._modules.items()):
            if type(child) is nn.MultiheadAttention and _can_be_explicit(child):
                if child not in new:
                    new[child] = ExplicitAttention.of(child)
                setattr(parent, name, new[child])
    return root[0]


def _can_be_explicit(module: nn.MultiheadAttention) -> bool:
    return module.bias_k is None and module.bias_v is None and not module.add_zero_attn


def _rows(parameter: Tensor, rows: tuple[int, int]) -> Tensor:
    start, stop = rows
    return parameter if stop - start == len(parameter) else parameter[start:stop]


def _merge(
    attn_mask: Tensor | None, padding: Tensor | None, scores: tuple[int, ...], dtype: torch.dtype
) -> Tensor | None:
    """Return the sum of both masks, to add to the scores (N, heads, L, S)."""
    n, heads, *pair = scores
    merged = None
    if attn_mask is not None:
        mask = _additive("attn_mask", attn_mask, dtype, tuple(pair), (n * heads, *pair))
        merged = mask if mask.dim() == 2 else mask.reshape(scores)
    if padding is not None:
        mask = _additive("key_padding_mask", padding, dtype, (n, pair[1]))[:, None, None]
        merged = mask if merged is None else merged + mask
    return merged


def _check_inputs(query: Tensor, key: Tensor, value: Tensor, batch_first: bool) -> None:
    """Raise ValueError unless the inputs are all batched or none is, and their lengths fit."""
    q, k, v = (tuple(x.shape) for x in (query, key, value))
    if len(q) not in (2, 3) or not len(q) == len(k) == len(v):
        raise ValueError(
            "query, key and value must all have three dimensions, or two without a batch, "
            f"got {q}, {k} and {v}; reshape them"
        )
    batch = 0 if batch_first else 1
    if k[:-1] != v[:-1] or (len(q) == 3 and q[batch] != k[batch]):
        raise ValueError(
            "query, key and value must have one batch size, and key and value one length, "
            f"got {q}, {k} and {v} with batch_first={batch_first}; check the layout"
        )


def _additive(name: str, mask: Tensor, dtype: torch.dtype, *shapes: tuple[int, ...]) -> Tensor:
    """Return a mask as numbers to add; raise ValueError unless it has one of the shapes."""
    boolean = mask.dtype == torch.bool
    if tuple(mask.shape) not in shapes or not (boolean or mask.is_floating_point()):
        raise ValueError(
            f"{name} must be bool or float of shape {' or '.join(map(str, shapes))}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}; convert or reshape it"
        )
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf) if boolean else mask
