"""docs/optimizers.md: its code runs as pasted and does what the text says."""

from pathlib import Path

import doc_blocks
import pytest
import torch

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "optimizers.md").read_text(encoding="utf-8")


def test_the_python_blocks_run_as_pasted_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace, printed = doc_blocks.run(PAGE, capsys)
    assert printed[:2] == ["0.05 5 parameters", "0.0 7 parameters"]
    assert printed[2] == "0.316 0.05 ['embed.weight']"
    assert printed[-3] == "1.000 0.05 ['head.weight']"
    assert printed[-2:] == ["100 updates done", "{3} updates, no gradient left"]
    model = namespace["model"]
    assert isinstance(model, torch.nn.Module)
    assert [param.grad for param in model.parameters()] == [None] * 12
