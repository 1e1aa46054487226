"""A driver for the lease tests: `python -m tests.storage.drive URL BEAT_SECONDS HOLD_SECONDS`.

Prints `held`, `refused MESSAGE` and `ended`, each with the time it happened at.
"""

from __future__ import annotations

import sys
import time

from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError


def say(text: str) -> None:
    print(f"{time.monotonic()} {text}", flush=True)


def main(url: str, beat_seconds: float, hold_seconds: float) -> None:
    store = open_store(url)
    if store.capabilities.shared and not store.capabilities.local_paths:
        store.list()  # connected before the race begins
    say("ready")
    sys.stdin.readline()
    try:
        with hold_output(store, beat_seconds=beat_seconds) as lease:
            say("held")
            time.sleep(hold_seconds)
            lease.check()
            say("ending")
    except ConfigError as error:
        say(f"refused {error}")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
