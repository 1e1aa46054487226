"""To import this is to load what commands of preparation need: for processes that fork them."""

from __future__ import annotations

import maskmill.jobs.cli  # noqa: F401  # what forks shall have
from maskmill.pipeline.run.preload import preload_workers
from tests.servers.no_power_cut import leave_files_to_the_kernel

preload_workers()
leave_files_to_the_kernel()
