"""The bench: it compares what it says, notices wrong results, and records what it timed. Times are never judged."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastlr.benchmarks import CASES, PEERS, peers, steps
from fastlr.benchmarks.results import number
from fastlr.benchmarks.shapes import SHAPE_LISTS
from fastlr.benchmarks.timing import Effort, alternate, ratios, spread
from fastlr.cli import main
from fastlr.schedules import Constant

Patch: TypeAlias = pytest.MonkeyPatch
Capture: TypeAlias = pytest.CaptureFixture[str]

# Published numbers of parameters and of parameter tensors.
SIZES = {
    "many-tiny": (1000, 1000),
    "small": (161, 161 * 16),
    "vit-tiny": (152, 5_717_416),
    "resnet50": (161, 25_557_032),
    "resnet50-like": (161, 107 * 64 + 54 * 473_000),
}


@pytest.fixture
def short(monkeypatch: Patch) -> None:
    """Two rounds a case."""
    monkeypatch.setattr("fastlr.cli.QUICK", Effort(budget=0.0, least=2, most=2, warmup=0))


@pytest.mark.parametrize("name", SIZES)
def test_shape_lists_have_the_published_sizes(name: str) -> None:
    case = SHAPE_LISTS[name]
    assert (len(case.shapes), case.elements) == SIZES[name]
    assert SIZES.keys() == SHAPE_LISTS.keys()


def test_steps_are_checked_and_recorded(short: None, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "figures.json"
    assert main(["bench", "--quick", "--cases", "small", "--json", str(file)]) == 0
    (case,) = json.loads(file.read_text())["cases"]
    rows = {row["label"]: row for row in case["rows"]}
    assert list(rows) == ["fastlr.SGD", "torch loop (default)", "torch foreach", "torch fused"]
    assert case["correct"] is True
    for label, row in rows.items():
        assert row["times"]["step"]["count"] == 2
        assert (row["ratio"] is None) == (label == "fastlr.SGD")
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        assert rows["torch loop (default)"]["check"] == "bit-equal"
    printed = capsys.readouterr().out
    assert all(label in printed for label in rows)


@pytest.mark.parametrize("case", ["train-cnn", "train-transformer"])
def test_training_steps_are_checked_and_recorded(case: str, short: None, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert main(["bench", "--quick", "--cases", case, "--peers", "loop", "--json", str(file)]) == 0
    (record,) = json.loads(file.read_text())["cases"]
    ours, loop = record["rows"]
    assert loop["check"] == "bit-equal" or torch.backends.cpu.get_cpu_capability() == "DEFAULT"
    for row in (ours, loop):
        assert 0 < row["share"]["median"] < 1
        assert row["times"]["its update"]["median"] < row["times"]["training step"]["median"]


@pytest.mark.parametrize("case", ["small", "train-cnn"])
def test_a_wrong_result_is_shown_and_fails(case: str, short: None, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(peers, "schedule", lambda updates: Constant(peers.RATE * 1.001))
    assert main(["bench", "--quick", "--cases", case, "--peers", "loop", "fused"]) == 1
    assert capsys.readouterr().out.count("WRONG by") == 2


def test_the_loop_must_be_bit_equal(monkeypatch: Patch) -> None:
    """One bit in one parameter is wrong for torch's loop, and rounding for any other side."""
    sides, _ = steps.start(SHAPE_LISTS["small"], ["fastlr", "loop", "fused"])
    with torch.no_grad():
        for side in sides[1:]:
            weight = steps.parameters_of(side)[7].view(-1)
            weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert [steps.compare(side, sides[0])[1] for side in sides[1:]] == [False, True]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert steps.compare(sides[1], sides[0])[1]


def test_momentum_is_compared_too() -> None:
    ours, fused = steps.start(SHAPE_LISTS["small"], ["fastlr", "fused"])[0]
    steps.momentum_of(fused)[0][0] += 1.0
    assert not steps.compare(fused, ours)[1]


@pytest.mark.parametrize("tensors", [steps.parameters_of, steps.momentum_of])
@pytest.mark.parametrize("index", [0, 7, 160])
def test_nan_is_wrong(tensors: Callable[[peers.Side], list[torch.Tensor]], index: int) -> None:
    ours, fused = steps.start(SHAPE_LISTS["small"], ["fastlr", "fused"])[0]
    tensors(fused)[index].data[3] = float("nan")
    assert steps.compare(fused, ours) == ("WRONG by nan", False)


def test_tensors_are_compared_in_pieces(monkeypatch: Patch) -> None:
    monkeypatch.setattr(steps, "PIECE", 5)
    ours, fused = steps.start(SHAPE_LISTS["small"], ["fastlr", "fused"])[0]
    assert steps.compare(fused, ours)[1]
    steps.momentum_of(fused)[160][15] += 1.0
    assert not steps.compare(fused, ours)[1]


def test_a_side_that_cannot_run_is_named_with_its_reason(short: None, monkeypatch: Patch, capsys: Capture) -> None:
    def no_compiler() -> NoReturn:
        raise RuntimeError("no C++ compiler found\nlong trace")

    monkeypatch.setattr(peers, "compiled_step", lambda optimizer: no_compiler)
    assert main(["bench", "--quick", "--cases", "small", "--peers", "compiled"]) == 0
    assert "torch compiled: did not run: no C++ compiler found\n" in capsys.readouterr().out


def test_other_failures_are_not_hidden(short: None, monkeypatch: Patch) -> None:
    def broken(parameters: object) -> NoReturn:
        raise RuntimeError("broken")

    monkeypatch.setattr(torch.optim.SGD, "step", broken)
    with pytest.raises(RuntimeError, match="broken"):
        main(["bench", "--quick", "--cases", "small", "--peers", "loop"])


def test_threads_are_set(short: None) -> None:
    threads = torch.get_num_threads()
    try:
        assert main(["bench", "--quick", "--cases", "small", "--peers", "fused", "--threads", "1"]) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_large_cases_have_a_floor(short: None, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(steps, "FLOOR_LEAST_ELEMENTS", 2000)
    main(["bench", "--quick", "--cases", "small", "many-tiny", "--peers", "fused"])
    assert capsys.readouterr().out.count("floor: 20 bytes an element") == 1


def test_torchs_default_on_the_cpu_is_the_one_that_is_marked() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    with torch.profiler.profile() as profile:
        torch.optim.SGD([weight], lr=0.1, **peers.HYPER).step()
    operators = {event.key for event in profile.key_averages()}
    assert "aten::add_" in operators
    assert not any("_foreach" in name or "_fused" in name for name in operators)
    assert peers.DEFAULT_ON_CPU == "loop"
    assert peers.PEERS["loop"] == {"foreach": False, "fused": False}


def test_alternate_calls_every_side_once_a_round_in_changing_order() -> None:
    called: list[str] = []

    def action(name: str) -> Callable[[], int]:
        def call() -> int:
            called.append(name)
            return len(called)

        return call

    measured = alternate({name: action(name) for name in "abc"}, Effort(budget=0.0, least=20, most=50, warmup=2))
    rounds = ["".join(called[start : start + 3]) for start in range(0, len(called), 3)]
    assert rounds[:2] == ["abc", "abc"]
    assert len(rounds) == 22
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds[2:])) == 6
    assert measured["a"] == [3 * index + names.index("a") + 1 for index, names in enumerate(rounds) if index >= 2]


@pytest.mark.parametrize(("budget", "expected"), [(0.0, 3), (float("inf"), 7)])
def test_effort_is_between_its_limits(budget: float, expected: int) -> None:
    measured = alternate({"a": lambda: 0}, Effort(budget=budget, least=3, most=7))
    assert len(measured["a"]) == expected


def test_nothing_is_collected_while_times_are_taken_and_everything_after() -> None:
    enabled = []
    alternate({"a": lambda: enabled.append(gc.isenabled())}, Effort(budget=0.0, least=2, most=2, warmup=0))
    assert enabled == [False, False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        alternate({"a": lambda: 1 / 0}, Effort(budget=0.0, least=1, most=1, warmup=0))
    assert gc.isenabled()


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_spread_is_numpys_quartiles(values: list[float]) -> None:
    found = spread(values)
    expected = np.percentile(values, [25, 50, 75])
    assert [found.low, found.median, found.high] == pytest.approx(list(expected), rel=1e-9, abs=1e-300)
    assert found.count == len(values)


def test_ratios_are_paired() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="argument 2"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123"), (9.876, "9.88"), (99.96, "100"), (123.4, "123"), (25170.2, "25170")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("script", "arguments", "entry"),
    [
        ("schedule_scalar", ["--budget", "0"], ("ns", "fastlr Warmup >> Cosine")),
        ("import_time", ["--rounds", "1"], ("ms", "import fastlr after torch")),
    ],
)
def test_development_benches_run(script: str, arguments: list[str], entry: tuple[str, str], tmp_path: Path) -> None:
    path = Path(__file__).resolve().parents[1] / "bench" / f"{script}.py"
    command = [sys.executable, str(path), *arguments, "--json", str(tmp_path / "figures.json")]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert entry[1] in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures[entry[0]][entry[1]]["median"] > 0
    assert figures["machine"]["torch"] == torch.__version__


def test_names() -> None:
    assert list(CASES) == [*SIZES, "train-cnn", "train-transformer"]
    assert list(PEERS) == ["loop", "foreach", "fused", "compiled"]
