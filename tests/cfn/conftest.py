"""Resolves each mode once; every test asks the result. The longest tests come first."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import modes  # noqa: E402
import resolve  # noqa: E402


# The longest first, so that no worker begins with one of them when the others are done; who is done takes of what another has yet
# to do (tests/cfn/run: --dist worksteal).
LONGEST = ("test_scripts.py", "test_resolved_lint.py", "test_faults.py", "test_deploy.py")


def pytest_collection_modifyitems(items):
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@functools.cache
def fleet_of(mode: modes.Mode) -> resolve.Stack:
    return resolve.resolve(modes.ROOT, mode.parameters())


@pytest.fixture(params=modes.OFFERED, ids=str)
def mode(request) -> modes.Mode:
    return request.param


@pytest.fixture
def fleet(mode) -> resolve.Stack:
    return fleet_of(mode)
