"""Small GPT-2 models of Hugging Face, made here: nothing is downloaded."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

__all__ = ["gpt2", "lora_gpt2"]


class Logits(nn.Module):
    """A language model that returns its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens).logits


def gpt2(vocabulary: int = 11, positions: int = 6, width: int = 6, layers: int = 1) -> nn.Module:
    """Return GPT-2 with random parameters; its embedding is its output layer too."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary, n_positions=positions, n_embd=width, n_layer=layers, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return Logits(GPT2LMHeadModel(config))


def lora_gpt2() -> nn.Module:
    """Return GPT-2 of which only adapters are trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in an old way
        return Logits(get_peft_model(gpt2().model, config))
