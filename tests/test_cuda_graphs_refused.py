"""Steps that a CUDA graph cannot record: refused with nothing changed."""

from collections.abc import Sequence

import pytest
import torch
from cuda_places import Place, Sides, dense, normal
from sgd_cases import assert_unchanged, snapshot
from torch import Tensor

import fastlr
from fastlr import schedules

RATE = schedules.Linear(0.1, 0.01, 40)


def leaves() -> list[Tensor]:
    return [normal(size, seed=size) for size in (5, 1, 131, 17)]


def make(params: list[Tensor]) -> fastlr.SGD:
    return fastlr.SGD(params, lr=RATE, momentum=0.9)


def refuses(both: Sides, text: str) -> None:
    """A step in a capture raises and changes nothing; the capture goes on with what else was recorded."""
    before, scratch = snapshot(both.gpu), both.place.put(torch.zeros(3))
    with both.place.capture() as graph:
        scratch.add_(1.0)
        with pytest.raises(RuntimeError, match=text):
            both.gpu.step()
    assert_unchanged(both.gpu, before)
    graph.replay()
    assert_unchanged(both.gpu, before)


def sides(place: Place, params: Sequence[Tensor], devices: Sequence[int | None] = (0,), warm_up: int = 0) -> Sides:
    both = Sides(place, params, make, devices)
    both.updates(range(warm_up), dense)
    both.give(9, dense)
    return both


@pytest.mark.parametrize("warm_up", [0, 2])
def test_parameters_on_the_cpu(warm_up: int, place: Place) -> None:
    both = sides(place, leaves(), (0, None), warm_up)
    refuses(both, "A captured step has parameters on the CPU: 2")
    both.step()
    both.check()


@pytest.mark.parametrize("warm_up", [0, 2])
def test_a_gpu_that_is_not_captured(warm_up: int, place: Place) -> None:
    """Its part would run at once."""
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    both = sides(place, leaves(), (0, 1), warm_up)
    refuses(both, "A captured step has parameters on GPUs that are not captured: 1")
    both.step()
    both.check()


def test_views_with_gaps_that_follow_a_schedule(place: Place) -> None:
    """torch's operators would be recorded with the present rate."""
    both = sides(place, [*leaves(), normal(40).detach()[::2]])
    text = "A captured step has parameters that follow a schedule and only torch's operators can update: 1"
    refuses(both, text)
    both.gpu.step()
    assert both.gpu.step_count == 1


def test_nothing_but_views_with_gaps(place: Place) -> None:
    both = sides(place, [normal(40).detach()[::2]])
    refuses(both, "only torch's operators can update: 1")


def test_a_gradient_of_another_dtype(place: Place) -> None:
    both = sides(place, leaves())
    both.copies[1].grad = None
    both.copies[1].data = both.copies[1].data.double()
    both.copies[1].grad = torch.ones_like(both.copies[1])
    both.copies[1].data = both.copies[1].data.float()
    refuses(both, "A gradient has another dtype than its parameter: float64 .* on GPU 0 for float32")


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.filterwarnings("ignore:A CUDA graph has recorded an update whose learning rate")
def test_momentum_that_comes_after_a_step_was_recorded_without(place: Place, synced: bool) -> None:
    """There are no buffers for it: a warning says that replays go on as they were."""
    both = Sides(place, leaves(), lambda params: fastlr.SGD(params, lr=RATE))
    both.give(0, dense)
    with place.capture() as graph:
        both.gpu.step()
    with pytest.warns(UserWarning, match="has recorded an update without momentum"):
        both.gpu.set_schedule(momentum=0.9)
    graph.replay(2)
    for _ in range(2):
        both.cpu.step()
    both.cpu.set_schedule(momentum=0.9)
    if synced:
        both.gpu.sync()
        both.check("after replays")
    both.give(2, dense)
    both.step()  # makes the buffers
    both.gpu.sync()
    both.check("after buffers were made")
    both.updates(range(3, 5), dense)
