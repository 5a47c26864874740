"""The counts in a state's "step" beside those of the GPUs: what is changed on either side reaches the other."""

import itertools

import pytest
import torch
from cuda_cases import RULES, counts
from cuda_places import Place, dense
from test_cuda_state import sides


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("recorded", [False, True])
def test_counts_that_somebody_changes(recorded: bool, name: str, place: Place) -> None:
    """Of one parameter, of all, and back; in the tensor, or by another one."""
    both = sides(place, RULES[name])
    both.updates(range(4), dense)
    if recorded:
        both.refill(4)
        with place.capture() as graph:
            both.gpu.step()
        graph.replay()
        both.cpu.step()
        both.gpu.sync()
    for turn, place_of in enumerate(([1], [0, 1, 2, 3, 4, 5], [5], [3, 4])):
        for side, params in ((both.cpu, both.params), (both.gpu, both.copies)):
            for i in place_of:
                side.state[params[i]]["step"] = torch.tensor(float(2 * turn))
                side.state[params[i]]["step"] += 1
        both.updates(range(turn, turn + 2), dense)
    both.gpu.sync()
    both.check("after sync")


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_amsgrad_comes_and_goes(name: str, place: Place) -> None:
    """Its state begins with zeros in the midst of a training, and stays as it is while nothing asks for it."""
    both = sides(place, RULES[name])
    for turn, amsgrad in zip(range(8), itertools.cycle([False, True]), strict=False):
        for side in (both.cpu, both.gpu):
            side.param_groups[turn // 2 % 2]["amsgrad"] = amsgrad
        both.updates(range(2 * turn, 2 * turn + 2))
    assert len({*counts(both.gpu)}) > 1


def test_a_count_that_goes_back_on_one_of_two_devices(place: Place) -> None:
    """The other device knows the higher one."""
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    both = sides(place, RULES["AdamW"], (0, 1))
    both.updates(range(3), dense)
    both.refill(3)
    for device in (0, 1):
        held = [copy.grad for copy in both.copies]
        for i, copied in enumerate(both.copies):
            copied.grad = held[i] if i % 2 == device else None
        with place.capture(device):
            both.gpu.step()
        for copied, grad in zip(both.copies, held, strict=True):
            copied.grad = grad
    both.gpu.sync()
    for side, params in ((both.cpu, both.params), (both.gpu, both.copies)):
        for param in params:
            side.state[param]["step"].fill_(0.0)
    both.updates(range(4, 6), dense)
    both.gpu.sync()
    both.check("after sync")
