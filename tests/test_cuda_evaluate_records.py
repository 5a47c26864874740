"""What the driver is told for schedules at steps on a GPU: one launch on the current stream, and no wait."""

import gc

import pytest
import torch
from cuda_places import Place, StandinPlace, steady
from standin_driver import Standin, run_configured
from torch import Tensor

from fastlr import evaluate
from fastlr.schedules import Cosine, Exponential, Linear, Schedule, Table

# A launch within the device's context.
ONE = ["cuCtxPushCurrent_v2", "cuLaunchKernel", "cuCtxPopCurrent_v2"]


def schedules() -> list[Schedule]:
    return [Linear(0.1, 0.0, 30), Cosine(0.2, 0.1, 50), Exponential(0.1, 0.9), Table([0.5, 0.25])]


def calls(events: list[dict[str, object]]) -> list[object]:
    return [event["call"] for event in events]


def on_cpu(rows: list[Schedule], steps: Tensor | range) -> Tensor:
    return torch.from_numpy(evaluate(rows, [int(step) for step in steps]))


def test_programs_are_copied_once_and_later_calls_are_one_launch(standin: Standin) -> None:
    place, rows = StandinPlace(standin), schedules()
    steps = place.put(torch.arange(300))
    first = calls(steady(standin, lambda: evaluate(rows, steps)))
    assert first.count("cuMemcpyHtoDAsync_v2") == len(rows)
    assert first.count("cuLaunchKernel") == 1
    out = place.put(torch.empty(4, 300))
    for action in (
        lambda: evaluate(rows, steps),
        lambda: evaluate(rows[::-1], steps),
        lambda: evaluate(rows, steps, out=out),
        lambda: evaluate(rows, range(300), out=out),
        lambda: rows[0](steps),
    ):
        assert calls(steady(standin, action)) == ONE


def test_one_launch_for_all_schedules_and_steps(standin: Standin) -> None:
    place = StandinPlace(standin)
    for count, launches in ((1, [1]), (816, [816]), (817, [816, 1])):
        rows: list[Schedule] = [Linear(0.1, 0.0, 2 + i) for i in range(count)]
        standin.reset()
        evaluate(rows, place.put(torch.arange(1000)))
        grids = [event["grid"] for event in standin.launches()]
        assert grids == [[8, rows_of_one, 1] for rows_of_one in launches]
        assert {event["kernel"] for event in standin.launches()} == {"fastlr_evaluate"}
        assert max(event["bytes"] for event in standin.launches()) <= 32764


def test_nothing_is_launched_for_nothing(standin: Standin) -> None:
    place = StandinPlace(standin)
    empty = place.put(torch.empty(0, dtype=torch.int64))
    assert steady(standin, lambda: evaluate(schedules(), empty)) == []
    assert steady(standin, lambda: evaluate([], place.put(torch.arange(3)))) == []


def test_memory_of_programs_is_given_back_with_their_schedules(standin: Standin) -> None:
    place = StandinPlace(standin)
    gc.collect()
    before = standin.allocations()
    rows = schedules()
    evaluate(rows, place.put(torch.arange(3)))
    assert standin.allocations() == before + len(rows)
    del rows
    gc.collect()
    assert standin.allocations() == before


def test_the_current_stream(standin: Standin) -> None:
    place, rows = StandinPlace(standin), schedules()
    steps = place.put(torch.arange(30))
    with place.on_stream() as own:
        evaluate(rows, steps)
        rows[0](steps)
    assert [event["stream"] for event in standin.launches()] == [own, own]


def test_steps_that_are_still_being_written(place: Place) -> None:
    """Work waits in the stream; what comes back to the host comes after it."""
    if place.records is not None:
        place.records.configure(deferred=1)
    rows, steps = schedules(), place.put(torch.arange(1000))
    with place.on_stream():
        values = evaluate(rows, steps)
        again = rows[1](steps)
    assert torch.equal(place.back(values), on_cpu(rows, range(1000)))
    assert torch.equal(place.back(again), on_cpu(rows[1:2], range(1000))[0])


@pytest.mark.parametrize("device", [0, 1])
def test_a_recorded_evaluation_reads_the_steps_of_the_replay(device: int, place: Place) -> None:
    if device >= place.devices:
        pytest.skip("needs a machine with two GPUs")
    rows = schedules()  # copied during the capture
    step, out = place.put(torch.arange(5), device), place.put(torch.zeros(4, 5), device)
    with place.capture(device) as graph:
        evaluate(rows, step, out=out)
    assert not place.back(out).any()
    for t in range(0, 60, 7):
        step.fill_(t)
        graph.replay()
        assert torch.equal(place.back(out), on_cpu(rows, [t] * 5).float())  # type: ignore[arg-type]


def test_another_device(place: Place) -> None:
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    rows, steps = schedules(), torch.arange(30)
    for device in (1, 0, 1):
        assert torch.equal(place.back(evaluate(rows, place.put(steps, device))), on_cpu(rows, steps))
        assert torch.equal(place.back(rows[0](place.put(steps, device))), on_cpu(rows[:1], steps)[0])
    if place.records is not None:
        assert [event["device"] for event in place.records.launches()] == [1, 1, 0, 0, 1, 1]


def test_steps_and_out_on_different_devices_are_refused(place: Place) -> None:
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    out = place.put(torch.full((4, 3), 9.0), 1)
    with pytest.raises(ValueError, match="steps do not fit"):
        evaluate(schedules(), place.put(torch.arange(3), 0), out=out)
    assert place.back(out).tolist() == [[9.0] * 3] * 4


def test_an_older_driver_takes_a_hundred_schedules_at_once(standin: Standin) -> None:
    code = """
import torch
from cuda_places import StandinPlace
from fastlr import evaluate
from fastlr.schedules import Linear
rows = [Linear(0.1 * i, 0.0, 9) for i in range(250)]
values = evaluate(rows, StandinPlace(standin).put(torch.arange(12)))
print(values.tolist() == evaluate(rows, range(12)).tolist())
print([event["grid"][1] for event in standin.launches()], max(event["bytes"] for event in standin.launches()) <= 4096)
"""
    assert run_configured(code, driver=12000) == "True\n[100, 100, 50] True\n"


def test_out_of_memory_for_a_program(standin: Standin) -> None:
    place, rows = StandinPlace(standin), schedules()
    steps = place.put(torch.arange(30))
    standin.fail("cuMemAlloc_v2", 2, after=2)
    with pytest.raises(RuntimeError, match=r"No memory on device 0 for .*empty_cache"):
        evaluate(rows, steps)
    assert standin.contexts() == 0
    assert torch.equal(place.back(evaluate(rows, steps)), on_cpu(rows, range(30)))


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync_v2", "cuStreamSynchronize"])
def test_a_copy_that_fails(call: str, standin: Standin) -> None:
    place, rows = StandinPlace(standin), schedules()
    steps = place.put(torch.arange(30))
    before = standin.allocations()
    standin.fail(call, 1)
    with pytest.raises(
        RuntimeError, match=r"A copy to the device failed: invalid argument \(CUDA_ERROR_INVALID_VALUE\)"
    ):
        evaluate(rows, steps)
    assert standin.allocations() == before
    assert torch.equal(place.back(evaluate(rows, steps)), on_cpu(rows, range(30)))
