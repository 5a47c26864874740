"""The Python blocks of a page of documentation."""

import re

import pytest


def run(page: str, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, object], list[str]]:
    """Run them as pasted, one after another: what they have defined, and the lines that they printed."""
    namespace: dict[str, object] = {}
    printed: list[str] = []
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, namespace)
        printed += capsys.readouterr().out.splitlines()
    return namespace, printed
