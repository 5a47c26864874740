"""bench/recipe.py: both sides do what a part says, a wrong result is noticed, and what was found is recorded."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastlr.benchmarks.steps import CHECKED_UPDATES

BENCH = Path(__file__).resolve().parents[1] / "bench"
SHAPES = ((31,), (), (3, 5), (257,))
ELEMENTS = 31 + 1 + 15 + 257

# What torch's side of a part calls beside its step, in order.
CALLS = {
    "recipe": ["_foreach_norm", "_fused_sgd_", "_foreach_lerp_", "_foreach_zero_"],
    "clip": ["_foreach_norm", "_fused_sgd_"],
    "clip-value": ["_foreach_clamp_min_", "_foreach_clamp_max_", "_fused_sgd_"],
    "average": ["_fused_sgd_", "_foreach_lerp_"],
    "zero": ["_fused_sgd_", "_foreach_zero_"],
    "schedule": ["_fused_sgd_"],
    "unscale": ["_amp_foreach_non_finite_check_and_unscale_", "_fused_sgd_"],
    "masters": ["_foreach_copy_", "_fused_sgd_", "_foreach_copy_"],
    "recipe-masters": [
        "_foreach_copy_",
        "_foreach_norm",
        "_fused_sgd_",
        "_foreach_lerp_",
        "_foreach_zero_",
        "_foreach_copy_",
    ],
    "stochastic": ["_foreach_add", "_foreach_mul_", "_foreach_add_", "_foreach_add_"],
}


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("recipe_sides")


class Called(TorchDispatchMode):
    """The names of the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def after_updates(made: Any) -> Any:
    for _ in range(CHECKED_UPDATES):
        made.refill()
        made.update()
    return made


@pytest.mark.parametrize("name", CALLS)
def test_the_sides_of_a_part_compute_the_same(sides: ModuleType, name: str) -> None:
    part = sides.PARTS[name]
    first, *others = [after_updates(make(SHAPES)) for make in sides.sides(part).values()]
    for other in others:
        text, correct = sides.compare(part, first, other)
        assert correct, text
    assert CALLS.keys() == sides.PARTS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_torchs_side_calls_what_is_said(sides: ModuleType, name: str) -> None:
    made = after_updates(sides.sides(sides.PARTS[name])[sides.THEIRS](SHAPES))
    made.refill()
    with Called() as called:
        made.update()
    assert [one for one in called.names if one in CALLS[name]] == CALLS[name]


@pytest.mark.parametrize("name", CALLS)
def test_fastlrs_side_calls_no_operator_of_torchs_but_the_scalers(sides: ModuleType, name: str) -> None:
    made = after_updates(sides.sides(sides.PARTS[name])[sides.OURS](SHAPES))
    with Called() as called:
        made.update()
    assert not [one for one in called.names if "sgd" in one or "lerp" in one or "norm" in one or "clamp" in one]


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("clip", "clip"),
        ("clip-value", "clip_value"),
        ("average", "average"),
        ("recipe", "schedule"),
        ("recipe", "zero"),
        ("recipe-masters", "clip"),
    ],
)
def test_a_side_that_leaves_something_out_is_noticed(sides: ModuleType, name: str, left_out: str) -> None:
    part = sides.PARTS[name]
    mine = after_updates(sides.ours(part, SHAPES))
    wrong = after_updates(sides.theirs(replace(part, **{left_out: False}), SHAPES))
    if left_out == "average":
        start = after_updates(sides.theirs(part, SHAPES)).results()
        wrong = replace(wrong, results=lambda: {**start, "averages": [one.detach() for one in start["parameters"]]})
    assert not sides.compare(part, mine, wrong)[1]


def test_a_side_that_does_not_unscale_is_noticed(sides: ModuleType) -> None:
    part = sides.PARTS["unscale"]
    made = sides.theirs(part, SHAPES)
    wrong = after_updates(replace(made, update=made.optimizer.step))
    text, correct = sides.compare(part, after_updates(sides.ours(part, SHAPES)), wrong)
    assert not correct
    assert text.startswith("WRONG by")


@pytest.mark.parametrize("result", ["averages", "masters", "momentum", "parameters"])
def test_a_wrong_element_of_any_result_is_noticed(sides: ModuleType, result: str) -> None:
    part = sides.PARTS["recipe-masters"]
    mine, other = after_updates(sides.ours(part, SHAPES)), after_updates(sides.theirs(part, SHAPES))
    assert sides.compare(part, mine, other)[1]
    with torch.no_grad():
        other.results()[result][3][256] = torch.nan
    assert not sides.compare(part, mine, other)[1]


def test_gradients_are_refilled(sides: ModuleType) -> None:
    for make in (sides.ours, sides.theirs):
        made = make(sides.PARTS["recipe"], SHAPES)
        before = [gradient.clone() for gradient in made.gradients]
        made.update()
        assert not any(gradient.any() for gradient in made.gradients)
        made.refill()
        assert all(torch.equal(a, b) for a, b in zip(made.gradients, before, strict=True))


KEPT = {"recipe": (16, 16), "clip": (12, 12), "masters": (12, 16), "recipe-masters": (16, 20), "stochastic": (6, 6)}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_is_counted(sides: ModuleType, name: str) -> None:
    part, counted = sides.PARTS[name], []
    for make in (sides.ours, sides.theirs):
        counted.append(sum(tensor.nbytes for tensor in after_updates(make(part, SHAPES)).held()))
    assert counted == [size * ELEMENTS for size in KEPT[name]]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_bench_runs_and_records(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "recipe.py"), "--cases", "recipe", "--shapes", "small", "--budget", "0"]
    run = subprocess.run(
        [*command, "--json", "figures.json"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    (case,) = figures["cases"]
    assert case["correct"]
    assert [row["label"] for row in case["rows"]] == ["fastlr.SGD", "torch, call by call"]
    assert all(row["times"]["update"]["count"] == 15 for row in case["rows"])
    assert case["rows"][1]["ratio"]["median"] > 0
    assert figures["memory"]["small"]["recipe"]["fastlr.SGD"]["kept"] == 16 * 161 * 16
    assert json.loads(run.stdout.splitlines()[-1]) == figures["verdicts"]
    assert figures["verdicts"]["recipe on small"]["least"] == 1.0
    assert figures["machine"]["torch"] == torch.__version__
