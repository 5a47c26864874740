"""docs/optimizers.md, the chapter on other libraries: its code runs as pasted, and counts the updates."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import fastlr

transformers = pytest.importorskip("transformers", reason="needs `pip install torch-fastlr[integrations]`")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "optimizers.md").read_text(encoding="utf-8")
BLOCKS = {
    re.findall(r"(?:import|from) (\w+)", block)[0]: block
    for block in re.findall(r"```python integrations\n(.*?)```", PAGE, re.DOTALL)
}
UPDATES = {"transformers": 12, "lightning": 12, "ignite": 12, "accelerate": 3}


class Model(torch.nn.Linear):
    """Called by Trainer with names, by the others with a tensor."""

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> Any:
        out = super().forward(x)
        return out if y is None else {"loss": torch.nn.functional.mse_loss(out, y)}


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")  # depends on the machine's cores
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")  # Lightning's own use of torch's pytree
@pytest.mark.filterwarnings("ignore:.*tensorboardX|.*logging interval")  # its defaults, without TensorBoard
@pytest.mark.parametrize("name", UPDATES)
def test_the_block_of_a_library_runs_as_pasted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name, reason="needs `pip install torch-fastlr[integrations]`")
    made: list[fastlr.AdamW] = []

    class Noted(fastlr.AdamW):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(fastlr, "AdamW", Noted)
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    rows = [(x, x.sum(0, keepdim=True)) for x in torch.randn(24, 4, generator=generator)]
    model = Model(4, 1)
    before = model.weight.detach().clone()
    namespace = {
        "torch": torch,
        "fastlr": fastlr,
        "model": model,
        "dataset": [{"x": x, "y": y} for x, y in rows],
        "loader": torch.utils.data.DataLoader(rows, batch_size=4),  # type: ignore[arg-type]
    }
    if name == "transformers":
        options = {"max_steps": 12, "report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
        namespace["arguments"] = transformers.TrainingArguments(str(tmp_path), dataloader_pin_memory=False, **options)
    exec(BLOCKS[name], namespace)
    (optimizer,) = made
    assert optimizer.step_count == UPDATES[name]
    assert [group["held_steps"] for group in optimizer.param_groups] == [0, 0]
    assert [float(state["step"]) for state in optimizer.state.values()] == [UPDATES[name]] * 2
    assert not torch.equal(model.weight, before)


def test_every_block_is_run() -> None:
    assert list(BLOCKS) == list(UPDATES)
