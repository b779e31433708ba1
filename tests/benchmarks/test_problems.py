import re

import pytest
import torch

from benchmarks import nets, shakespeare
from benchmarks.methods import METHODS, PROBLEMS
from benchmarks.problem import SETTINGS


def test_every_problem_has_a_net_a_setting_and_rows_of_its_own() -> None:
    keys = {problem.key for problem in PROBLEMS}
    assert keys == set(nets.NETS) == set(SETTINGS) == {method.problem for method in METHODS}
    rows = [(method.problem, method.key) for method in METHODS]
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("net", [*nets.NETS.values(), nets.ResNet9])
def test_a_net_has_as_many_parameters_as_it_says(net) -> None:
    found = re.search(r"([\d,]+) parameters", net.__doc__)
    assert sum(p.numel() for p in net().parameters()) == int(found[1].replace(",", ""))


def test_the_trained_and_the_measured_nets_are_the_same() -> None:
    for name, net in nets.NETS.items():
        trained, measured = (make().state_dict() for make in (SETTINGS[name].make_model, net))
        assert {k: t.shape for k, t in trained.items()} == {k: t.shape for k, t in measured.items()}


def test_norms_and_embeddings_are_not_attributed_to() -> None:
    for net in nets.NETS.values():
        model = net()
        kinds = {type(model.get_submodule(name)) for name in nets.attributed_layers(model)}
        assert kinds <= {torch.nn.Linear, torch.nn.Conv2d}
    assert len(nets.attributed_layers(nets.ConvNet())) == 5
    assert len(nets.attributed_layers(nets.Gpt())) == 2 * 6 + 1


def test_the_transformer_looks_at_no_later_character() -> None:
    model = nets.Gpt().eval()
    tokens = torch.randint(65, (2, 64))
    changed = tokens.clone()
    changed[:, 40:] = torch.randint(65, (2, 24))
    logits, others = model(tokens), model(changed)
    assert torch.allclose(logits[:, :40], others[:, :40], atol=1e-6)
    assert not torch.allclose(logits[:, 40:], others[:, 40:], atol=1e-3)


def test_labels_are_the_characters_that_follow(mirror, tmp_path, monkeypatch) -> None:
    inputs, labels = shakespeare.sequences("to be or not", length=5)
    assert inputs.shape == labels.shape == (2, 5)
    assert torch.equal(inputs.flatten()[1:], labels.flatten()[:-1])
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    samples = shakespeare.load_sequences(tmp_path)
    assert samples.train_inputs.unique().tolist() == list(range(nets.Gpt.CHARACTERS))
    assert samples.train_inputs.shape[1:] == samples.test_labels.shape[1:] == (nets.Gpt.LENGTH,)
    assert len(samples.train_inputs) == pytest.approx(9 * len(samples.test_inputs), rel=0.01)


def test_a_mirror_without_the_text_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="must hold shakespeare"):
        shakespeare.find_text(tmp_path)
