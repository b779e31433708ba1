"""Labels in batches of every kind, against the losses of transformers where these have one."""

from collections import UserDict
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from headwater import AttributionTask
from headwater.attributors import GradDot
from headwater.labels import position_labels, with_labels
from headwater.targets import causal, check_shift, cross_entropy, log_probability, logit, margin

TARGETS = [cross_entropy, log_probability, logit, margin]
BATCH = torch.arange(15.0, dtype=torch.float64).sin().view(5, 3), torch.tensor([0, 2, 1, 1, 0])


def encoding(items):
    from transformers import BatchEncoding

    return BatchEncoding(items)


@pytest.mark.parametrize("kind", [dict, UserDict, encoding])
def test_a_mapping_holds_labels_beside_the_arguments_of_the_model(kind):
    logits, labels = BATCH
    batch = kind({"x": logits, "scale": torch.tensor(2.0), "labels": labels})
    model = lambda *, x, scale: scale * x  # noqa: E731
    for target in TARGETS:
        assert torch.equal(target(model, batch), target(nn.Identity(), (2 * logits, labels)))
    other = with_labels(batch, labels + 1)
    assert type(other) is type(batch)
    assert torch.equal(other["labels"], labels + 1)
    assert batch["labels"] is labels


def test_a_tuple_may_hold_several_inputs():
    logits, labels = BATCH
    found = logit(lambda x, y: x + y, [logits, logits, labels])
    assert torch.equal(found, logit(nn.Identity(), (2 * logits, labels)))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.ones(3, 2), "must be .inputs, labels. or a mapping with 'labels', got Tensor"),
        ({"input_ids": torch.ones(3)}, "got dict with input_ids; add the labels"),
        ((torch.ones(3, 2), "task"), "labels must be int64, got str"),
    ],
)
def test_batches_without_labels_are_refused(batch, message):
    for target in TARGETS:
        with pytest.raises(ValueError, match=message):
            target(nn.Identity(), batch)


def test_tokens_as_their_own_labels_are_refused():
    batch = {"input_ids": TOKENS, "attention_mask": MASK, "labels": TOKENS}
    with pytest.raises(ValueError, match=r"its own input_ids; .*targets.causal"):
        GradDot(AttributionTask(tiny_gpt2(), cross_entropy)).cache([batch])
    few = torch.where(TOKENS == 4, TOKENS, -100)  # of masked language models some stay as they are
    for target, given in ((causal(cross_entropy), TOKENS), (cross_entropy, few)):
        check_shift(target, {**batch, "labels": given})


def test_what_is_no_sequence_is_refused():
    with pytest.raises(ValueError, match=r"positions >= 2\), got \(5,\)"):
        causal(margin)(nn.Identity(), BATCH)
    wrong = {"input_ids": TOKENS, "attention_mask": MASK[:, :3]}
    with pytest.raises(ValueError, match=r"attention_mask must have the shape.*got \(3, 3\)"):
        causal(margin)(nn.Identity(), wrong)


# Language models -------------------------------------------------------------------------------

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 0, 0], [8, 9, 7, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])


def tiny_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=8, vocab_size=11, n_positions=8, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval().double()


def test_causal_cross_entropy_is_the_loss_of_transformers():
    model, labels = tiny_gpt2(), TOKENS.masked_fill(MASK == 0, -100)
    batch = {"input_ids": TOKENS, "attention_mask": MASK}
    found = causal(cross_entropy)(model, batch)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=0.0, check_dtype=False)
    for i in range(3):
        rows = {name: t[i : i + 1] for name, t in batch.items()}
        mean = model(**rows, labels=labels[i : i + 1]).loss
        close(found[i], mean * (MASK[i].sum() - 1))  # theirs is float32
    # Labels of one's own, on some tokens only, as for answers to a prompt.
    labels[:, :2] = -100
    answered = causal(cross_entropy)(model, with_labels(batch, labels)).sum()
    count = (labels[:, 1:] != -100).sum()
    close(answered, model(**batch, labels=labels).loss * count)
    torch.testing.assert_close(softplus(-causal(margin)(model, batch)), found, rtol=1e-10, atol=0.0)


def test_cross_entropy_is_the_loss_of_a_masked_language_model_of_transformers():
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    model = BertForMaskedLM(config).eval().double()
    labels = torch.full_like(TOKENS, -100)
    labels[0, 1], labels[1, :3], labels[2, 0] = 7, TOKENS[1, :3], 5
    batch = {"input_ids": TOKENS, "attention_mask": MASK, "labels": labels}
    found = cross_entropy(model, batch).sum()
    torch.testing.assert_close(found, model(**batch).loss * 5)


def test_padding_predicts_nothing_and_is_not_predicted():
    for before, after in ((0, 2), (2, 0), (1, 1)):
        tokens = nn.functional.pad(torch.tensor([[5, 6, 7]]), (before, after))
        mask = nn.functional.pad(torch.ones(1, 3), (before, after))
        found = position_labels({"input_ids": tokens, "attention_mask": mask}, causal=True)
        wanted = nn.functional.pad(torch.tensor([[6, 7]]), (before, after + 1), value=-100)
        assert torch.equal(found, wanted)
