"""Programs over drivers and GPUs of all kinds: each in a process of its own, forked where torch is imported already."""

import json
from typing import Any

from standin_driver import run_configured

# The driver is opened after the fork.
_FORKS = """
import json, os, sys, traceback
import torch, fastlr, cuda_places

def forked(settings, code):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        try:
            standin.configure(**settings)
            exec(code, {{"standin": standin}})
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        printed = pipe.read()
    os.waitpid(child, 0)
    return printed

print(json.dumps({{name: forked(*case) for name, case in json.loads({cases!r}).items()}}))
"""


def run_forked(cases: dict[str, tuple[dict[str, Any], str]]) -> dict[str, str]:
    """What each program prints, its exception included: (settings of the stand-in, Python that uses `standin`)."""
    found: dict[str, str] = json.loads(run_configured(_FORKS.format(cases=json.dumps(cases))).splitlines()[-1])
    return found


# The start of programs that take steps on both sides.
STEPS = """
import json, warnings
import torch, fastlr
from fastlr import _core, schedules
from cuda_places import Sides, StandinPlace, dense, normal

def sides(make=None, *, devices=(0,)):
    make = make or (lambda params: fastlr.SGD(params, lr=schedules.Linear(0.1, 0.0, 9), momentum=0.9))
    params = [normal(5), normal(300, dtype=torch.bfloat16)]
    return Sides(StandinPlace(standin), params, make, devices)

def said(action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(warning.message) for warning in caught]
"""
