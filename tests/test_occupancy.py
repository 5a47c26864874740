"""The occupancy and traffic model against figures worked out by hand and against published parameter counts."""

import json
import sys
from pathlib import Path

import occupancy
import pytest
from device_code import Instruction, Resources, parse_instructions
from device_loops import ELEMENTS, RULES, Rule, elements_of_kernels
from occupancy import GPUS, LIMITS, Gpu, Loop
from standin_driver import Standin, run_configured

FLOAT32, FLOAT64, FLOAT16, BFLOAT16 = ELEMENTS
SGD, ADAM = RULES["sgd"], RULES["adam"]
OFF, _, LATER = SGD.forms
RECORDED = parse_instructions((Path(__file__).parent / "data/sgd_float32_off_sm100.sass").read_text())

# Blocks of 256 threads, as NVIDIA's occupancy calculator has them.
RESIDENT = [
    (80, 80, 0, 3, "registers"),
    (80, 64, 0, 4, "registers"),
    (80, 65, 0, 3, "registers"),  # rounded up to 72
    (80, 32, 0, 8, "threads"),
    (75, 32, 0, 4, "threads"),
    (86, 40, 0, 6, "threads"),
    (80, 32, 50_000, 3, "shared memory"),
    (90, 32, 50_000, 4, "shared memory"),
]


@pytest.mark.parametrize(("architecture", "registers", "shared", "blocks", "limit"), RESIDENT)
def test_blocks_on_a_multiprocessor(architecture: int, registers: int, shared: int, blocks: int, limit: str) -> None:
    kernel = Resources(registers, 0, shared, 0, 4096)
    assert occupancy.blocks_resident(kernel, LIMITS[architecture], 256) == (blocks, limit)


def test_small_blocks_are_limited_by_their_number() -> None:
    assert occupancy.blocks_resident(Resources(16, 0, 0, 0, 0), LIMITS[75], 32) == (16, "blocks")


def test_parameters_of_the_models() -> None:
    """As their publications have them; the head of GPT-2 and of Llama is the embedding."""
    counts = {name: sum(tensors) for name, tensors in occupancy.shape_lists().items()}
    assert counts == {
        "resnet50": 25_557_032,
        "vit-base": 86_567_656,
        "gpt2": 124_439_808,
        "llama-1b": 1_235_814_400,
    }


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def code_of(cubin: Path, kernel: str) -> list[Instruction]:
        return RECORDED if kernel == "fastlr_sgd_float32" else []

    monkeypatch.setattr(occupancy, "code_of", code_of)


@pytest.mark.usefixtures("recorded")
def test_main_loop_is_read_from_the_machine_code() -> None:
    loop = occupancy.main_loop(Path("sm_100_long.0123.cubin"), SGD, FLOAT32, OFF)
    assert loop == Loop(elements=8, loaded=4 * 16, moved=6 * 16, instructions=54)
    assert loop.bytes_per_element == 12


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(("element", "form"), [(FLOAT32, LATER), (FLOAT64, OFF)])
def test_absent_main_loop_is_refused(element: occupancy.Element, form: occupancy.Form) -> None:
    with pytest.raises(ValueError, match=f"no main loop of {element.name}"):
        occupancy.main_loop(Path("sm_100_long.0123.cubin"), SGD, element, form)


SIZES = {"kTileBytes": 8192, "kBlocksEach": 24, "kMostTiles": 16, "kLongArguments": 32764}
SLOW = Gpu("slow", 80, multiprocessors=10, bandwidth=1e9, clock=1e9)
STARVED = Gpu("starved", 80, multiprocessors=10, bandwidth=1e12, clock=1e6)
LOOP = Loop(elements=8, loaded=96, moved=160, instructions=80)

STEPS = [
    # tensors of float32, GPU; launches, blocks, seconds, bound
    ([2048], SLOW, 1, 1 + 1, 2048 * 20 / 1e9, "bandwidth"),
    ([2049], SLOW, 1, 1 + 2, 2049 * 20 / 1e9, "bandwidth"),
    ([1] * 761, SLOW, 2, 1 + 761, 761 * 20 / 1e9, "bandwidth"),
    ([2048 * 480], SLOW, 1, 1 + 240, 2048 * 480 * 20 / 1e9, "bandwidth"),  # chunks of two tiles
    ([2048 * 24000], SLOW, 1, 1 + 1500, 2048 * 24000 * 20 / 1e9, "bandwidth"),  # of sixteen, the most
    ([2048], STARVED, 1, 1 + 1, 2048 * 10 / (10 * 128 * 1e6), "instructions"),
]


@pytest.mark.parametrize(("tensors", "gpu", "launches", "blocks", "seconds", "bound"), STEPS)
def test_step(
    monkeypatch: pytest.MonkeyPatch,
    tensors: list[int],
    gpu: Gpu,
    launches: int,
    blocks: int,
    seconds: float,
    bound: str,
) -> None:
    monkeypatch.setattr(occupancy, "sizes", lambda: SIZES)
    step = occupancy.step_of(tensors, SGD, FLOAT32, LOOP, 4, gpu)
    assert (step.launches, step.blocks, step.bound) == (launches, blocks, bound)
    assert step.seconds == pytest.approx(seconds, rel=1e-12)
    assert step.issuing == pytest.approx(sum(tensors) * 10 / (10 * 128 * gpu.clock) / seconds, rel=1e-12)
    assert step.waves == pytest.approx(blocks / 40, rel=1e-12)


@pytest.mark.parametrize(("rule", "optimizer"), [(SGD, "SGD"), (ADAM, "Adam")], ids=["sgd", "adam"])
@pytest.mark.parametrize("multiprocessors", [1, 3])
def test_launches_are_those_of_the_core(standin: Standin, multiprocessors: int, rule: Rule, optimizer: str) -> None:
    """What the driver is told by a step with the same tensors."""
    sizes = [1, 2047, 2048, 2049, 70_001, 300_000, *[5] * 800]
    code = f"""
import torch
from cuda_tensors import on_device
import fastlr

params = [on_device(torch.zeros(size, requires_grad=True)) for size in {sizes}]
for param in params:
    param.grad = torch.zeros_like(param)
fastlr.{optimizer}(params, lr=0.1).step()
print([launch["grid"][0] for launch in standin.launches() if launch["kernel"].endswith("_float32")])
"""
    grids = json.loads(run_configured(code, multiprocessors=multiprocessors))
    gpu = Gpu("stand-in", 80, multiprocessors, 1e9, 1e9)
    step = occupancy.step_of(sizes, rule, FLOAT32, LOOP, 4, gpu)
    assert (step.launches, step.blocks) == (len(grids), sum(grids))


def test_half_as_many_bytes_take_half_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupancy, "sizes", lambda: SIZES)
    half = Loop(elements=16, loaded=96, moved=160, instructions=80)
    tensors = [123_456, 789]
    full = occupancy.step_of(tensors, SGD, FLOAT32, LOOP, 4, SLOW)
    assert occupancy.step_of(tensors, SGD, BFLOAT16, half, 4, SLOW).seconds == pytest.approx(full.seconds / 2)


def test_constants_come_from_the_sources() -> None:
    assert {"kThreads", "kEvaluateThreads", *SIZES} <= occupancy.sizes().keys()
    assert occupancy.sizes()["kTileBytes"] == 256 * 16 * 2


def test_peak_rates_are_those_of_the_data_sheets() -> None:
    """TFLOPS of float32: multiprocessors x lanes x 2 x clock."""
    lanes = {"A100 SXM 80 GB": 64, "H100 SXM": 128, "B200": 128}
    peaks = {gpu.name: gpu.multiprocessors * lanes[gpu.name] * 2 * gpu.clock / 1e12 for gpu in GPUS}
    assert peaks == pytest.approx({"A100 SXM 80 GB": 19.5, "H100 SXM": 66.9, "B200": 75.0}, rel=2e-3)


def test_missing_images_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sm_90_long.0123.cubin").touch()
    monkeypatch.setattr(sys, "argv", ["occupancy.py", str(tmp_path)])
    assert occupancy.main() == 1
    assert "sm_80, sm_100" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    for gpu in GPUS:
        (tmp_path / f"sm_{gpu.architecture}_long.0123.cubin").touch()
    kernels = dict.fromkeys(elements_of_kernels(), Resources(80, 0, 8193, 0, 32360))
    monkeypatch.setattr(occupancy, "resources_of", lambda cubin: kernels)
    monkeypatch.setattr(occupancy, "main_loop", lambda cubin, rule, element, form: LOOP)
    monkeypatch.setattr(sys, "argv", ["occupancy.py", str(tmp_path), *options])
    assert occupancy.main() == 0
    text = capsys.readouterr().out
    if options:
        report = json.loads(text)
        assert report["computed, not measured"] is True
        assert report["traffic"][0]["KB on the way"] == pytest.approx(3 * 256 * 96 / 1000, abs=0.05)
        assert report["traffic"][0]["KB needed"] == pytest.approx(2.039e12 / 108 * 700e-9 / 1000, abs=0.05)
        assert len(report["traffic"]) == (3 + 2 + 1) * 4 * len(GPUS)
        assert len(report["steps"]) == 4 * 3 * 2 * len(GPUS)
    else:
        assert "nothing here is measured" in text
        assert "| sm_90 | fastlr_sgd_float32 | 80 | 8193 | 768 | registers |" in text
