"""No deadline for single examples: the first to reach a compiled loop waits until it is built."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("compiled_loops", deadline=None)
settings.load_profile("compiled_loops")
