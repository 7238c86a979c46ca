"""What tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no curves, which takes longer than these networks to train; test_loop has some drawn."""
    monkeypatch.setattr("rtvc.train.loop.draw", lambda *_: None)
