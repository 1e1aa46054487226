"""A worker, a rank or the whole job killed at any moment, then resumed, reads what an undisturbed run reads."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.loader.reading_job import MICRO, G, read_log
from tests.loader.streams import hash_batches, open_loader

STEPS = 30
SECONDS_A_BATCH = 0.004
MAX_LINES_AHEAD = 10  # that a job is killed behind, so that it may be anywhere


@pytest.fixture(scope="module")
def jobs():
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.loader.reading_job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Jobs(server)
    server.communicate()


class Jobs:
    """Starts, awaits and kills jobs."""

    def __init__(self, server):
        self._server = server

    def start(self, log, url, workers=0, rank=0, world_size=1, others=()):
        Path(f"{log}.ended").unlink(missing_ok=True)
        arguments = [str(log), url, rank, world_size, workers, STEPS, SECONDS_A_BATCH, [str(other) for other in others]]
        self._server.stdin.write(json.dumps(arguments) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def await_lines(self, log, count):
        """Until the log has so many lines, or the job has ended."""
        deadline = time.monotonic() + 60
        while len(read_log(log)) < count and not Path(f"{log}.ended").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def await_end(self, log):
        deadline = time.monotonic() + 60
        while not (ended := Path(f"{log}.ended")).exists() or not (how := ended.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return how

    def finish(self, log, *arguments, **settings):
        self.start(log, *arguments, **settings)
        assert self.await_end(log) == "whole"

    def kill(self, pid):
        """The job and its workers, at once; False if it had ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
            return True
        return False


def expect(url):
    loader = open_loader(url, global_batch_rows=G, micro_batch_rows=MICRO)
    return [hash_batches([batch]) for batch in loader.steps(STEPS)]


@pytest.mark.long
def test_the_whole_job_killed_again_and_again_reads_what_an_undisturbed_one_reads(dataset, tmp_path, jobs):
    log, ahead, chance = tmp_path / "log", tmp_path / "ahead", random.Random(1)
    for workers in (0, 2, 1, 3):  # resumed with another number of them each time
        lines = len(read_log(log)) + chance.randrange(5, 80)
        ahead.write_text("{}\n" * (lines + MAX_LINES_AHEAD))  # a rank that goes no further: the job cannot end
        pid = jobs.start(log, dataset, workers, others=[ahead])
        jobs.await_lines(log, lines)
        assert jobs.kill(pid)
    jobs.finish(log, dataset)
    assert [line["hash"] for line in read_log(log)] == expect(dataset)


def test_a_killed_worker_stops_the_job_which_goes_on_where_it_was(dataset, tmp_path, jobs):
    log = tmp_path / "log"
    pid = jobs.start(log, dataset, workers=2)
    jobs.await_lines(log, 20)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert jobs.await_end(log) != "whole"  # torch says that a worker died, or that a connection was reset
    assert 20 <= len(read_log(log)) < len(expect(dataset))
    jobs.finish(log, dataset, workers=2)
    assert [line["hash"] for line in read_log(log)] == expect(dataset)


@pytest.mark.long
def test_a_killed_rank_and_then_another_number_of_ranks(dataset, tmp_path, jobs):
    """Both ranks go back to the last global batch that both have read, as from a checkpoint; then there are three."""
    logs = [tmp_path / f"log-{rank}" for rank in range(2)]
    pids = [jobs.start(logs[rank], dataset, rank=rank, world_size=2, others=[logs[1 - rank]]) for rank in range(2)]
    jobs.await_lines(logs[1], 25)
    assert all(jobs.kill(pid) for pid in reversed(pids))  # a launcher ends the others when one has died
    lines = [read_log(log) for log in logs]
    whole = [[line["state"] for line in rank if line["state"]["rows_served"] == 0] for rank in lines]
    steps = min(len(states) for states in whole)
    assert 0 < steps < STEPS
    served = {step: [] for step in range(STEPS)}
    per_epoch = open_loader(dataset, global_batch_rows=G).steps_per_epoch

    def take(rank):
        for line in rank:
            epoch, step = line["place"]
            served[epoch * per_epoch + step] += line["rows"]

    for rank in lines:
        take(rank[: steps * (G // 2 // MICRO)])
    for rank in range(3):
        log = tmp_path / f"again-{rank}"
        log.write_text(json.dumps({"state": whole[0][steps - 1]}) + "\n")
        jobs.finish(log, dataset, rank=rank, world_size=3)
        take(read_log(log)[1:])
    alone = open_loader(dataset, global_batch_rows=G).steps(STEPS)
    assert [served[step] for step in range(STEPS)] == [batch.row_ids.tolist() for batch in alone]
