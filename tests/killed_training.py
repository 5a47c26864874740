"""A training that goes on from its last checkpoint, for test_resume_killed.py to kill.

A server: it imports torch once, and forks a training for each line of its input, `NAME PATH`: one of OPTIONS, which
begins with the optimizer's class, and the checkpoint. A training tells what it begins to do, a line each; the server
tells how it ended.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which the first optimizer imports: once here, not once in each training

import fastlr
from fastlr.schedules import Linear

UPDATES, BETWEEN_CHECKPOINTS = 300, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": Linear(0.5, 0.9, 100), "weight_decay": 0.01},
    "AdamW": {"betas": (Linear(0.8, 0.9, 100), 0.999), "amsgrad": True},
    "Lion": {},
    "AdamW-recipe": {
        "max_grad_norm": 1.0,
        "max_grad_value": 0.01,
        "ema_decay": Linear(0.9, 0.99, 100),
        "stochastic_rounding": True,
        "rounding_seed": 3,
        "state_dtype": torch.float32,
        "zero_grad_in_step": True,
    },
}


class Training:
    """All that has to be the same after a restart: parameters, the optimizer with its count, the batches."""

    def __init__(self, name: str, path: Path) -> None:
        torch.manual_seed(0)
        self.path = path
        self.model = torch.nn.ModuleDict({"layers": torch.nn.Sequential()})
        for _ in range(3):
            self.model["layers"].append(torch.nn.Linear(128, 128)).append(torch.nn.Tanh())
        self.dtype = torch.bfloat16 if name.endswith("-recipe") else torch.float32
        self.model.to(self.dtype)
        groups = fastlr.param_groups(self.model, layer_decay=0.8)
        rate = fastlr.warmup_cosine(0.01, UPDATES, warmup=20)
        self.optimizer = getattr(fastlr, name.split("-")[0])(groups, lr=rate, **OPTIONS[name])
        self.generator = torch.Generator().manual_seed(1)

    def load(self) -> None:
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])

    def save(self) -> None:
        """The file is complete whenever it has its name."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)

    def update(self) -> None:
        x = torch.randn(64, 128, generator=self.generator).to(self.dtype)
        loss = (self.model["layers"](x) - x.roll(1, dims=1)).square().mean()
        loss.backward()
        self.optimizer.step()
        if not self.optimizer.param_groups[0]["zero_grad_in_step"]:
            self.optimizer.zero_grad()

    def run(self) -> None:
        self.load()
        while self.optimizer.step_count < UPDATES:
            tell("update")
            self.update()
            if self.optimizer.step_count % BETWEEN_CHECKPOINTS == 0:
                tell("write")
                self.save()


def tell(event: object) -> None:
    os.write(1, f"{event}\n".encode())


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        name, path = line.split(maxsplit=1)
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # one that hangs ends the test
            tell(os.getpid())
            Training(name, Path(path.rstrip("\n"))).run()
            os._exit(0)
        tell(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main()
