"""Any order of replays, steps and changes: the GPU's optimizer stays equal to the one on the CPU."""

from typing import Any

import pytest
from cuda_places import Graph, Place, Sides
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cuda_graphs_changed import CHANGES, on_both, recorded, replay

pytestmark = [
    pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside"),
    pytest.mark.filterwarnings("ignore:The checkpoint has another schedule"),
    pytest.mark.filterwarnings("ignore:A CUDA graph has recorded an update whose learning rate"),
]
ACTIONS = st.one_of(
    st.integers(1, 4),  # replays
    st.sampled_from(["step", "step without gradients", "some gradients", "sync", "record again", *CHANGES]),
)


def without_gradients(both: Sides, absent: set[int]) -> None:
    """A step in which these parameters have none; what a graph reads stays where it is."""
    places = [place for place in range(len(both.params)) if place in absent]
    held = [(both.params[place].grad, both.copies[place].grad) for place in places]
    for place in places:
        both.params[place].grad = both.copies[place].grad = None
    both.step()
    for place, (ours, theirs) in zip(places, held, strict=True):
        both.params[place].grad, both.copies[place].grad = ours, theirs


def act(both: Sides, graph: Graph, action: Any) -> Graph:
    if isinstance(action, int):
        replay(both, graph, action)
    elif action == "step":
        both.step()
    elif action == "step without gradients":
        without_gradients(both, {0, 1, 2, 3})
    elif action == "some gradients":
        without_gradients(both, {1, 2})
    elif action == "sync":
        both.gpu.sync()
        both.check()
    elif action == "record again":
        with both.place.capture() as graph:
            both.gpu.step()
    else:
        if action == "lr_scale":  # once the CPU's optimizer has seen what the schedule has here
            replay(both, graph, 1)
        on_both(both, CHANGES[action])
        if action == "lr_scale":  # which shows in its groups after a step
            replay(both, graph, 1)
    return graph


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.lists(ACTIONS, max_size=12))
def test_any_order_of_replays_steps_and_changes(place: Place, warm_up: int, actions: list[Any]) -> None:
    both, graph = recorded(place, warm_up=warm_up)
    for action in actions:
        graph = act(both, graph, action)
    both.gpu.sync()
    both.check("after sync")
    both.step()
    both.check("after a step")
