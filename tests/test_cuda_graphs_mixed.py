"""Any order of replays, steps and changes: the GPU's optimizer stays equal to the one on the CPU."""

from typing import Any

import pytest
from cuda_cases import RULES
from cuda_places import Graph, Place, Sides
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cuda_graphs_changed import CHANGES, LR_SCALE, Change, on_both, recorded, replay

pytestmark = [
    pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside"),
    pytest.mark.filterwarnings("ignore:The checkpoint has another schedule"),
    pytest.mark.filterwarnings("ignore:A CUDA graph has recorded an update whose learning rate"),
]
STEPS = ["step", "step without gradients", "some gradients", "sync", "record again"]


def actions_of(rule: str) -> st.SearchStrategy[list[Any]]:
    replays = st.integers(1, 4)
    return st.lists(st.one_of(replays, st.sampled_from([*STEPS, *CHANGES[rule].values()])), max_size=12)


def without_gradients(both: Sides, absent: set[int]) -> None:
    """A step in which these parameters have none; what a graph reads stays where it is."""
    places = [place for place in range(len(both.params)) if place in absent]
    held = [(both.params[place].grad, both.copies[place].grad) for place in places]
    for place in places:
        both.params[place].grad = both.copies[place].grad = None
    both.step()
    for place, (ours, theirs) in zip(places, held, strict=True):
        both.params[place].grad, both.copies[place].grad = ours, theirs


def act(both: Sides, graph: Graph, action: int | str | Change) -> Graph:
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
        if action is LR_SCALE:  # once the CPU's optimizer has seen what the schedule has here
            replay(both, graph, 1)
        assert callable(action)
        on_both(both, action)
        if action is LR_SCALE:  # which shows in its groups after a step
            replay(both, graph, 1)
    return graph


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_of_replays_steps_and_changes(rule: str, place: Place, data: st.DataObject) -> None:
    both, graph = recorded(place, RULES[rule], warm_up=data.draw(st.integers(0, 2)))
    for action in data.draw(actions_of(rule)):
        graph = act(both, graph, action)
    both.gpu.sync()
    both.check("after sync")
    both.step()
    both.check("after a step")
