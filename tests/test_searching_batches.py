"""Batches without end, taken apart and moved; losses that arrive; results as JSON."""

import json
from collections import UserDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastlr.searching.arrivals import Arrivals, read
from fastlr.searching.batches import Batches, device_of, moved, split
from fastlr.searching.files import plain, to_json

META = torch.device("meta")


@pytest.mark.parametrize("length", [1, 2, 31])
def test_batches_come_again_and_are_counted(length: int) -> None:
    batches = Batches(range(length))
    assert [next(batches) for _ in range(70)] == [index % length for index in range(70)]
    assert batches.restarts == 69 // length


def test_a_loader_is_iterated_when_it_begins_again_and_not_before() -> None:
    class Loader:
        begun = 0

        def __iter__(self) -> Any:
            self.begun += 1
            return iter([1, 2])

    loader = Loader()
    batches = Batches(loader)
    assert loader.begun == 0
    assert [next(batches), next(batches), loader.begun] == [1, 2, 1]
    assert [next(batches), loader.begun] == [1, 2]


def test_old_sequences_and_data_sets_are_loaders() -> None:
    class Sequence:
        def __getitem__(self, index: int) -> int:
            if index >= 2:
                raise IndexError(index)
            return index

    batches = Batches(Sequence())  # type: ignore[arg-type]
    assert [next(batches) for _ in range(5)] == [0, 1, 0, 1, 0]


SPLIT: list[tuple[Any, tuple[Any, ...]]] = [
    (("x", "y"), (("x",), {}, "y")),
    (["x", "y"], (("x",), {}, "y")),
    (("a", "b", "c", "y"), (("a", "b", "c"), {}, "y")),
    ({"x": 1, "labels": 2}, ((), {"x": 1}, 2)),
    ({"target": 2, "x": 1}, ((), {"x": 1}, 2)),
    ({"label": 3, "target": 2}, ((), {"target": 2}, 3)),
    (UserDict({"x": 1, "targets": 2}), ((), {"x": 1}, 2)),
]


@pytest.mark.parametrize(("batch", "expected"), SPLIT)
def test_how_a_batch_is_taken_apart(batch: Any, expected: tuple[Any, ...]) -> None:
    assert split(batch) == expected


def test_moving_keeps_kinds_and_the_callers_own() -> None:
    class Entries(dict[str, Any]):
        pass

    class Encoding:
        def __init__(self) -> None:
            self.ids = torch.ones(2)

        def to(self, device: torch.device) -> "Encoding":
            self.ids = self.ids.to(device)
            return self

    pair = namedtuple("pair", "x y")
    encoding = Encoding()
    batch = [torch.ones(2), (pair(torch.ones(1), "text"), [3]), Entries(x=torch.ones(1)), encoding]
    found = moved(batch, META)
    assert [type(one) for one in found] == [torch.Tensor, tuple, Entries, Encoding]
    assert type(found[1][0]) is pair
    assert (found[1][0].y, found[1][1]) == ("text", [3])
    assert {found[0].device, found[1][0].x.device, found[2]["x"].device, found[3].ids.device} == {META}
    assert encoding.ids.device.type == batch[0].device.type == batch[2]["x"].device.type == "cpu"
    assert moved(UserDict({"x": torch.ones(1)}), META)["x"].device == META
    assert moved(batch, None) is batch


def test_where_a_model_takes_its_inputs() -> None:
    assert device_of(torch.nn.Linear(1, 1, device="meta")) == META
    assert device_of(torch.nn.BatchNorm1d(1, affine=False)) == torch.device("cpu")
    assert device_of(torch.nn.ReLU()) is None


def test_a_loss_arrives_as_it_was_when_it_was_sent() -> None:
    arrivals, value = Arrivals(), torch.ones((), requires_grad=True)
    arrivals.push(value)
    with torch.no_grad():
        value.zero_()
    (found,) = arrivals.arrived()
    assert (found.item(), found.requires_grad, arrivals.arrived(wait=True)) == (1.0, False, [])


class Late:
    """Stands for a CUDA event."""

    def __init__(self, ready: bool) -> None:
        self.ready, self.waited = ready, False

    def query(self) -> bool:
        return self.ready

    def synchronize(self) -> None:
        self.waited = True


def test_at_most_a_few_are_on_their_way_and_the_order_stays() -> None:
    arrivals = Arrivals(ahead=2)
    events = [Late(False), Late(True), Late(False), Late(False)]
    for index, event in enumerate(events):
        arrivals._waiting.append((torch.tensor(index), event))
    assert [int(one) for one in arrivals.arrived()] == [0, 1]  # the first is waited for: more than two
    assert [event.waited for event in events] == [True, False, False, False]
    assert arrivals.arrived() == []
    assert [int(one) for one in arrivals.arrived(wait=True)] == [2, 3]
    assert [event.waited for event in events] == [True, False, True, True]


def test_reading_begins_before_the_last_is_made() -> None:
    made = []

    def values() -> Any:
        for index in range(3):
            made.append(index)
            yield torch.tensor(index)

    found = read(values())
    assert (int(next(found)), made) == (0, [0])
    assert [int(one) for one in found] == [1, 2]


def test_json_is_strict(tmp_path: Path) -> None:
    record = {"a": np.array([[1.0, np.inf], [np.nan, 2.0]]), "b": (np.float32(0.5), np.int64(3), None, "x"), 3: -np.inf}
    expected = {"a": [[1.0, None], [None, 2.0]], "b": [0.5, 3, None, "x"], "3": None}
    assert plain(record) == expected
    assert json.loads(to_json(record, tmp_path / "it.json")) == expected
    assert json.loads((tmp_path / "it.json").read_text(encoding="utf-8")) == expected
