"""LoRA: which fine-tuning samples taught a model what it does now?

A small language model learns Tiny Shakespeare, then adapters of rank 4 (peft) are fine-tuned on more of
it, a fifth of it in capitals. Attribution needs the adapters' gradients only; the samples that support a
new text in capitals are those in capitals.
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from headwater import AttributionTask
from headwater.attributors import InfluenceFunction
from headwater.curvature import EKFAC
from headwater.solvers import Eigenbasis
from headwater.targets import causal, cross_entropy, log_probability

DATA = Path(__file__).parents[1] / "data"
LENGTH, COUNT = 48, 240
loss = causal(cross_entropy)  # of each sequence, a sum over its tokens


def fit(model, blocks, epochs, rate):
    """Train on blocks of tokens (n, T), as any loop would."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    for _ in range(epochs):
        for tokens in blocks[torch.randperm(len(blocks))].split(16):
            optimizer.zero_grad()
            loss(model, {"input_ids": tokens}).mean().backward()
            optimizer.step()


torch.manual_seed(0)
text = (DATA / "shakespeare.txt").read_text()
characters = sorted(set(text))
texts = [text[start : start + LENGTH] for start in range(0, 2 * COUNT * LENGTH, LENGTH)]
capitals = torch.arange(COUNT, 2 * COUNT) % 5 == 0  # of the fine-tuning texts
texts[COUNT::5] = [t.upper() for t in texts[COUNT::5]]
blocks = torch.tensor([[characters.index(c) for c in t] for t in texts])

size = {"n_layer": 2, "n_head": 2, "n_embd": 48, "n_positions": LENGTH}
config = GPT2Config(vocab_size=len(characters), **size, bos_token_id=None, eos_token_id=None)
base = GPT2LMHeadModel(config)
fit(base, blocks[:COUNT], epochs=4, rate=3e-3)
adapters = LoraConfig(r=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
tuned = get_peft_model(base, adapters)
fit(tuned, blocks[COUNT:], epochs=8, rate=3e-3)

passage = text[-LENGTH:].upper()
train = [{"input_ids": tokens} for tokens in blocks[COUNT:].split(32)]
test = [{"input_ids": torch.tensor([[characters.index(c) for c in passage]])}]

task = AttributionTask(tuned, loss, target=causal(log_probability))
attributor = InfluenceFunction(task, Eigenbasis(damping="auto"), EKFAC()).cache(train)
scores = attributor.attribute(train, test)[:, 0]  # (n_train,)

best = scores.topk(10).indices
whole = sum(p.numel() for p in tuned.parameters())
print(f"Gradients of {task.layout.size} numbers, of a model of {whole}")
print(f"{capitals[best].sum()} of the 10 best supporters of a text in capitals are in capitals")
