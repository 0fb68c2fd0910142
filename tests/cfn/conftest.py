"""Resolves each mode once; every test asks the result."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import modes  # noqa: E402
import resolve  # noqa: E402


@functools.cache
def fleet_of(mode: modes.Mode) -> resolve.Stack:
    return resolve.resolve(modes.ROOT, mode.parameters())


@pytest.fixture(params=modes.OFFERED, ids=str)
def mode(request) -> modes.Mode:
    return request.param


@pytest.fixture
def fleet(mode) -> resolve.Stack:
    return fleet_of(mode)
