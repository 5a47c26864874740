"""README.md: its code runs as pasted, prints what it shows, and its tables say what both sides do."""

import ast
import importlib.util
import json
import math
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

import fastlr
from fastlr import schedules
from fastlr.benchmarks import CASES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
T, W = 120, 10
PUBLIC = {name: getattr(schedules, name) for name in schedules.__all__}


def rows(heading: str) -> list[tuple[str, str]]:
    """The rows of the two-column table whose first column has this heading."""
    table = README.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    found = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table.splitlines()[2:]]
    assert all(len(row) == 2 for row in found)
    return [(row[0], row[1]) for row in found]


def code(cell: str) -> str:
    """The first code span of a cell."""
    return cell.split("`")[1]


def schedule_of(cell: str) -> fastlr.schedules.Schedule:
    value = eval(code(cell), {**PUBLIC, "T": T, "W": W})
    assert isinstance(value, schedules.Schedule)
    return value


def test_the_python_blocks_run_as_pasted_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    printed = []
    for block in PYTHON:
        exec(block, namespace)
        printed.append(capsys.readouterr().out)
    assert "25 updates\n" in printed
    assert "0.5\n" in printed  # what is left of the rate after the metric stood still
    assert "25 updates done\n" in printed
    optimizer = namespace["optimizer"]
    assert isinstance(optimizer, fastlr.SGD)
    assert optimizer.param_groups[0]["lr"] == 0.0  # the schedule of the run that was saved, not the 0.1 given here


def test_the_blocks_of_the_page_about_gpus_run() -> None:
    """The second one does something only where there is a GPU."""
    namespace: dict[str, object] = {}
    page = (ROOT / "docs" / "cuda.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, namespace)
    optimizer = namespace["optimizer"]
    assert isinstance(optimizer, fastlr.SGD)
    assert optimizer.step_count == (906 if torch.cuda.is_available() else 3)


def test_the_first_block_prints_what_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PYTHON[0], {})
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    values, expected = ([float(number) for number in NUMBER.findall(text)] for text in (printed, shown))
    assert values == pytest.approx(expected, rel=0.05)


def test_the_first_loop_is_short_and_has_no_scheduler() -> None:
    loop = PYTHON[0].split("optimizer = ", 1)[1]
    assert len(loop.splitlines()) <= 8
    assert "scheduler" not in PYTHON[0]


@pytest.mark.parametrize(("theirs", "ours"), rows("in torch"), ids=lambda cell: code(cell))
def test_schedules_named_beside_torchs_have_the_same_values(theirs: str, ours: str) -> None:
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of schedulers that run without updates
        scheduler = eval(code(theirs), {**vars(lr_scheduler), "opt": opt, "T": T, "W": W})
        rates, momenta = [], []
        for _ in range(T):
            rates.append(opt.param_groups[0]["lr"])
            momenta.append(opt.param_groups[0]["momentum"])
            if len(rates) < T:
                scheduler.step()
    schedule = schedule_of(ours)
    assert [schedule(t) for t in range(T)] == pytest.approx(rates, rel=1e-9, abs=1e-15)
    if ours.count("`") > 2:
        momentum = eval(ours.split("`")[3].removeprefix("momentum="), {**PUBLIC, "T": T})
        assert [momentum(t) for t in range(T)] == pytest.approx(momenta, rel=1e-9)


def half_cosine(u: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * u))


def test_transformers_row() -> None:
    (row,) = [ours for theirs, ours in rows("elsewhere") if "get_cosine_schedule_with_warmup" in theirs]
    near, exact = (eval(span, {**PUBLIC, "T": T, "W": W}) for span in row.split("`")[1::2])
    expected = [0.1 * t / W if t < W else 0.1 * half_cosine((t - W) / (T - W)) for t in range(T + 1)]
    assert [exact(t) for t in range(T + 1)] == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert [near(t) for t in range(W, T + 1)] == pytest.approx(expected[W:], rel=1e-9, abs=1e-15)


def test_timm_row() -> None:
    """timm's cosine counts from the start of the run, not from the end of the warm-up."""
    (row,) = [ours for theirs, ours in rows("elsewhere") if "CosineLRScheduler" in theirs]
    warm = [1e-6 + t * (0.1 - 1e-6) / W for t in range(W)]
    expected = warm + [1e-5 + (0.1 - 1e-5) * half_cosine(t / T) for t in range(W, T)]
    schedule = schedule_of(row)
    assert [schedule(t) for t in range(T)] == pytest.approx(expected, rel=1e-9)


def test_names_of_fastlr_exist() -> None:
    for name in re.findall(r"fastlr\.([A-Za-z]\w*)", "\n".join(re.findall(r"`[^`]+`", README) + PYTHON)):
        assert hasattr(fastlr, name), name


def test_code_spans_of_the_tables_are_python() -> None:
    for heading in ("in torch", "elsewhere"):
        for row in rows(heading):
            for cell in row:
                for span in cell.split("`")[1::2]:
                    ast.parse(re.sub(r"^(return|momentum=) ?", "", span))


def test_set_up_commands_are_two_and_are_targets() -> None:
    commands = [line.split("#")[0].strip() for line in SHELL[1].splitlines()]
    assert commands == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_pictures_and_files_named_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert "docs/first-loop.png" in links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_figures_are_the_recorded_ones() -> None:
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "bench" / "readme_table.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    record = json.loads((writer.RESULTS / "bench.json").read_text(encoding="utf-8"))
    assert [case["name"] for case in record["cases"]] == list(CASES)
    assert README.split(writer.BEGIN)[1].split(writer.END)[0] == writer.section()


def test_bench_cases_named_exist() -> None:
    named = set(re.findall(r"`((?:train|resnet|vit|many)[\w-]*)`", README))
    assert named
    assert named <= set(CASES)
