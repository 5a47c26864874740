"""docs/recipe.md: its code runs as pasted, and its tables say what the optimizers do."""

import re
from pathlib import Path
from typing import Any

import doc_blocks
import pytest
import torch

import fastlr
from fastlr.optim import recipe

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "recipe.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]


def test_the_python_blocks_run_as_pasted_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace, printed = doc_blocks.run(PAGE, capsys)
    norm, *lines = printed
    assert re.fullmatch(r"norm of the last gradients: \d+\.\d\d", norm)
    stochastic = lines.pop(5)
    assert lines == [
        "the averages differ by less than 1e-4: True",
        "2 updates, scale 512.0",
        "norms (5.0, 0.25)",
        "[0.6, 0.7] of [0.6, 0.8], clamped; [0.25] as it was",
        "AveragedModel 40",
        "0.90",
    ]
    found = re.fullmatch(r"to nearest 0\.0000, masters 0\.0117, stochastic (0\.\d+), exactly 0\.01", stochastic)
    assert found
    assert float(found[1]) == pytest.approx(0.01, abs=0.001)
    assert namespace["averaged_loss"] < 1.0  # type: ignore[operator]
    model, optimizer = namespace["model"], namespace["optimizer"]
    assert isinstance(model, torch.nn.Module)
    assert isinstance(optimizer, fastlr.SGD)
    saved = torch.load("averaged.pt")
    assert torch.equal(saved["0.weight"], optimizer.state[model.get_parameter("0.weight")]["ema"])
    assert not torch.equal(saved["1.running_mean"], model.get_buffer("1.running_mean"))


def test_every_option_is_listed_with_its_default() -> None:
    assert {name.strip("`"): eval(default.strip("`")) for name, default, _ in rows("option")} == recipe.DEFAULTS


def bytes_of(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter) -> float:
    """An element, with parameter and gradient; counts are no part of it."""
    assert weight.grad is not None
    state = [value for value in optimizer.state[weight].values() if value.shape == weight.shape]
    return sum(tensor.nbytes for tensor in (weight, weight.grad, *state)) / weight.numel()


RULES: list[tuple[Any, dict[str, Any]]] = [(fastlr.SGD, {"momentum": 0.9}), (fastlr.AdamW, {}), (fastlr.Lion, {})]


@pytest.mark.parametrize("row", rows("parameters"), ids=lambda row: " ".join(row[:2]))
def test_the_bytes_of_an_element(row: list[str]) -> None:
    dtype, options, *expected = row
    given = eval(f"dict({options.strip('`')})", {"torch": torch})
    for (rule, more), size in zip(RULES, expected, strict=True):
        for extra in ({}, {"ema_decay": 0.9}):
            weight = torch.nn.Parameter(torch.ones(64, dtype=getattr(torch, dtype)))
            weight.grad = torch.ones_like(weight)
            optimizer = rule([weight], lr=0.1, **more, **given, **extra)
            optimizer.step()
            assert bytes_of(optimizer, weight) == float(size) + 4 * len(extra)


def test_the_decays_named_are_what_the_table_says() -> None:
    decays = {code.strip("`"): formula.split("`")[1] for code, formula in rows("given")[1:]}
    assert len(decays) == 2
    names: dict[str, Any] = {"fastlr": fastlr, "min": min}
    for code, formula in decays.items():
        schedule = eval(code, names)
        for t in (1, 2, 100, 10**6):
            scope = {"t": t, "min": min, "exp": lambda x: float(torch.tensor(x, dtype=torch.float64).exp())}
            assert schedule(t) == pytest.approx(eval(formula, scope), rel=1e-9)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (Path(__file__).resolve().parents[1] / "docs" / link).exists(), link
