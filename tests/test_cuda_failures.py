"""Calls of the driver that fail in the midst: what is said, that nothing is half done, and that steps go on."""

import functools

import pytest
from cuda_processes import STEPS, run_forked
from standin_driver import Standin

NO_MEMORY = (
    r"No memory on device 0 for \d+ bytes: out of memory \(CUDA_ERROR_OUT_OF_MEMORY\)\. "
    r"Free some: torch\.cuda\.empty_cache\(\) gives back what torch's allocator holds\.$"
)
OUT_OF_MEMORY = (
    STEPS
    + """
from adam_cases import refused
both = sides({make})
both.updates(range({warm_up}), dense)
both.give(9, dense)
{change}
for after in {afters}:
    standin.fail("cuMemAlloc_v2", 2, after=after)
    with refused(both.gpu, RuntimeError, match={text!r}):
        both.gpu.step()
    assert standin.contexts() == 0
    standin.reset()
both.step()
both.check()
both.updates(range(10, 13), dense)
print("ok")
"""
)


MAKES = {
    "SGD": "lambda params: fastlr.SGD(params, lr=schedules.Linear(0.1, 0.0, 9), momentum=0.9)",
    "AdamW": "lambda params: fastlr.AdamW(params, lr=schedules.Linear(0.1, 0.0, 9))",
}
SCHEDULE = "for side in (both.cpu, both.gpu): side.set_schedule(lr=schedules.Exponential(0.1, 0.9))"
HALFWAY = (
    STEPS
    + """
make = lambda params: fastlr.SGD([{"params": [param]} for param in params], lr=schedules.Linear(0.1, 0.0, 9))
both = sides(make)
both.updates(range(2), dense)
both.give(9, dense)
old = both.gpu.param_groups[1]["lr_schedule"]
for side in (both.cpu, both.gpu):
    side.param_groups[0]["weight_decay"] = 0.5
both.gpu.set_schedule(lr=schedules.Exponential(0.1, 0.9), group=1)
standin.fail("cuMemAlloc_v2", 2)
try:
    both.gpu.step()
except RuntimeError as problem:
    both.gpu.set_schedule(lr=old, group=1)
    both.step()
    both.check()
    print("ok")
"""
)
FAILURE = (
    STEPS
    + """
both = sides({make})
both.updates(range(2), dense)
both.give(9, dense)
standin.fail({call!r}, {result})
try:
    both.gpu.step()
except RuntimeError as problem:
    print(problem)
assert both.gpu.param_groups[0]["step_count"] == 2
assert standin.contexts() == 0
standin.reset()
both.step()
both.check()
"""
)
# More groups and parameters than one message to the device holds; each of the messages fails in turn.
MESSAGES = (
    STEPS
    + """
def make(params):
    groups = [{"params": params[i::100]} for i in range(100)]
    return fastlr.SGD(groups, lr=schedules.Linear(0.1, 0.0, 9), momentum=0.9)

both = Sides(StandinPlace(standin), [normal(2, seed=i) for i in range(400)], make)
failed = 0
for turn in range(2):
    both.give(turn, dense)
    for i in range(40):
        standin.fail("cuLaunchKernel", 701, after=i)
        try:
            both.gpu.step()
        except RuntimeError:
            failed += 1
            standin.reset()
        else:
            break
    standin.reset()
    both.cpu.step()
    both.check()
    both.updates(range(5, 7), dense)
    for side in (both.cpu, both.gpu):
        for group in side.param_groups:
            group["lr_scale"] = 0.5
        side.load_state_dict(make([normal(2) for _ in range(400)]).state_dict())
print(failed > 10)
"""
)
CALLS = {
    "a launch": ("cuLaunchKernel", 700, "A kernel could not be launched: an illegal memory access was encountered"),
    "resources": ("cuLaunchKernel", 701, "A kernel could not be launched: too many resources requested for launch"),
    "the stream": ("cuStreamIsCapturing", 400, "A stream cannot be used: invalid resource handle"),
    "the context": ("cuCtxPushCurrent_v2", 201, "The device's context cannot be used: invalid device context"),
}


@functools.lru_cache
def interrupted() -> dict[str, str]:
    cases = {
        f"{name} of {rule}": FAILURE.format(call=call, result=result, make=make)
        for name, (call, result, _) in CALLS.items()
        for rule, make in MAKES.items()
    }
    for rule, make in MAKES.items():
        values = {"make": make, "text": NO_MEMORY}
        # The head, what is behind it, the schedule; what was allocated before a failure is kept.
        cases[f"first step of {rule}"] = OUT_OF_MEMORY.format(warm_up=0, change="", afters=[0, 1, 1], **values)
        cases[f"another schedule of {rule}"] = OUT_OF_MEMORY.format(warm_up=2, change=SCHEDULE, afters=[0], **values)
    cases["halfway"] = HALFWAY
    cases["messages"] = MESSAGES
    return run_forked({name: ({}, code) for name, code in cases.items()})


@pytest.mark.parametrize("rule", MAKES)
@pytest.mark.parametrize("name", ["first step", "another schedule"])
def test_out_of_memory_changes_nothing_and_the_next_step_works(name: str, rule: str, standin: Standin) -> None:
    assert interrupted()[f"{name} of {rule}"] == "ok\n"


def test_what_failed_halfway_is_told_later(standin: Standin) -> None:
    """One group has been written into the message to the device when the next one's schedule finds no memory."""
    assert interrupted()["halfway"] == "ok\n"


def test_each_message_to_the_device_fails_in_turn(standin: Standin) -> None:
    assert interrupted()["messages"] == "True\n"


@pytest.mark.parametrize("rule", MAKES)
@pytest.mark.parametrize("name", CALLS)
def test_a_failure_gives_the_drivers_text_and_changes_nothing(name: str, rule: str, standin: Standin) -> None:
    (text,) = interrupted()[f"{name} of {rule}"].splitlines()
    assert text.startswith(CALLS[name][2])
    assert "run with CUDA_LAUNCH_BLOCKING=1" in text
