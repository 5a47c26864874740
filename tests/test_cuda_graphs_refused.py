"""Steps that a CUDA graph cannot record: refused with nothing changed."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from adam_cases import refused
from cuda_cases import Rule, each_rule
from cuda_places import Place, Sides, dense, normal
from sgd_cases import assert_same_bits
from torch import Tensor

import fastlr
from fastlr import schedules

RATE = schedules.Linear(0.1, 0.01, 40)


def leaves() -> list[Tensor]:
    return [normal(size, seed=size) for size in (5, 1, 131, 17)]


def refuses(both: Sides, text: str) -> None:
    """A step in a capture raises and changes nothing; the capture goes on with what else was recorded."""
    before = [both.place.back(copy) for copy in both.copies]
    scratch = both.place.put(torch.zeros(3))
    with both.place.capture() as graph:
        scratch.add_(1.0)
        with refused(both.gpu, RuntimeError, match=text):
            both.gpu.step()
    graph.replay()
    assert_same_bits([both.place.back(copy) for copy in both.copies], before)


def sides(
    place: Place, rule: Rule, params: Sequence[Tensor], devices: Sequence[int | None] = (0,), warm_up: int = 0
) -> Sides:
    both = Sides(place, params, lambda params: rule(params, lr=RATE), devices)
    both.updates(range(warm_up), dense)
    both.give(9, dense)
    return both


@each_rule
@pytest.mark.parametrize("warm_up", [0, 2])
def test_parameters_on_the_cpu(warm_up: int, rule: Rule, place: Place) -> None:
    both = sides(place, rule, leaves(), (0, None), warm_up)
    refuses(both, "A captured step has parameters on the CPU: 2")
    both.step()
    both.check()


@each_rule
@pytest.mark.parametrize("warm_up", [0, 2])
def test_a_gpu_that_is_not_captured(warm_up: int, rule: Rule, place: Place) -> None:
    """Its part would run at once."""
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    both = sides(place, rule, leaves(), (0, 1), warm_up)
    refuses(both, "A captured step has parameters on GPUs that are not captured: 1")
    both.step()
    both.check()


@each_rule
def test_views_with_gaps_that_follow_a_schedule(rule: Rule, place: Place) -> None:
    """torch's operators would be recorded with the present rate."""
    both = sides(place, rule, [*leaves(), normal(40).detach()[::2]])
    text = "A captured step has parameters that follow a schedule and only torch's operators can update: 1"
    refuses(both, text)
    both.gpu.step()
    assert both.gpu.step_count == 1


@each_rule
def test_nothing_but_views_with_gaps(rule: Rule, place: Place) -> None:
    both = sides(place, rule, [normal(40).detach()[::2]])
    refuses(both, "only torch's operators can update: 1")


@each_rule
def test_a_gradient_of_another_dtype(rule: Rule, place: Place) -> None:
    both = sides(place, rule, leaves())
    both.copies[1].grad = None
    both.copies[1].data = both.copies[1].data.double()
    both.copies[1].grad = torch.ones_like(both.copies[1])
    both.copies[1].data = both.copies[1].data.float()
    refuses(both, "A gradient has another dtype than its parameter: float64 .* on GPU 0 for float32")


def ask_for_momentum(optimizer: fastlr.SGD) -> None:
    optimizer.set_schedule(momentum=0.9)


def ask_for_amsgrad(optimizer: fastlr.Adam) -> None:
    for group in optimizer.param_groups:
        group["amsgrad"] = True
    optimizer.sync()


WITHOUT: dict[str, tuple[Callable[[list[Tensor]], Any], Callable[[Any], None]]] = {
    "momentum": (lambda params: fastlr.SGD(params, lr=RATE), ask_for_momentum),
    "amsgrad": (lambda params: fastlr.Adam(params, lr=RATE), ask_for_amsgrad),
}


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.filterwarnings("ignore:A CUDA graph has recorded an update whose learning rate")
def test_state_that_is_asked_for_after_a_step_was_recorded_without(name: str, place: Place, synced: bool) -> None:
    """There is no memory for it: a warning says that replays go on as they were."""
    make, ask = WITHOUT[name]
    both = Sides(place, leaves(), make)
    both.give(0, dense)
    with place.capture() as graph:
        both.gpu.step()
    with pytest.warns(UserWarning, match="has recorded an update without some state"):
        ask(both.gpu)
    graph.replay(2)
    for _ in range(2):
        both.cpu.step()
    ask(both.cpu)
    if synced:
        both.gpu.sync()
        both.check("after replays")
    both.give(2, dense)
    both.step()  # makes the state
    both.gpu.sync()
    both.check("after the state was made")
    both.updates(range(3, 5), dense)
