"""A training killed again and again by SIGKILL ends with the bits of one that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killed_training
import pytest
import torch
from sgd_cases import same_bits

KILLS, SEED = 20, 20
ENDED = "ended"


class Server:
    """The process that forks trainings, and what they tell."""

    def __init__(self) -> None:
        command = [sys.executable, killed_training.__file__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def events(self, name: str, path: Path) -> Iterator[str]:
        """Starts a training: its process id, what it begins to do, and how it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, path, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            yield line.rstrip("\n")
            if line.startswith(ENDED):
                return
        raise AssertionError(f"the server ended with {self.process.wait()}")

    def killed(self, name: str, path: Path, place: str, count: int, delay: float) -> str:
        """Kills a training some time after it begins to do that for the count-th time; returns where it died."""
        events = self.events(name, path)
        process, last = int(next(events)), ""
        for event in events:
            if event.startswith(ENDED):
                assert event == f"{ENDED} {-signal.SIGKILL}"
                break
            last = event
            count -= event == place
            if count == 0:
                time.sleep(delay)
                os.kill(process, signal.SIGKILL)
        return last

    def finished(self, name: str, path: Path) -> Any:
        """Runs a training to its end; returns its last checkpoint."""
        *_, end = self.events(name, path)
        assert end == f"{ENDED} 0"
        return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    with started.process:
        yield started
        started.process.kill()


def assert_same(actual: Any, expected: Any, where: str = "") -> None:
    assert type(actual) is type(expected), where
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, torch.Tensor):
        assert same_bits(actual, expected), where
    elif isinstance(expected, list):
        assert_same(dict(enumerate(actual)), dict(enumerate(expected)), where)
    else:
        assert actual == expected, where


@pytest.mark.parametrize("name", killed_training.OPTIONS)
def test_a_killed_training_ends_with_the_same_bits(name: str, server: Server, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    path = tmp_path / "killed.pt"
    died, torn = [], 0
    for number in range(KILLS):
        place = ("update", "write")[number % 2]
        count = draw.randint(1, 2 if place == "write" else 2 * killed_training.BETWEEN_CHECKPOINTS)
        died.append(server.killed(name, path, place, count, draw.uniform(0.0, 1e-3)))
        torn += path.with_suffix(".part").exists()
    assert {*died} == {"update", "write"}
    assert torn > 0, "no kill left an unfinished checkpoint"
    expected = server.finished(name, tmp_path / "undisturbed.pt")
    assert expected["optimizer"]["param_groups"][0]["step_count"] == killed_training.UPDATES
    assert torch.load(path, weights_only=True)["optimizer"]["param_groups"][0]["step_count"] < killed_training.UPDATES
    assert_same(server.finished(name, path), expected)
