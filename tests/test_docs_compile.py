"""docs/compile.md: its code runs as pasted, and the operator is what the page says."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import fastlr
import fastlr.optim.compiled

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "compile.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_the_python_block_runs_as_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    torch._dynamo.reset()
    script = tmp_path / "train.py"
    script.write_text(block, encoding="utf-8")
    exec(compile(block, script, "exec"), {"__name__": "train"})
    expected = fastlr.warmup_cosine(0.01, 100, warmup=10)(20)
    assert capsys.readouterr().out == f"20 {round(expected, 5)}\n"


def test_the_signature() -> None:
    (named,) = re.findall(r"`(fastlr::step\(.*?\))`", PAGE, re.DOTALL)
    schema = re.sub(r"a\d!", "!", str(torch.ops.fastlr.step.default._schema))
    assert schema == re.sub(r"[abc]!", "!", named.replace("\n", " ")) + " -> ()"
