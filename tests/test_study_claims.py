"""Who trains what: one worker for each group, however they come and go."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_cases import EXACT, RATES, Counted, assert_same, changed, quick_folder, training

from fastlr.sweeping import sweep

optuna = pytest.importorskip("optuna")
claims = pytest.importorskip("fastlr.studying.claims")
work = pytest.importorskip("fastlr.studying.work")
owners = pytest.importorskip("fastlr.studying.owners")
from fastlr.studying import study  # noqa: E402
from fastlr.studying.packing import PIECE, packed, unpacked  # noqa: E402
from fastlr.studying.starts import Start  # noqa: E402
from fastlr.studying.store import Store  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_threaded")

Patch = pytest.MonkeyPatch
ENDS = [work.Ended(0.5, {1: 0.5}, {}), work.Ended(None, {}, {})]
START = Start("parameters", "batch", 0, 1.0)
STATE = optuna.trial.TrialState


class Killed(BaseException):
    """Ends a worker as a kill does, which tells the store nothing."""


class Workers:
    """Workers in threads that share groups and die now and then."""

    def __init__(self, seed: int, groups: int) -> None:
        self.storage = optuna.storages.InMemoryStorage()
        self.groups = [
            work.Group(f"group{index}", [work.Planned(0.1 * (place + 1), {"place": place}) for place in range(2)])
            for index in range(groups)
        ]
        self.draw = random.Random(seed)
        self.lock = threading.Lock()
        self.training: Counter[str] = Counter()
        self.trained: Counter[str] = Counter()
        self.deaths = 0
        self.problems: list[str] = []

    def train(self, group: Any, *_: object) -> dict[str, Any]:
        with self.lock:
            self.training[group.key] += 1
            if self.training[group.key] > 1:
                self.problems.append(f"{group.key} is trained by two")
            dies = self.draw.random() < 0.6
        threading.Event().wait(self.draw.random() / 500)
        with self.lock:
            self.training[group.key] -= 1
            self.deaths += dies
            if dies:
                raise Killed
            self.trained[group.key] += 1
        return {"of": group.key}

    def run(self) -> None:
        """Start again after each death, as a new process."""
        while True:
            store = Store(self.storage, "memory", "claimed", create=True)
            ledger = claims.Ledger(store, "question", START, other_start=False)
            one = work.Work(store, ledger, self.groups, self.train, lambda record: list(ENDS), lambda found: found)
            ledger.abandon = lambda trial_id, owner, error: owners.release(owner)
            try:
                found = one.done()
            except Killed:
                continue
            if found != {group.key: {"of": group.key} for group in self.groups}:
                self.problems.append(f"found {found}")
            return


@pytest.mark.parametrize("seed", range(6))
def test_each_group_is_trained_once_by_whoever_lives(seed: int, monkeypatch: Patch) -> None:
    monkeypatch.setattr(claims, "POLL", 0.001)
    workers = Workers(seed, groups=5)
    threads = [threading.Thread(target=workers.run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert workers.problems == []
    assert workers.trained == {group.key: 1 for group in workers.groups}
    assert workers.deaths > 0
    trials = optuna.load_study(study_name="claimed", storage=workers.storage).trials
    done = Counter((one.system_attrs["fastlr:group"], one.system_attrs["fastlr:place"])
                   for one in trials if one.state in (STATE.COMPLETE, STATE.PRUNED))  # fmt: skip
    assert done == {(group.key, place): 1 for group in workers.groups for place in range(2)}
    assert {one.state for one in trials} == {STATE.COMPLETE, STATE.PRUNED, STATE.FAIL}


@pytest.mark.parametrize("before", [True, False], ids=["before it is added", "before it looks again"])
def test_of_two_claims_the_first_one_counts(before: bool) -> None:
    storage = optuna.storages.InMemoryStorage()
    one, other = (Store(storage, "memory", "claimed", create=True) for _ in range(2))
    rival: list[Any] = []
    add = one.add

    def interrupted(trial: Any) -> int:
        """The other one claims the same meanwhile."""
        added = None if before else add(trial)
        ledger = claims.Ledger(other, "question", START, other_start=False)
        rival.append(ledger.take("group", {}, 0.1))
        return add(trial) if added is None else added

    one.add = interrupted  # type: ignore[method-assign]
    mine = claims.Ledger(one, "question", START, other_start=False).take("group", {}, 0.1)
    assert [claim is not None for claim in (mine, rival[0])] == [not before, before]
    lost = [trial for trial in one.trials() if trial.state == STATE.FAIL]
    assert [trial.user_attrs["fastlr_outcome"] for trial in lost] == [{"superseded by": 0}]


def test_who_has_come_to_an_end_since_is_not_dead(monkeypatch: Patch) -> None:
    """A process may store its result and end between a look at the trials and one at the process."""
    kept = Store(optuna.storages.InMemoryStorage(), "memory", "claimed", create=True)
    ledger = claims.Ledger(kept, "question", START, other_start=False)
    mine = ledger.take("group", {}, 0.1)
    assert mine is not None

    def ends(owner: Any) -> bool:
        kept.write(mine.id, "fastlr:whole", 0)
        kept.finish(mine.id, STATE.COMPLETE, 0.5)
        owners.release(owner)
        return True

    monkeypatch.setattr(claims.owners, "is_gone", ends)
    (seen,) = ledger.claims()
    assert (seen.is_dead, seen.is_alive, seen.is_over) == (False, False, True)


def elsewhere(file: Path, beat: str) -> None:
    """A claim of a machine that is not this one, whose heart has beaten at that time."""
    kept = study("digits", file)
    with pytest.raises(Killed):
        kept.sweep(*training(), RATES[:2], progress=dies, **EXACT)
    with contextlib.closing(sqlite3.connect(file)) as database:
        ((owner,),) = database.execute("SELECT value_json FROM trial_system_attributes WHERE key = 'fastlr:owner'")
    moved = json.dumps({**json.loads(owner), "machine": "elsewhere"})
    changed(file, f"UPDATE trial_system_attributes SET value_json = '{moved}' WHERE key = 'fastlr:owner'")
    changed(file, "UPDATE trials SET state = 'RUNNING'")
    changed(file, f"UPDATE trial_heartbeats SET heartbeat = {beat}")


def dies(*_: object) -> None:
    raise Killed


class Waited(Exception):
    pass


def waiting(_: float) -> None:
    raise Waited


def test_a_worker_elsewhere_is_awaited_while_its_heart_beats(monkeypatch: Patch) -> None:
    with quick_folder() as folder:
        elsewhere(folder / "runs.db", "CURRENT_TIMESTAMP")
        monkeypatch.setattr(claims.time, "sleep", waiting)
        with pytest.raises(Waited):
            study("digits", folder / "runs.db").sweep(*training(), RATES[:2], **EXACT)


def test_a_worker_elsewhere_whose_heart_has_stopped_is_given_up(monkeypatch: Patch) -> None:
    with quick_folder() as folder:
        elsewhere(folder / "runs.db", "datetime('now', '-121 seconds')")
        kept = study("digits", folder / "runs.db")
        assert [run.state for run in kept.runs] == ["failed"]
        assert_same(kept.sweep(*training(), RATES[:2], **EXACT), sweep(*training(), RATES[:2], **EXACT))
        assert [run.state for run in kept.runs] == ["failed", "done", "done"]


def test_a_worker_elsewhere_without_a_first_beat_gets_one(monkeypatch: Patch) -> None:
    """Or nobody could ever tell that it has died."""
    with quick_folder() as folder:
        elsewhere(folder / "runs.db", "CURRENT_TIMESTAMP")
        changed(folder / "runs.db", "DELETE FROM trial_heartbeats")
        monkeypatch.setattr(claims.time, "sleep", waiting)
        for beat in ("datetime('now', '-119 seconds')", "datetime('now', '-121 seconds')"):
            with pytest.raises(Waited):
                study("digits", folder / "runs.db").sweep(*training(), RATES[:2], **EXACT)
            changed(folder / "runs.db", f"UPDATE trial_heartbeats SET heartbeat = {beat}")
        assert len(study("digits", folder / "runs.db").sweep(*training(), RATES[:2], **EXACT).rates) == 2


def test_a_claim_that_was_taken_away_keeps_its_result_without_training_again() -> None:
    """As Optuna does with a worker that it takes for dead, of a computer that was asleep."""
    kept, counted = study("digits", optuna.storages.InMemoryStorage()), Counted()

    def taken_away(done: int, *_: object) -> None:
        counted(done)
        if done == EXACT["steps"] and len(kept.optuna.trials) == 1:
            kept.optuna._storage.set_trial_state_values(kept.optuna.trials[0]._trial_id, STATE.FAIL)

    found = kept.sweep(*training(), RATES, progress=taken_away, **EXACT)
    assert_same(found, sweep(*training(), RATES, **EXACT))
    assert counted.steps.count(EXACT["steps"]) == 1
    assert [run.state for run in kept.runs] == ["failed", *["done"] * len(RATES)]


def test_an_interrupted_sweep_says_so_at_once_and_goes_on_when_it_is_asked_again() -> None:
    kept = study("digits", optuna.storages.InMemoryStorage())

    def stops(done: int, *_: object) -> None:
        if done > EXACT["steps"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.sweep(*training(), RATES, at_once=2, progress=stops, **EXACT)
    assert [run.state for run in kept.runs] == ["done", "done", "failed"]
    assert kept.runs[2].outcome == {"failed": "KeyboardInterrupt"}
    options = {**EXACT, "freeze_above": None}
    assert_same(kept.sweep(*training(), RATES, at_once=2, **EXACT), sweep(*training(), RATES, **options))
    assert [run.rate for run in kept.runs if run.state == "done"] == RATES


def test_a_process_number_that_is_used_again_is_not_the_owner() -> None:
    owner = owners.new_owner()
    assert not owners.is_gone(owner)
    assert owners.is_gone({**owner, "started": owner["started"] - 1})
    assert owners.is_gone({**owner, "pid": 2**22 + 1})  # above the largest that Linux gives
    assert not owners.is_gone({**owner, "machine": "elsewhere", "pid": 2**22 + 1})
    owners.release(owner)
    assert owners.is_gone(owner)


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = {**owners.new_owner(), "pid": process.pid, "started": owners._started(process.pid)}
        assert not owners.is_gone(owner)
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}").exists()
        assert owners.is_gone(owner)


def test_a_group_that_is_half_written_is_completed_where_losses_are_rounded_otherwise(monkeypatch: Patch) -> None:
    """Another processor may go on, whose first loss is not the same to the last digit."""
    with quick_folder() as folder:
        file, add, added = folder / "runs.db", Store.add, []

        def killed(self: Store, trial: Any) -> int:
            if len(added) == 2:
                raise Killed
            added.append(trial)
            return int(add(self, trial))

        monkeypatch.setattr(Store, "add", killed)
        with pytest.raises(Killed):
            study("digits", file).sweep(*training(), RATES, **EXACT)
        monkeypatch.setattr(Store, "add", add)
        loss = added[0].system_attrs["fastlr:start"]["loss"]
        change = f"REPLACE(value_json, '{loss!r}', '{loss * (1 + 1e-7)!r}')"
        changed(file, f"UPDATE trial_system_attributes SET value_json = {change} WHERE key = 'fastlr:start'")
        kept = study("digits", file)
        assert_same(kept.sweep(*training(), RATES, **EXACT), sweep(*training(), RATES, **EXACT))
        assert Counter(run.rate for run in kept.runs if run.state == "done") == dict.fromkeys(RATES, 1)
        assert all(run.result is not None for run in kept.runs if run.state == "done")
        assert {run.start["loss"] for run in kept.runs} == {loss * (1 + 1e-7)}


def test_results_come_in_pieces_that_every_database_can_hold() -> None:
    losses = np.random.default_rng(0).standard_normal((1000, 40))
    losses[3, 5] = np.nan
    pieces = packed({"losses": losses, "start": 0.1})
    assert len(pieces) > 4
    assert max(map(len, pieces)) == PIECE < 65_535 - 2
    assert "".join(pieces).isascii()
    found = unpacked(pieces)
    assert found["losses"].tobytes() == losses.tobytes()
    assert found["start"] == 0.1
