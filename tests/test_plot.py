"""Pictures: what is drawn on matplotlib's axes and in a terminal, and where the marks stand."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import fastlr
from fastlr.pictures.axes import shortened
from fastlr.pictures.marks import marks
from fastlr.pictures.samples import sample, whole_span
from fastlr.pictures.terminal import chart
from fastlr.schedules import (
    Constant,
    Cosine,
    CosineCycles,
    CosineRestarts,
    Cyclic,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Schedule,
    Step,
    Table,
    Warmup,
)

FULL = Warmup(0.1, 500) >> Cosine(0.1, 0.0, 9500)

MARKS = [
    (FULL, [(0, 500)], [500]),
    (Linear(0.0, 0.1, 500) >> Constant(0.1, 500) >> Linear(0.1, 0.0, 1000), [(0, 500)], [500, 1000]),
    (Linear(0.1, 0.0, 500) >> Linear(0.0, 0.1, 500), [], [500]),
    (FULL.shift(100), [(100, 600)], [100, 600]),
    (FULL.per_epoch(10), [(0, 5000)], [5000]),
    (2 * FULL + 1, [(0, 500)], [500]),
    (Constant(1.0, 50) >> FULL, [(50, 550)], [50, 550]),
    (Cosine(0.1, 0.0, 100).repeat(3), [], [100, 200]),
    (Cosine(0.1, 0.0, 100).repeat(3, growth=2), [], [100, 300]),
    (CosineRestarts(0.1, 0.0, 100, cycles=4, growth=1.5), [], [100, 250, 475]),
    (Constant(0.1, 30) >> CosineRestarts(0.1, 0.0, 100, cycles=2), [], [30, 130]),
    (Cyclic(0.01, 0.1, 10, 30).hold(100), [], [40, 80]),
    (CosineCycles(0.1, 0.0, 12.5).hold(30), [], [12.5, 25.0]),
    (CosineCycles(0.1, 0.0, 12.5, mirror=True).hold(30), [], [25.0]),
    (Cosine(0.1, 0.0, 100), [], []),
    (Table((0.1,) * 9), [], []),
]

SPANS = [
    ([FULL], None, 10_000),
    ([FULL, Cosine(1.0, 0.0, 20_000), Constant(1.0)], None, 20_000),
    ([FULL], 77, 77),
    ([Constant(1.0)], None, 1000),
    ([Cosine(1.0, 0.0, 10).repeat()], None, 50),
    ([Exponential(1.0, 2.0)], None, 1000),
    ([Exponential(1.0, 2.0) * Exponential(1.0, 0.4)], None, 1000),
    ([Cyclic(0.0, 1.0, 10)], None, 100),
    ([2 * Cyclic(0.0, 1.0, 10) + 1], None, 100),
    ([CosineCycles(1.0, 0.0, 12.5)], None, 63),
    ([Warmup(1.0, 10) >> Cosine(1.0, 0.0, 100).repeat()], None, 410),
    ([CosineRestarts(1.0, 0.0, 10, growth=2)], None, 310),
    ([MultiStep(1.0, (2000, 4000, 8000), 0.5)], None, 10_240),
]


@pytest.mark.parametrize(("schedule", "warmups", "starts"), MARKS, ids=lambda one: str(one)[:50])
def test_marks(schedule: Schedule, warmups: list[tuple[float, float]], starts: list[float]) -> None:
    assert schedule.length is not None
    assert marks(schedule, schedule.length) == (warmups, starts)


def test_marks_are_few_and_inside() -> None:
    found = marks(Cosine(0.1, 0.0, 10).repeat(), 10**6)
    assert found.starts == [10.0 * i for i in range(1, 21)]
    assert marks(FULL, 400) == ([(0, 400)], [])


@pytest.mark.parametrize(("schedules", "steps", "span"), SPANS, ids=lambda one: str(one)[:50])
def test_span(schedules: list[Schedule], steps: int | None, span: int) -> None:
    assert whole_span(schedules, steps) == span


@pytest.mark.parametrize("length", [1, 10, 10_000, 10**9, 2**53])
def test_samples_rise_from_first_to_last_step(length: int) -> None:
    curve = sample(Cosine(1.0, 0.0, length), length)
    assert (curve.steps[0], curve.steps[-1]) == (0, length)
    assert (np.diff(curve.steps) > 0).all()
    assert curve.values.tolist() == Cosine(1.0, 0.0, length)(curve.steps).tolist()


def test_samples_lose_no_spike() -> None:
    spike = Linear(0.0, 0.0, 123_456) >> Linear(9.0, 0.0, 1) >> Linear(0.0, 0.0, 876_543)
    curve = sample(spike, 10**6)
    assert curve.steps[curve.values == 9.0].tolist() == [123_456]


def test_samples_have_both_sides_of_every_jump() -> None:
    milestones = (123_457, 500_001, 999_999)
    curve = sample(MultiStep(1.0, milestones, 0.5), 10**6)
    known = set(curve.steps.tolist())
    assert all({one - 1, one} <= known for one in milestones)


def test_samples_of_noise_are_bounded() -> None:
    noise = np.random.default_rng(0).random(10**6)
    assert sample(Table(noise), 10**6).steps.size < 50_000


def axes() -> Axes:
    return Figure(figsize=(8, 4), layout="constrained").subplots()


def test_a_curve_its_labels_and_marks() -> None:
    ax = axes()
    assert FULL.plot(ax) is ax
    curve = ax.lines[0]
    steps, values = (np.asarray(one) for one in curve.get_data())
    assert values.tolist() == FULL(steps.astype(np.int64)).tolist()
    assert (steps[0], steps[-1]) == (0, 10_000)
    assert curve.get_label() == shortened(repr(FULL))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")
    assert [line.get_xdata()[0] for line in ax.lines[1:]] == [500]
    assert [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches] == [(0, 500)]


def test_several_schedules_and_their_labels() -> None:
    ax = fastlr.plot({"a": FULL, "b": Constant(0.1)}, axes(), linewidth=3)
    curves = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert [curve.get_label() for curve in curves] == ["a", "b"]
    assert [curve.get_linewidth() for curve in curves] == [3, 3]
    assert curves[0].get_color() != curves[1].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert [text.get_text() for text in fastlr.plot([FULL], axes(), labels=["c"]).get_legend().get_texts()] == ["c"]
    long = fastlr.schedules.Sequence([Constant(0.1, 10)] * 50)
    (label,) = (text.get_text() for text in long.plot(axes()).get_legend().get_texts())
    assert len(label) <= 56
    assert label.startswith("Constant(")


def test_momentum_is_on_one_second_axis() -> None:
    ax = fastlr.plot([OneCycle(0.1, 1000), OneCycle(0.2, 1000), FULL], axes())
    first, second = ax.figure.axes
    assert first is ax
    assert [len(second.lines), second.get_ylabel()] == [2, "momentum (broken line)"]
    steps, values = (np.asarray(one) for one in second.lines[0].get_data())
    assert values.tolist() == OneCycle(0.1, 1000).momentum(steps.astype(np.int64)).tolist()
    assert second.lines[0].get_color() == ax.lines[0].get_color()


def test_an_axis_without_end_says_so() -> None:
    assert Exponential(0.1, 0.9).plot(axes()).get_xlabel() == "step (no end; 0 to 40 shown)"
    assert Exponential(0.1, 0.9).plot(axes(), steps=40).get_xlabel() == "step"


def test_few_steps_are_drawn_as_steps() -> None:
    assert Cosine(0.1, 0.0, 200).plot(axes()).lines[0].get_drawstyle() == "steps-post"
    assert Cosine(0.1, 0.0, 201).plot(axes()).lines[0].get_drawstyle() == "default"


def test_a_schedule_without_value_past_its_end_stops_there() -> None:
    ax = fastlr.plot([Cosine(0.1, 0.0, 300).past_end("error"), FULL], axes())
    assert max(ax.lines[0].get_xdata()) == 300


def test_values_that_are_not_finite_are_left_out() -> None:
    grows = Exponential(1.0, 10.0)
    assert np.isinf(grows(1000))
    assert "|" in chart({"a": grows}, steps=1000)
    grows.plot(axes(), steps=1000)


def test_pyplot_makes_the_figure() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    ax = FULL.plot()
    assert ax.figure.get_layout_engine() is not None
    pyplot.close(ax.figure)


REFUSED = [
    ([1.0], None, TypeError, "schedules hold something else: 1.0. Wrap numbers in Constant."),
    ([], None, ValueError, "schedules are none"),
    ({}, None, ValueError, "schedules are none"),
    ([FULL], ["a", "b"], ValueError, "labels are not as many as schedules: 2 for 1."),
]


@pytest.mark.parametrize(("schedules", "labels", "kind", "message"), REFUSED)
def test_bad_input(schedules: object, labels: list[str] | None, kind: type[Exception], message: str) -> None:
    ax = axes()
    with pytest.raises(kind, match=message):
        fastlr.plot(schedules, ax, labels=labels)  # type: ignore[arg-type]
    assert not ax.lines


def test_bad_steps() -> None:
    for steps in (0, -1, 2**60):
        with pytest.raises(ValueError, match="plot steps is out of range"):
            FULL.plot(axes(), steps=steps)
    with pytest.raises(TypeError, match="plot steps is not an integer"):
        FULL.plot(axes(), steps=1.5)


def test_without_matplotlib_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'torch-fastlr\[demo\]'"):
        FULL.plot()


def test_importing_fastlr_imports_nothing_that_draws_or_parses() -> None:
    late = {"matplotlib", "fastlr.pictures.axes", "fastlr.pictures.terminal", "fastlr.schedules.parser"}
    code = f"import sys, fastlr; fastlr.plot, fastlr.schedules.parse; print(sys.modules.keys() & {late})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_chart_in_ascii() -> None:
    shown = chart({"fall": Linear(1.0, 0.0, 4), "flat": Constant(0.5)}, width=30, ascii=True)
    fall, flat = (part.splitlines() for part in shown.split("\n\n"))
    assert fall[0] == "fall"
    assert fall[1] == "         1 |*****"
    assert fall[10] == "         0 |" + " " * 17 + "*"
    assert fall[11] == "           +" + "-" * 18
    assert fall[12] == "            0" + "step 4".rjust(17)
    assert [line for line in flat if "*" in line] == ["       0.5 |" + "*" * 18]
    assert max(len(line) for line in fall) <= 30
    assert shown.isascii()


def test_chart_in_braille() -> None:
    lines = chart({"s": Step(1.0, 500, 0.5)}, width=50, steps=1000, ascii=False).splitlines()
    assert lines[1].startswith("         1 |⠉⠉⠉")
    assert lines[10].startswith("      0.25 |")
    assert all(len(line) <= 50 for line in lines)
    assert any("⣿" >= sign > "⠀" for line in lines for sign in line)
