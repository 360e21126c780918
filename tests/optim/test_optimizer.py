"""Every parameter in one group, frozen ones in none; the running mean of the weights by its formula."""

from collections import Counter

import pytest
import torch

from abawkit.models.network import Network
from abawkit.optim.optimizer import WeightAverage, adamw, parameter_groups, trainable
from abawkit.systems.loader import find_systems, load_system


@pytest.mark.parametrize("name", [found.name for found in find_systems()])
@pytest.mark.parametrize("missing", ["zero", "token"])
def test_every_parameter_is_in_one_group_or_frozen(name: str, missing: str) -> None:
    system = load_system(name, {"fusion.missing": missing})
    network = Network(system.network(system.final, dict.fromkeys(system.slots, 3), 6))
    groups = parameter_groups(network, lr=0.1, encoder_lr_scale=0.05)
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    assert set(counts.values()) == {1}
    for key, parameter in network.named_parameters():
        slot = key.split("_")[0]
        frozen = slot in network.frozen
        assert (id(parameter) in counts) != frozen and parameter.requires_grad != frozen, key
        if not frozen:
            (rate,) = [g["lr"] for g in groups if any(parameter is p for p in g["params"])]
            assert rate == pytest.approx(0.1 if "_head" in key else 0.005), key


def test_adamw_takes_one_step_for_all_of_a_group() -> None:
    network = Network(load_system("F1").network("text", {"text": 3}, 6))
    optimizer = adamw(parameter_groups(network, lr=0.1), 0.5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert all(group["fused"] for group in optimizer.param_groups)
    assert {id(p) for p in trainable(optimizer)} == {id(p) for p in network.parameters()}


def test_the_running_mean_of_the_weights() -> None:
    network = Network(load_system("F1").network("text", {"text": 3}, 6)).double()
    average = WeightAverage(network, 0.9)
    parameter = network.state_dict()["text_head.1.weight"]
    expected = parameter.clone()
    for step in range(5):
        with torch.no_grad():
            parameter.add_(step + 1.0)
        average.update(network)
        expected = parameter.clone() if step == 0 else 0.9 * expected + 0.1 * parameter
    got = average.network.state_dict()["text_head.1.weight"]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    other = WeightAverage(network, 0.9)
    other.load_state_dict(average.state_dict())
    for each in (average, other):
        each.update(network)
    assert torch.equal(
        average.network.state_dict()["text_head.1.weight"], other.network.state_dict()["text_head.1.weight"]
    )


def test_a_state_of_the_running_mean_stays_as_it_was() -> None:
    network = Network(load_system("F1").network("text", {"text": 3}, 6))
    average = WeightAverage(network, 0.9)
    average.update(network)
    state = average.state_dict()
    before = {name: values.clone() for name, values in state.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    average.update(network)
    assert all(torch.equal(values, before[name]) for name, values in state.items())
    assert not torch.equal(average.state_dict()["module.text_head.1.bias"], before["module.text_head.1.bias"])
