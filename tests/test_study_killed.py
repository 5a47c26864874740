"""Workers that are killed, and several at a time: no run is lost, and none is trained twice."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from study_cases import EXACT, RATES, quick_folder, training

from fastlr.demo import one_thread
from fastlr.studying import study
from fastlr.sweeping import sweep

optuna = pytest.importorskip("optuna")
killed_study = pytest.importorskip("killed_study")
STATE = optuna.trial.TrialState
ENDED = {"failed": "its process has ended"}


class Server:
    """The process that forks workers, and what they tell."""

    def __init__(self) -> None:
        command = [sys.executable, killed_study.__file__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, label: str, file: Path, at_once: int, last: int = 0) -> None:
        assert self.process.stdin is not None
        print(label, file, at_once, last, file=self.process.stdin, flush=True)

    def events(self) -> Iterator[tuple[str, str, str]]:
        """The label of a worker, what it does, and more of that."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            label, event, rest = line.rstrip("\n").split(" ", 2)
            assert event != "failed", rest
            yield label, event, rest

    def until_killed(self, label: str, file: Path, at_once: int, last: int) -> list[str]:
        """Run a worker that kills itself; returns the rates that it has trained."""
        self.start(label, file, 3, last)
        trained, writes = [], 0
        for _, event, rest in self.events():
            trained += rest.split() if event == "train" else []
            writes += event == "write"
            if writes == last or event == "result":
                return trained
        raise AssertionError(f"the server ended with {self.process.wait()}")

    def result(self) -> str:
        """What the worker that comes to its end first has found."""
        return next(rest for _, event, rest in self.events() if event == "result")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    with started.process:
        yield started
        started.process.kill()


@pytest.fixture
def file() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder / "runs.db"


@pytest.fixture(scope="module")
def expected() -> str:
    """The bits of a sweep that nobody disturbs."""
    with one_thread():
        return str(killed_study.told(sweep(*training(), RATES, **EXACT, seed=study_seed())))


def study_seed() -> int:
    from fastlr.studying.starts import seed_here

    training()
    return seed_here()


def ended(file: Path) -> list[Any]:
    return [trial for trial in study("killed", file).optuna.trials if trial.state in (STATE.COMPLETE, STATE.PRUNED)]


def test_a_worker_killed_at_every_write_loses_nothing_that_was_stored(
    server: Server, expected: str, file: Path
) -> None:
    trained: list[str] = []
    for last in range(1, 60):
        before = {repr(trial.params["lr"]) for trial in ended(file)} if file.exists() else set()
        now = server.until_killed(f"worker{last}", file, 3, last)
        assert not before & set(now), "what was stored is trained again"
        trained += now
        if len(ended(file)) == len(RATES):
            break
    assert last > 10, "the kills came too late"
    server.start("last", file, 3)
    assert server.result() == expected
    assert collections.Counter(repr(trial.params["lr"]) for trial in ended(file)) == dict.fromkeys(map(repr, RATES), 1)


def test_two_workers_share_the_groups(server: Server, expected: str, file: Path) -> None:
    server.start("one", file, 1)
    server.start("two", file, 1)
    trained, results = collections.defaultdict(list), {}
    for label, event, rest in server.events():
        if event == "train":
            trained[label].append(rest)
        if event == "result":
            results[label] = rest
        if len(results) == 2:
            break
    assert results == {"one": expected, "two": expected}
    assert sorted(trained["one"] + trained["two"]) == sorted(map(repr, RATES))
    assert trained["one"], trained["two"]


def test_a_worker_takes_over_what_one_that_is_killed_was_training(server: Server, expected: str, file: Path) -> None:
    server.start("one", file, 1)
    events = server.events()
    process = int(next(rest for _, event, rest in events if event == "process"))
    assert next(rest for _, event, rest in events if event == "train") == repr(RATES[0])
    server.start("two", file, 1)
    next(event for label, event, _ in events if label == "two")
    os.kill(process, signal.SIGKILL)
    assert server.result() == expected
    (first,) = [trial for trial in study("killed", file).optuna.trials if trial.user_attrs["fastlr_outcome"] == ENDED]
    assert (first.state, first.params["lr"]) == (STATE.FAIL, RATES[0])
    retried = [trial for trial in ended(file) if "failed_trial" in trial.system_attrs]
    retry = optuna.storages.RetryHeartbeatStaleTrialCallback
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        assert [retry.retried_trial_number(one) for one in retried] == [first.number]
    assert retried[0].params == first.params
