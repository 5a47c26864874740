"""The bench: it compares what it says, notices wrong results, and records what it timed. Times are never judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastlr.benchmarks import CASES, PEERS, peers, steps
from fastlr.benchmarks.floor import floor, floor_label
from fastlr.benchmarks.rules import RULES, Rule
from fastlr.benchmarks.shapes import SHAPE_LISTS
from fastlr.benchmarks.timing import Effort
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


PEER_LABELS = ["torch loop (default)", "torch foreach", "torch fused"]
SGD, ADAMW = RULES["sgd"], RULES["adamw"]


@pytest.fixture
def short(monkeypatch: Patch) -> None:
    """Two rounds a case."""
    monkeypatch.setattr("fastlr.cli.QUICK", Effort(budget=0.0, least=2, most=2, warmup=0))


@pytest.mark.parametrize("name", SIZES)
def test_shape_lists_have_the_published_sizes(name: str) -> None:
    case = SHAPE_LISTS[name]
    assert (len(case.shapes), case.elements) == SIZES[name]
    assert SIZES.keys() == SHAPE_LISTS.keys()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_is_what_fastlr_and_torch_have(rule: Rule) -> None:
    """Its options are taken, its states are all that torch has but for the count, and the same in both."""
    for made in (rule.ours, rule.theirs):
        weight = torch.nn.Parameter(torch.ones(3))
        weight.grad = torch.ones(3)
        optimizer = made([weight], lr=0.1, **rule.options)
        optimizer.step()
        expected = (*["step"] * rule.counts, *rule.states)
        assert sorted(optimizer.state[weight]) == sorted(expected)


@pytest.mark.parametrize(("option", "name"), [([], "SGD"), (["--optimizer", "adamw"], "AdamW")])
def test_steps_are_checked_and_recorded(
    option: list[str], name: str, short: None, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "figures.json"
    assert main(["bench", "--quick", *option, "--cases", "small", "--json", str(file)]) == 0
    (case,) = json.loads(file.read_text())["cases"]
    rows = {row["label"]: row for row in case["rows"]}
    assert list(rows) == [f"fastlr.{name}", *PEER_LABELS]
    assert (case["optimizer"], case["correct"]) == (name, True)
    for label, row in rows.items():
        assert row["times"]["step"]["count"] == 2
        assert (row["ratio"] is None) == (label == f"fastlr.{name}")
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT" and name == "SGD":
        assert rows["torch loop (default)"]["check"] == "bit-equal"
    printed = capsys.readouterr().out
    assert f"\nsmall, {name}: 161 tensors of 16 (" in printed
    assert all(label in printed for label in rows)


def test_all_optimizers_are_run_in_turn(short: None, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--optimizer", "all", "--cases", "small", "many-tiny", "--peers", "fused", "--json", str(file)]
    assert main(["bench", "--quick", *options]) == 0
    cases = [(case["optimizer"], case["name"]) for case in json.loads(file.read_text())["cases"]]
    assert cases == [(rule.name, name) for rule in RULES.values() for name in ("small", "many-tiny")]


@pytest.mark.parametrize("case", ["train-cnn", "train-transformer"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_steps_are_checked_and_recorded(case: str, optimizer: str, short: None, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--optimizer", optimizer, "--cases", case, "--peers", "loop", "--json", str(file)]
    assert main(["bench", "--quick", *options]) == 0
    (record,) = json.loads(file.read_text())["cases"]
    ours, loop = record["rows"]
    if optimizer == "sgd" and torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        assert loop["check"] == "bit-equal"
    for row in (ours, loop):
        assert 0 < row["share"]["median"] < 1
        assert row["times"]["its update"]["median"] < row["times"]["training step"]["median"]


@pytest.mark.parametrize(
    ("optimizer", "case", "factor"),
    [
        ("sgd", "small", 1.001),
        ("sgd", "train-cnn", 1.001),
        ("adam", "small", 1.001),
        ("adamw", "small", 1.001),
        ("adamw", "train-transformer", 1.1),  # only its first update is checked, and that at a small rate
    ],
)
def test_a_wrong_result_is_shown_and_fails(
    optimizer: str, case: str, factor: float, short: None, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(peers, "schedule", lambda rate, updates: Constant(rate * factor))
    assert main(["bench", "--quick", "--optimizer", optimizer, "--cases", case, "--peers", "loop", "fused"]) == 1
    assert capsys.readouterr().out.count("WRONG by") == 2


def test_the_loop_must_be_bit_equal(monkeypatch: Patch) -> None:
    """One bit in one parameter is wrong for torch's loop, and rounding for any other side."""
    sides, _ = steps.start(SGD, SHAPE_LISTS["small"], ["fastlr", "loop", "fused"])
    with torch.no_grad():
        for side in sides[1:]:
            weight = steps.parameters_of(side)[7].view(-1)
            weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert [steps.compare(side, sides[0])[1] for side in sides[1:]] == [False, True]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert steps.compare(sides[1], sides[0])[1]


@pytest.mark.parametrize(("updates", "ulps", "right"), [(5, 8, True), (5, 12, False), (1, 1, True), (1, 4, False)])
def test_adams_loop_is_within_ulps(updates: int, ulps: int, right: bool, monkeypatch: Patch) -> None:
    """2 ulps of the largest element are allowed for each update."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    ours, loop = steps.start(ADAMW, SHAPE_LISTS["small"], ["fastlr", "loop"])[0]
    for mine, theirs in zip(steps.parameters_of(ours), steps.parameters_of(loop), strict=True):
        theirs.data.copy_(mine)
    largest = max(weight.abs().max() for weight in steps.parameters_of(ours))
    steps.parameters_of(loop)[0].data[0] += ulps * 2.0**-23 * largest
    assert steps.compare(loop, ours, updates)[1] == right


@pytest.mark.parametrize("optimizer", RULES)
@pytest.mark.parametrize("peer", ["loop", "fused"])
def test_every_state_is_compared_too(optimizer: str, peer: str) -> None:
    rule = RULES[optimizer]
    for name in rule.states:
        ours, theirs = steps.start(rule, SHAPE_LISTS["small"], ["fastlr", peer])[0]
        assert steps.compare(theirs, ours)[1]
        steps.state_of(theirs, name)[0][0] += 1.0
        assert not steps.compare(theirs, ours)[1]


@pytest.mark.parametrize("state", [None, "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("index", [0, 7, 160])
def test_nan_is_wrong(state: str | None, index: int) -> None:
    ours, fused = steps.start(ADAMW, SHAPE_LISTS["small"], ["fastlr", "fused"])[0]
    tensors = steps.state_of(fused, state) if state else steps.parameters_of(fused)
    tensors[index].data[3] = float("nan")
    assert steps.compare(fused, ours) == ("WRONG by nan", False)


def test_tensors_are_compared_in_pieces(monkeypatch: Patch) -> None:
    monkeypatch.setattr(steps, "PIECE", 5)
    ours, fused = steps.start(SGD, SHAPE_LISTS["small"], ["fastlr", "fused"])[0]
    assert steps.compare(fused, ours)[1]
    steps.state_of(fused, "momentum_buffer")[160][15] += 1.0
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


@pytest.mark.parametrize(("optimizer", "size"), [("sgd", 20), ("adamw", 28)])
def test_large_cases_have_a_floor(optimizer: str, size: int, short: None, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(steps, "FLOOR_LEAST_ELEMENTS", 2000)
    main(["bench", "--quick", "--optimizer", optimizer, "--cases", "small", "many-tiny", "--peers", "fused"])
    assert capsys.readouterr().out.count(f"floor: {size} bytes an element") == 1


class Moved(TorchDispatchMode):
    """Bytes that in-place operators on whole tensors read and write."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in args if isinstance(value, torch.Tensor)]
        self.total += sum(tensor.nbytes for tensor in tensors) + tensors[0].nbytes
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("rule", "size"), [(SGD, 20), (ADAMW, 28)])
def test_the_floor_moves_what_it_says(rule: Rule, size: int) -> None:
    passes = floor(rule, 100)
    with Moved() as moved:
        passes()
    assert moved.total == 100 * size
    assert floor_label(rule) == f"floor: {size} bytes an element"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_torchs_default_on_the_cpu_is_the_one_that_is_marked(rule: Rule) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    with torch.profiler.profile() as profile:
        rule.theirs([weight], lr=0.1, **rule.options).step()
    operators = {event.key for event in profile.key_averages()}
    assert operators & {"aten::add_", "aten::addcdiv_"}
    assert not any("_foreach" in name or "_fused" in name for name in operators)
    assert peers.DEFAULT_ON_CPU == "loop"
    assert peers.PEERS["loop"] == {"foreach": False, "fused": False}


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
    assert [rule.label for rule in RULES.values()] == ["fastlr.SGD", "fastlr.Adam", "fastlr.AdamW"]
    assert list(CASES) == [*SIZES, "train-cnn", "train-transformer"]
    assert list(PEERS) == ["loop", "foreach", "fused", "compiled"]
