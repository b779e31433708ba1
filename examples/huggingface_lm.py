"""A Hugging Face language model: which training text does a passage come from, token by token?

A small GPT-2, built from a configuration (no hub), learns some hundred blocks of Tiny Shakespeare. The
passage to explain is the first half of one training block and the second half of another: scores per
sequence find both, scores per token say which half came from which.
"""

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headwater import AttributionTask
from headwater.attributors import GradCos, GradDot
from headwater.targets import causal, cross_entropy, log_probability

DATA = Path(__file__).parents[1] / "data"
LENGTH, COUNT = 48, 240

torch.manual_seed(0)
text = (DATA / "shakespeare.txt").read_text()[: LENGTH * COUNT]
characters = sorted(set(text))
blocks = torch.tensor([characters.index(c) for c in text]).view(COUNT, LENGTH)

size = {"n_layer": 2, "n_head": 2, "n_embd": 48, "n_positions": LENGTH}
config = GPT2Config(
    vocab_size=len(characters), **size, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    bos_token_id=None, eos_token_id=None,
)  # fmt: skip
model = GPT2LMHeadModel(config)
loss = causal(cross_entropy)  # of each sequence, a sum over its tokens
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(8):
    for tokens in blocks[torch.randperm(COUNT)].split(16):
        optimizer.zero_grad()
        loss(model, {"input_ids": tokens}).mean().backward()
        optimizer.step()

first, second = 20, 150
passage = torch.cat([blocks[first, : LENGTH // 2], blocks[second, LENGTH // 2 :]])
train = [{"input_ids": tokens} for tokens in blocks.split(32)]
test = [{"input_ids": passage[None]}]

# What is explained is the log-probability of the passage: what supports it has positive scores.
task = AttributionTask(model, loss, target=causal(log_probability))
by_sequence = GradCos(task).cache(train).attribute(train, test)[:, 0]  # (n_train,)
attributor = GradDot(task).cache(train)
by_token = attributor.attribute(train, test, per_token="test")[:, 0]  # (n_train, T)

sources = by_sequence.topk(2).indices.sort().values.tolist()
halves = (
    by_token[[first, second]].unflatten(1, (2, LENGTH // 2)).sum(2)
)  # of each source, each half
print(f"The passage comes from blocks {sources} (made of {first} and {second})")
for source, (one, two) in zip((first, second), halves.tolist(), strict=True):
    print(f"Block {source} supports its first half by {one:.2f}, its second half by {two:.2f}")
