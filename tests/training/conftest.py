"""The training tests need torch; without it they are skipped, not failed."""

import pytest

pytest.importorskip("torch", reason="training tests need torch: pip install '.[training]'")
