"""docs/distributed.md: its script runs on two ranks as pasted, and goes on from its checkpoint."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "distributed.md").read_text(encoding="utf-8")
# torch's gloo threads abort a process that ends while they let go of their last tensor (pytorch/pytorch#190489).
AND_WAIT = "import time\n\ntime.sleep(1.0)\n"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs a torch that was built with distributed")
def test_the_script_runs_as_pasted(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("\n".join([*BLOCKS, AND_WAIT]), encoding="utf-8")
    # Each rank's output in a file of its own: what two of them print to one pipe is mixed.
    how = ["--standalone", "--nproc-per-node", "2", "--redirects", "1", "--log-dir", "logs"]
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *how, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    printed = [log.read_text(encoding="utf-8") for log in (tmp_path / "logs").rglob("stdout.log")]
    assert sorted(printed) == ["0 20 True\n", "1 20 True\n"]
