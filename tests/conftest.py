"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

#: `make fuzz`: bounded, but far more than a test run can spend on each change.
settings.register_profile("fuzz", max_examples=1000, deadline=None)
