import torch

from headwater.benchmark.retraining import evaluate_targets
from headwater.benchmark.training import train_model


def test_evaluation_ignores_batching_and_the_global_random_state(setting, samples):
    (trained,) = train_model(setting, samples.train_inputs, samples.train_labels, 0)
    arguments = (setting, trained.state, samples.test_inputs, samples.test_labels)
    before = torch.get_rng_state()
    whole = evaluate_targets(*arguments)
    parts = evaluate_targets(*arguments, batch_size=5)
    assert torch.equal(before, torch.get_rng_state())
    model = setting.make_model().double()
    model.load_state_dict(trained.state)
    model.eval()
    assert whole.keys() == setting.targets.keys()
    for name, target in setting.targets.items():
        expected = target(model, (samples.test_inputs, samples.test_labels)).detach()
        torch.testing.assert_close(whole[name], expected)
        torch.testing.assert_close(parts[name], expected)
