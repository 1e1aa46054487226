"""What every benchmark shares: the text it runs on, one core, and the line it prints."""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from maskmill.pipeline.corpus.write_python_docs import write_python_docs
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.run_file import RunFile

CORPORA = "MASKMILL_CORPORA"


@dataclass(frozen=True)
class Figure:
    """One line of the benchmarks' table.

    Attributes:
        work: What was done.
        ours: Our figure.
        peer: Who else did it.
        theirs: Their figure, or why there is none.
        unit: Of both.
    """

    work: str
    ours: float
    peer: str
    theirs: float | str
    unit: str

    @property
    def ratio(self) -> str:
        """Ours over theirs."""
        return f"{self.ours / self.theirs:.1f}x" if isinstance(self.theirs, float) and self.theirs else ""


def find_text(name: str, scratch: str) -> tuple[str, str]:
    """A corpus of `MASKMILL_CORPORA`, or the documentation of the installed packages where it is not set.

    Returns:
        A glob of JSONL files and what the text is.
    """
    folder = os.environ.get(CORPORA)
    if folder:
        found = glob.glob(os.path.join(folder, f"{name}.jsonl*"))
        if found:
            return found[0], name
    write_python_docs(os.path.join(scratch, "docs"), num_files=1, target_bytes=14_000_000)
    return os.path.join(scratch, "docs", "*.jsonl"), "python docs"


def find_all_texts(scratch: str) -> tuple[list[str], str]:
    """Every corpus of `MASKMILL_CORPORA`, or the documentation of the installed packages; and what the text is."""
    folder = os.environ.get(CORPORA)
    found = sorted(glob.glob(os.path.join(folder, "*.jsonl*"))) if folder else []
    if found:
        return found, f"{len(found)} corpora"
    path, name = find_text("", scratch)
    return [path], name


def read_texts(path: str, max_bytes: int | None = None) -> list[str]:
    """The texts of JSONL files, at most about so many bytes of them."""
    texts, num_bytes = [], 0
    for name in sorted(glob.glob(path)):
        with pa.input_stream(name) as file, io.TextIOWrapper(io.BufferedReader(file), "utf-8", newline="\n") as lines:
            for line in lines:
                if max_bytes is not None and num_bytes >= max_bytes:
                    return texts
                texts.append(json.loads(line)["text"])
                num_bytes += len(texts[-1].encode())
    return texts


def write_run_file(
    path: str, inputs: list[str], output: str, workers: int, tokenizer: str, shard_mb: int | None = None
) -> str:
    """A run file of defaults for these inputs and a tokenizer that is brought; returns its path."""
    lines = [
        f"[input]\npaths = {json.dumps(inputs)}",
        f"[output]\nurl = {json.dumps(output)}",
        "[documents]\nheld_out = 0.0" + (f"\nshard_mb = {shard_mb}" if shard_mb else ""),
        f"[tokenizer]\nfrom = {json.dumps(tokenizer)}",
        f"[engine]\nworkers = {workers}",
    ]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def make_run_file(inputs: Sequence[str], output: str, workers: int) -> RunFile:
    """The same as an object, with a vocabulary to train."""
    return RunFile.model_validate(
        {
            "input": {"paths": list(inputs)},
            "output": {"url": output},
            "documents": {"held_out": 0.0},
            "engine": {"workers": workers},
        }
    )


def train_tokenizer(paths: Sequence[str], output: str) -> bytes:
    """Train a vocabulary on corpora, unless the output has one; returns its tokenizer.json."""
    prepare(make_run_file(paths, output, workers=1), str, Part.TOKENIZER)
    with open(os.path.join(output, "tokenizer", "tokenizer.json"), "rb") as file:
        return file.read()


def prepare_packed(scratch: str) -> tuple[str, str]:
    """English novels, or what stands in for them, as a packed dataset with rows of 512; its path and what the text is.

    Shared by the benchmarks of one run.
    """
    path, name = find_text("eltec-eng", scratch)
    output = os.path.join(scratch, "packing")
    prepare(make_run_file([path], output, workers=1), str)
    return os.path.join(output, "packed"), name


def use_one_core() -> None:
    """Keep this process and all its threads on one core."""
    os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def seconds_of(work: Callable[[], object], *, repeats: int = 1) -> float:
    """The quickest of some runs: what else the machine does only ever adds."""
    return min(_timed(work) for _ in range(repeats))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass
class AddedMemory:
    """The most memory of its own that this process has had beyond what it had at first, in MB."""

    megabytes: float = 0.0


@contextlib.contextmanager
def watch_memory() -> Iterator[AddedMemory]:
    """Look at this process's anonymous memory every millisecond; mapped files are the kernel's to drop."""
    before, added, ended = _read_anonymous_bytes(), AddedMemory(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.001):
            added.megabytes = max(added.megabytes, (_read_anonymous_bytes() - before) / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield added
    finally:
        ended.set()
        watcher.join()


def _read_anonymous_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell RssAnon")


def describe_machine() -> str:
    """Processor and cores, for the figures' caption."""
    model = platform.processor() or platform.machine()
    for line in _cpuinfo():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _cpuinfo() -> Iterator[str]:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            yield from file
    except OSError:
        return
