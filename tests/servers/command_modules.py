"""To import this is to load what commands of preparation need: for processes that fork them."""

from __future__ import annotations

import maskmill.jobs.cli  # noqa: F401  # what forks shall have
from maskmill.pipeline.run.preload import preload_workers

preload_workers()
