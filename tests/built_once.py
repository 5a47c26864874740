"""Files that take long to make: once for each state of what they are made of, by the process that needs them first."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

HOME = Path(tempfile.gettempdir()) / f"fastlr-tests-{os.getuid()}"


def built_once(name: str, inputs: Iterable[bytes], build: Callable[[Path], object]) -> Path:
    """The file of that name, which build(folder) leaves in the folder. The inputs are all that it depends on."""
    home = HOME / hashlib.sha256(b"".join(inputs)).hexdigest()[:16]
    home.parent.mkdir(mode=0o700, exist_ok=True)
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=home) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / name).exists():
            build(Path(folder))
            (Path(folder) / name).replace(home / name)
    return home / name
