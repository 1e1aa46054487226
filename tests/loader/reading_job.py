"""Jobs that read batches and write down what they saw: for tests that kill them.

    python -m tests.loader.reading_job

imports all that a job needs, then forks one for each line of its standard input, a JSON list of LOG, DATASET, RANK,
WORLD_SIZE, WORKERS, STEPS, SECONDS_A_BATCH and OTHERS, and answers with its process id, which is its process group too.
OTHERS are the logs of the ranks that run beside it: none of them gets more than one batch ahead of another, as ranks
that add up their gradients.

LOG has one line a batch: its step, its hash and the state after it. A line is whole or is not there; a job goes on
after the last whole line, as a trainer does from its last checkpoint. How it ended stands in LOG.ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from typing import Any

from torch.utils.data import DataLoader

from tests.loader.streams import hash_batches, open_loader
from tests.servers.processes import die_with_parent

G, MICRO = 24, 2


def read_log(path: str) -> list[dict[str, Any]]:
    """The whole lines of a log."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def cut_log(path: str) -> list[dict[str, Any]]:
    """Drop a line that was cut off; returns the others."""
    lines = read_log(path)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return lines


def read(
    log: str, url: str, rank: int, world_size: int, workers: int, steps: int, seconds: float, others: list[str]
) -> None:
    """Read to the end, from wherever the log stops."""
    settings = {"global_batch_rows": G, "rank": rank, "world_size": world_size, "micro_batch_rows": MICRO}
    loader = open_loader(url, **settings).steps(steps)
    done = cut_log(log)
    if done:
        loader.load_state_dict(done[-1]["state"])
    with open(log, "a", encoding="utf-8") as file:
        for lines, batch in enumerate(DataLoader(loader, batch_size=None, num_workers=workers), len(done) + 1):
            place = [batch.epoch, batch.step]
            line = {"place": place, "hash": hash_batches([batch]), "rows": batch.row_ids.tolist(), "state": batch.state}
            file.write(json.dumps(line) + "\n")
            file.flush()
            time.sleep(seconds)
            while any(len(read_log(other)) < lines for other in others):
                time.sleep(seconds)


def main() -> None:
    """Fork jobs until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        arguments = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
            continue
        die_with_parent()  # one that waits for others would wait for ever
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        how = "whole"
        try:
            read(*arguments)
        except BaseException:  # noqa: BLE001 - whatever it was, the test reads it
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise once more, while this is told
            how = traceback.format_exc()
        with open(f"{arguments[0]}.ended", "w", encoding="utf-8") as file:
            file.write(how)
        os._exit(0)


if __name__ == "__main__":
    main()
