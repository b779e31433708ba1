"""The logits in outputs of every kind."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from headwater.model_outputs import empty_output, logits_of, replace_logits
from headwater.targets import cross_entropy, log_probability, logit, margin

TARGETS = [cross_entropy, log_probability, logit, margin]
BATCH = torch.arange(15.0, dtype=torch.float64).sin().view(5, 3), torch.tensor([0, 2, 1, 1, 0])

Named = namedtuple("Named", ["hidden", "logits"])
OUTPUTS = {
    "dict": lambda z: {"loss": None, "logits": z},
    "tuple": lambda z: (z, torch.ones(3)),
    "list": lambda z: [z],
    "named tuple": lambda z: Named(torch.ones(3), z),
    "object": lambda z: SimpleNamespace(logits=z, hidden=torch.ones(3)),
    "tensor": lambda z: z,
}


@pytest.mark.parametrize("kind", [*OUTPUTS, "ModelOutput"])
def test_logits_are_found_and_replaced_in_every_output(kind):
    from transformers.modeling_outputs import SequenceClassifierOutput

    make = OUTPUTS.get(kind) or (lambda z: SequenceClassifierOutput(logits=z, hidden_states=(z,)))
    logits, labels = BATCH
    output = make(logits)
    for target in TARGETS:
        found = target(lambda _: output, (logits, labels))
        assert torch.equal(found, target(nn.Identity(), (logits, labels)))
    for start in (output, empty_output(output)):
        other = replace_logits(start, logits + 1)
        assert type(other) is type(output)
        assert torch.equal(logits_of(other), logits + 1)
    assert logits_of(output) is logits
    if kind == "ModelOutput":
        assert torch.equal(other["logits"], logits + 1)
        assert list(other) == ["logits"]


@pytest.mark.parametrize(
    ("output", "got"), [({"hidden": 1}, "dict with hidden"), ("text", "str"), ((), "tuple")]
)
def test_what_is_no_output_is_refused(output, got):
    for f in (logits_of, lambda output: margin(lambda _: output, BATCH)):
        with pytest.raises(ValueError, match=f"must return its logits as .*got {got}"):
            f(output)
