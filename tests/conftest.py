"""Every test sees the installed package, and hypothesis neither times examples nor draws them by chance."""

import contextlib
import importlib.util
import os
import signal
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cuda_tensors
import hypothesis
import pytest
import standin_driver
import torch

SOURCE = Path(__file__).resolve().parents[1] / "fastlr"
FOUND = importlib.util.find_spec("fastlr")

if FOUND is None or FOUND.origin is None or Path(FOUND.origin).resolve().parent == SOURCE:
    raise pytest.UsageError(
        f"the tests need the installed package, not the source folder: {SOURCE}. Run `pip install .`, then `pytest`, "
        "which leaves the current folder off sys.path as `python -m pytest` does not."
    )

hypothesis.settings.register_profile("fastlr", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fastlr")


# Marked `once`: no part of a wheel's compiled code decides what these show. First the tools and other compilers, then
# what is Python around the steps and schedules that the other tests have for both wheels.
ONCE = ("test_check_*", "test_compile*", "test_*ptx*", "test_gpu_report*", "test_invariants.*", "test_new_rule.*")
ONCE += ("test_occupancy.*", "test_resume_killed.*", "test_standin*")
ONCE += ("test_bench*", "test_cli*", "test_demo*", "test_docs_*", "test_gallery.*", "test_plot.*", "test_readme.*")
ONCE += ("test_find_lr*", "test_searching_*", "test_stud*", "test_sweep_*", "test_distributed_*_dict.*")
ONCE += ("test_distributed_checkpoint.*", "test_accelerate.*", "test_ignite.*", "test_lightning.*", "test_trainer.*")

# These take longest: where several processes take one file after another, none begins with one of them at the end.
LONGEST = ("test_cuda_ptx.py", "test_new_rule.py", "test_sweep_equal.py", "test_bench.py", "test_recipe_bits.py")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(fnmatch(item.path.name, pattern) for pattern in ONCE):
            item.add_marker(pytest.mark.once)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, and torch built with CUDA"))


def load_standin() -> standin_driver.Standin:
    try:
        cuda_tensors.types()
        return standin_driver.load()
    except standin_driver.Unavailable as problem:
        if os.environ.get("FASTLR_REQUIRE_STANDIN") == "1":
            raise
        pytest.skip(str(problem))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Loads the stand-in before the first test: whoever opens the driver keeps what was found."""
    if any({"standin", "place"} & {*getattr(item, "fixturenames", ())} for item in session.items):
        with contextlib.suppress(standin_driver.Unavailable):  # the tests that ask for it say so
            standin_driver.load()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C is raised, as in a terminal: a shell's background jobs ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def one_threaded() -> Iterator[None]:
    """With one thread of torch's, as few threads as the small networks of some tests want."""
    from fastlr.demo import one_thread

    with one_thread():
        yield


@pytest.fixture
def kept() -> Any:
    """A study in memory, where nothing waits for a disk."""
    from fastlr.studying import study

    return study("digits", pytest.importorskip("optuna").storages.InMemoryStorage())


@pytest.fixture
def standin() -> Iterator[standin_driver.Standin]:
    """The stand-in for CUDA's driver, without records of earlier tests. Any damage that it saw fails the test."""
    driver = load_standin()
    driver.reset()
    contexts = driver.contexts()
    yield driver
    driver.finish()
    problems = [event["text"] for event in driver.events("problem") if event["text"] not in driver.expected]
    assert problems == []
    assert driver.damage() == ""
    assert driver.contexts() == contexts
    driver.reset()


@pytest.fixture
def cuda(standin: standin_driver.Standin) -> Iterator[Any]:
    """The stand-in's entry points, called as C calls them."""
    import standin_calls

    with standin_calls.context(standin) as calls:
        yield calls


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def place(request: pytest.FixtureRequest) -> Any:
    """Where a test of the CUDA path runs: the stand-in, or a GPU."""
    import cuda_places

    if request.param == "gpu":
        return cuda_places.GpuPlace()
    return cuda_places.StandinPlace(request.getfixturevalue("standin"))


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two processes with a gloo group between them, started at their first use."""
    import distributed_processes

    with distributed_processes.Ranks(tmp_path_factory.mktemp("ranks")) as processes:
        yield processes
