"""Runs the script of a page as its reader would, twice: killed after five steps, and started again."""

from __future__ import annotations

import atexit
import faulthandler
import multiprocessing
import os
import re
import runpy
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from torch.nn.parallel import DistributedDataParallel

import tests
from tests.servers.processes import use_fork_server
from tests.trainers.record_model import Call, Step, read_processes, read_records, watch_model

ROOT = Path(tests.__file__).parent.parent
PAGES = ROOT / "docs" / "trainers"
KILLED_AT, SAVED_AT, ALL_STEPS = 5, 4, 9
DEADLINE_SECONDS = 240
PRELOADED = ["tests.trainers.run_pages", "maskmill.pipeline.loader", "transformers.trainer", "lightning"]


@dataclass(frozen=True)
class Page:
    """How a page is run.

    Attributes:
        name: Its file, without the ending.
        needs: The modules it is skipped without.
        world_sizes: Of the first and the second run.
        launched: Whether its ranks are started for it, as by torchrun; else it starts them by itself.
        changes: What the second run does otherwise: text of the page, and what stands in its place.
        restarts_itself: The trainer starts the second run; one script does both.
        clipped_norm: What the trainer clips gradients at, by itself.
    """

    name: str
    needs: tuple[str, ...]
    world_sizes: tuple[int, int] = (2, 1)
    launched: bool = True
    changes: dict[str, str] = field(default_factory=dict)
    restarts_itself: bool = False
    clipped_norm: float | None = None

    @property
    def layouts(self) -> tuple[str, str]:
        return ("sdpa", "sdpa" if self.restarts_itself else "padded")


FEWER_WORKERS = {"num_workers=2": "num_workers=1", '"sdpa"': '"padded"'}
ALL_PAGES = (
    Page("dataloader", ("torch",), changes=FEWER_WORKERS),
    # Its two ways to go on: torchdata's own state, and another number of workers.
    Page("stateful_dataloader", ("torchdata",), (1, 1), launched=False, changes={'"sdpa"': '"padded"'}),
    Page("stateful_dataloader", ("torchdata",), (1, 1), launched=False, changes=FEWER_WORKERS),
    Page("accelerate", ("accelerate",), changes=FEWER_WORKERS),
    Page(
        "transformers",
        ("accelerate",),
        changes=FEWER_WORKERS,
        clipped_norm=1.0,
    ),
    Page("lightning", ("lightning",), launched=False, changes={**FEWER_WORKERS, "devices=2": "devices=1"}),
    Page(
        "ray_train",
        ("ray.train",),
        world_sizes=(2, 2),
        launched=False,
        changes={"None, num_workers=2": "None, num_workers=1 if ray.train.get_checkpoint() else 2"},
        restarts_itself=True,
    ),
)


@dataclass(frozen=True)
class Run:
    """What reached the model and the optimizer: by rank, the calls of each step and the step itself."""

    world_size: int
    layout: str
    first_step: int
    steps: dict[int, list[tuple[list[Call], Step]]]


def read_script(page: Page) -> str:
    (script,) = re.findall(r"^```python\n(.*?)^```$", (PAGES / f"{page.name}.md").read_text(), re.DOTALL | re.MULTILINE)
    return script


def run_page(page: Page, dataset: str, folder: Path) -> tuple[Run, Run]:
    """Both runs of a page, in a folder of its own.

    Raises:
        AssertionError: The script did not end as it should; with what it said.
    """
    _link_datasets(folder, dataset)
    script, changed = read_script(page), read_script(page)
    for text, instead in page.changes.items():
        assert text in changed, f"{page.name}.md no longer says {text}"
        changed = changed.replace(text, instead)
    if page.restarts_itself:
        first, said = _launch(page, changed, folder, "first", page.world_sizes[0], dies=True)
        assert first == 0, said
        records = read_processes(folder / "first")
        return (
            _group(page, 0, {rank: parts[0] for rank, parts in records.items()}),
            _group(page, 1, {rank: parts[-1] for rank, parts in records.items()}),
        )
    first, said = _launch(page, script, folder, "first", page.world_sizes[0], dies=True)
    assert first != 0, said
    assert list((folder / "first").glob("died-*")), said  # killed, and not failed
    second, said = _launch(page, changed, folder, "second", page.world_sizes[1], dies=False)
    assert second == 0, said
    return _group(page, 0, read_records(folder / "first")), _group(page, 1, read_records(folder / "second"))


def run_to_the_end(
    page: Page, dataset: str, held_outs: Sequence[str], folder: Path
) -> list[tuple[dict[int, list[Call]], str]]:
    """A page run undisturbed, once for each held-out set, on one rank.

    Gives the calls of each run by rank, and its log.

    The model is a smaller one than on the page, and a RoBERTa, whose positions begin behind its padding id; the endless
    stream of `transformers` ends where the others do.
    """
    _link_datasets(folder, dataset)
    held_out = folder / "out" / "packed-heldout"
    script = re.sub(r"\bBert(Config|ForMaskedLM)\b", r"Roberta\1", read_script(page))
    smaller = {"hidden_size=128": "hidden_size=16", "intermediate_size=512": "intermediate_size=16"}
    one_rank = {"devices=2": "devices=1", "num_workers=2, use_gpu": "num_workers=1, use_gpu"}
    for text, instead in (smaller | one_rank | {"max_steps=9": "max_steps=3"}).items():
        script = script.replace(text, instead)
    runs = []
    for number, url in enumerate(held_outs):
        held_out.unlink()
        held_out.symlink_to(url)
        status, said = _launch(page, script, folder, f"run{number}", 1, dies=False)
        assert status == 0, (status, said)
        records = read_records(folder / f"run{number}")
        calls = {rank: [event for event in events if isinstance(event, Call)] for rank, events in records.items()}
        runs.append((calls, said))
    return runs


def _link_datasets(folder: Path, dataset: str) -> None:
    (folder / "out").mkdir(parents=True)
    for name in ("packed", "packed-heldout"):
        (folder / "out" / name).symlink_to(dataset)


def _group(page: Page, number: int, records: dict[int, list[Call | Step]]) -> Run:
    steps: dict[int, list[tuple[list[Call], Step]]] = {}
    for rank, events in records.items():
        calls: list[Call] = []
        steps[rank] = []
        for event in events:
            if isinstance(event, Call):
                calls.append(event)
            else:
                steps[rank].append((calls, event))
                calls = []
        assert not calls or number == 0, "the model was called once more after the last step"
    return Run(page.world_sizes[number], page.layouts[number], (0, SAVED_AT)[number], steps)


def _launch(page: Page, script: str, folder: Path, name: str, world_size: int, *, dies: bool) -> tuple[int, str]:
    """Run a script on so many ranks, as torchrun would, or once where it starts its ranks by itself."""
    (folder / name).mkdir()
    (folder / "train.py").write_text(script)
    environment = {
        "PYTHONPATH": f"{ROOT / 'tests' / 'trainers' / 'recorder'}{os.pathsep}{ROOT}",
        "MASKMILL_RECORD": str(folder / name),
        "MASKMILL_WATCHED": "RobertaForMaskedLM" if "RobertaForMaskedLM" in script else "BertForMaskedLM",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": "lo",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    }
    if dies:
        environment["MASKMILL_DIE_AT"] = str(KILLED_AT)
        # A trainer that starts ranks again asks them for their last checkpoint now and then: give it time to.
        environment["MASKMILL_DIE_AFTER_SECONDS"] = "2" if page.restarts_itself else "0"
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world_size)]
    log = folder / f"{name}.log"
    context = use_fork_server(*PRELOADED)
    processes = [
        context.Process(target=_run_script, args=(folder, log, environment | rank))
        for rank in (ranks if page.launched else [{}])
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
        _end_group(process.pid)
        process.join()
    return max(abs(process.exitcode or 0) for process in processes), log.read_text()[-6000:]


def _run_script(folder: Path, log: Path, environment: dict[str, str]) -> None:
    """A process of its own: `python train.py`, but for the seconds that importing takes."""
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # Python's own default on Linux, which a fork server changes
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.dump_traceback_later(DEADLINE_SECONDS - 20)  # into the log, where it hangs
    os.environ.update(environment)
    os.chdir(folder)
    torch.set_num_threads(1)
    watch_model(getattr(transformers, environment["MASKMILL_WATCHED"]), environment["MASKMILL_RECORD"])
    sys.argv = [str(folder / "train.py")]
    kept = runpy.run_path(sys.argv[0], run_name="__main__")
    if not torch.distributed.is_initialized():
        # To free DDP last ends its process group with the GIL held, which gloo's threads may need to end: a deadlock.
        assert not any(isinstance(value, DistributedDataParallel) for value in kept.values()), "DDP outlives its group"
    # End without freeing what the script has left: in what order the trainers themselves do is not ours.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if kept else 1)


def _end_group(group: int) -> None:
    """Ranks and workers that a killed parent left behind."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    """A port that no connection is given by chance while the ranks start: below Linux's range for those."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
