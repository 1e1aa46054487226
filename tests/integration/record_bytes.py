"""What maskmill writes and serves, as digests: `bytes_of_0_2.json` holds those of version 0.2.

`python -m tests.integration.record_bytes` records them again. Run it only when the changelog says which bytes change,
and compare the two files: no other digest may differ.

Between them the runs use every key of the run file that decides bytes: both sides of the switches, every kind of
sequence, cut, split and compression. Inputs are not compressed, and paths are left out of what is digested, so that
nothing here depends on the machine. The Arrow and Parquet files depend on the libraries that write them: the recorded
file names their versions.

Left out of the digests, because a version number or the machine may change it, is only:

- `timings.json`, the wall clock;
- `versions` in `run.json`, where the version of maskmill is written, which stands in no other file; its other keys have
  a digest each;
- `tokenizers_version` and `nanotoken_version` in `tokenizer/proof.json`;
- `waited_seconds` of a batch;
- the fields of a batch that came later, of which these batches have none.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from maskmill import MaskedBatches, Masking, Mixture, Phase, Source, iter_fixed_batches
from tests.integration.runs import prepare
from tests.integration.synthetic_corpus import make_corpus

RECORDED = Path(__file__).with_name("bytes_of_0_2.json")
LIBRARIES = ("pyarrow", "numpy", "tokenizers", "nanotoken", "sentencex", "xxhash")
LAYOUTS = ("sdpa", "varlen", "padded")
LATER_FIELDS = ("token_type_ids", "sequence_labels", "cls_positions", "loss_weights", "word_starts")

Digests = dict[str, str]

_CORPUS = '["{corpus}/*.jsonl", "{corpus}/deep/*.jsonl", "{corpus}/*.txt"]'
_TRAINED = '"{outputs}/local/tokenizer/tokenizer.json"'

_MORE_TEXTS = (
    "Dr. Smith paid $3.50 to J. R. Brown, e.g. for tea. Why? Nobody knew! He said: “It is late.” Then he left. " * 9,
    "M. Dupont arriva à 8 h. 30. « Où est-il ? » demanda Mme. Roux. Personne ne répondit… Il sortit. " * 9,
    f"{'long' * 30} a word too long for the encoder {'long' * 30}",
    "e\u0301\u0302 İstanbul ŒUVRE ☃ 東京 和 한국어 ﬁn Ⅷ \u200bzero\u200dwidth \U0001f600 [MASK] [unused0]",
)
"""What the synthetic corpus lacks: sentences as people write them, words of more than 100 letters, marks."""

RUNS = {
    "local": f"""
[input]
paths = {_CORPUS}
name = "synthetic"
id_field = "id"
source_field = "source"
text_document = "blank_line"
max_document_mb = 0.15
max_quarantined = 0.1
[documents]
shard_mb = 0.15
held_out = 0.05
seed = 7
[tokenizer]
vocab_size = 700
min_frequency = 3
limit_alphabet = 150
initial_alphabet = "Œ☃"
long_words = "train"
max_words = 3000
alpha = 0.7
unused = 5
size_multiple = 64
strip_accents = false
model_max_length = 256
[pack]
seq_len = [32, 64, 128]
split = "fill"
max_waste = 0.001
min_segment = 8
rows_per_shard = 500
[mask]
copies = 2
rate = 0.2
mask_share = 0.7
random_share = 0.2
seed = 5
""",
    "ray": f"""
[input]
paths = {_CORPUS}
text_document = "line"
max_document_mb = 0.5
max_quarantined = 0.5
[documents]
shard_mb = 0.25
deduplicate = false
held_out = 0.1
seed = 1
[tokenizer]
from = {_TRAINED}
[pack]
seq_len = 64
cut = "token"
keep_encoded = true
compression = "lz4"
[mask]
rate = 0.3
""",
    "sentences": f"""
[input]
paths = {_CORPUS}
text_field = "text"
source_field = "source"
max_document_mb = 0.15
max_quarantined = 0.1
[documents]
shard_mb = 0.5
held_out = 0.0
[tokenizer]
from = "{{outputs}}/local/tokenizer/vocab.txt"
extend = 60
extend_into = "append"
alpha = 0.5
lowercase = false
handle_chinese_chars = false
special_in_text = "special"
[pack]
seq_len = 96
sequences = "full_sentences"
cut = "sentence"
sentence_language = "fr"
compression = "zstd"
[mask]
copies = 1
""",
    "doc_sentences": f"""
[input]
paths = {_CORPUS}
max_quarantined = 0.1
[tokenizer]
from = {_TRAINED}
[pack]
seq_len = 64
sequences = "doc_sentences"
split = "fill"
keep_encoded = true
""",
    "bins": f"""
[input]
paths = {_CORPUS}
text_document = "blank_line"
max_quarantined = 0.1
[documents]
shard_mb = 0.5
[tokenizer]
from = {_TRAINED}
[pack]
seq_len = 128
sequences = "document"
length_bins = [32, 64, 128]
cut = "sentence"
[mask]
copies = 1
mask_share = 1.0
random_share = 0.0
""",
    "uncut": f"""
[input]
paths = {_CORPUS}
max_quarantined = 0.9
[documents]
shard_mb = 0.5
seed = 2
[tokenizer]
from = {_TRAINED}
[pack]
seq_len = 256
split = "never"
""",
}
"""Run files by the folder of their output; one may use the tokenizer of a run before it. `ray` runs on Ray."""


@dataclass(frozen=True)
class Stream:
    """Batches to digest.

    Attributes:
        make: Makes the loader, given the folder of all outputs.
        batches: How many are read.
        resume_after: So many come from one loader, the others from a new one that loads its state.
        on_device: Whether they come from `to_device("cpu")`.
    """

    make: Callable[[Path], MaskedBatches]
    batches: int
    resume_after: int
    on_device: bool = False


def _mix(outputs: Path) -> Mixture:
    """Three datasets of one tokenizer, one of them read once only."""
    return Mixture(
        (
            Source(str(outputs / "local" / "packed-64"), weight=2.0),
            Source(str(outputs / "ray" / "packed"), weight=1.0),
            Source(str(outputs / "local" / "packed-heldout-64"), weight=4.0, max_epochs=1),
        ),
        temperature=2.0,
    )


STREAMS = {
    "dynamic": Stream(
        lambda outputs: MaskedBatches(
            str(outputs / "doc_sentences" / "packed"),
            global_batch_rows=48,
            micro_batch_rows=12,
            partitions=4,
            seed=3,
            shuffle_blocks=2,
            last_batch="wrap",
        ),
        batches=120,
        resume_after=50,  # inside a global batch
    ),
    "own masking": Stream(
        lambda outputs: MaskedBatches(
            str(outputs / "local" / "packed-128"),
            global_batch_rows=32,
            rank=1,
            world_size=2,
            seed=2**64 - 1,
            masking=Masking(rate=0.4, mask_share=0.5, random_share=0.25, seed=2**64 - 1),
        ),
        batches=60,
        resume_after=40,
        on_device=True,
    ),
    "static": Stream(
        lambda outputs: MaskedBatches(
            str(outputs / "local" / "packed-32"), global_batch_rows=64, rank=1, world_size=2, masking="static"
        ),
        batches=100,
        resume_after=70,
        on_device=True,
    ),
    "static, compressed": Stream(
        lambda outputs: MaskedBatches(
            str(outputs / "sentences" / "packed"), global_batch_rows=40, seed=1, masking="static", last_batch="wrap"
        ),
        batches=40,
        resume_after=15,
    ),
    "static mixture": Stream(
        lambda outputs: MaskedBatches(
            Mixture(tuple(Source(str(outputs / "local" / name)) for name in ("packed-64", "packed-heldout-64")), 1.0),
            global_batch_rows=32,
            masking="static",
        ),
        batches=40,
        resume_after=11,
    ),
    "mixture": Stream(
        lambda outputs: MaskedBatches(_mix(outputs), global_batch_rows=32, seed=11, masking=Masking(rate=0.1)),
        batches=90,
        resume_after=45,
    ),
    "phases": Stream(
        lambda outputs: MaskedBatches(
            [
                Phase(0, str(outputs / "local" / "packed-32"), global_batch_rows=64),
                Phase(15, _mix(outputs)),
                Phase(40, Source(str(outputs / "local" / "packed-128")), global_batch_rows=16),
            ],
            global_batch_rows=32,
            micro_batch_rows=16,
            seed=4,
            masking=Masking(seed=1),
            partitions=8,
        ),
        batches=150,
        resume_after=77,
    ),
}
"""Loaders by what is special about them."""


def write_outputs(folder: Path) -> Path:
    """Prepare every run below a folder; returns the folder of their outputs."""
    corpus, outputs = folder / "corpus", folder / "outputs"
    files = make_corpus(documents_per_file=40).files
    files["e-0.jsonl"] = "".join(json.dumps({"text": text}) + "\n" for text in _MORE_TEXTS).encode()
    for name, data in files.items():
        path = corpus / name.removesuffix(".gz").removesuffix(".zst")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for run, text in RUNS.items():
        run_file = folder / f"{run}.toml"
        run_file.write_text(
            f'{text.format(corpus=corpus, outputs=outputs)}[output]\nurl = "{outputs / run}"\n', encoding="utf-8"
        )
        prepare(run_file, engine="ray" if run == "ray" else "local", workers=2)
    return outputs


def digest_output(output: Path) -> Digests:
    """A digest of every file of a run's output, by its path there; `run.json` has one for each key."""
    files = {str(path.relative_to(output)): path for path in sorted(output.rglob("*")) if path.is_file()}
    del files["timings.json"]
    record = json.loads(files.pop("run.json").read_text().replace(str(output.parents[1]), ""))
    del record["versions"]
    digests = {path: _digest(file.read_bytes()) for path, file in files.items()}
    proof = json.loads(files["tokenizer/proof.json"].read_bytes())
    del proof["key"]["tokenizers_version"], proof["key"]["nanotoken_version"]
    digests["tokenizer/proof.json"] = _digest_json(proof)
    return digests | {f"run.json: {key}": _digest_json(value) for key, value in record.items()}


def digest_stream(stream: Stream, outputs: Path, state: dict[str, Any] | None = None) -> tuple[Digests, dict[str, Any]]:
    """A digest of every field of a stream's batches.

    Args:
        stream: Of which loader, and how many batches.
        outputs: Of the runs.
        state: What the second loader loads; None is what the first one is left with.

    Returns:
        Digests by field, those of what `model_inputs` makes of the first batch among them, and the state that the
        first loader is left with.
    """
    first, second = stream.make(outputs), stream.make(outputs)
    served = _Served()
    served.add(islice(_batches_of(first, stream), stream.resume_after))
    left_with = served.state
    second.load_state_dict(left_with if state is None else state)
    served.add(islice(_batches_of(second, stream), stream.batches - stream.resume_after))
    assert served.count == stream.batches
    return served.digests(), left_with


def digest_fixed_batches(outputs: Path) -> Digests:
    """As `digest_stream`, of batches for evaluation."""
    served = _Served()
    dataset = str(outputs / "local" / "packed-heldout-64")
    served.add(iter_fixed_batches(dataset, Masking(rate=0.25, seed=9), batch_rows=16, epoch=1))
    return served.digests()


def list_versions() -> dict[str, str]:
    """The installed versions of the libraries that write the files or decide what is in them."""
    return {library: metadata.version(library) for library in LIBRARIES}


def _batches_of(loader: MaskedBatches, stream: Stream) -> Iterator[Any]:
    return iter(loader.to_device("cpu") if stream.on_device else loader)


class _Served:
    """Digests of the fields of batches, as they come."""

    def __init__(self) -> None:
        self.count = 0
        self.state: dict[str, Any] = {}
        self._hashes: dict[str, Any] = {}

    def add(self, batches: Iterator[Any]) -> None:
        for batch in batches:
            if self.count == 0:
                for layout in LAYOUTS:
                    inputs = {**batch.model_inputs(layout), "labels": batch.model_labels(layout)}
                    for name, value in inputs.items():
                        self._update(f"{layout}: {name}", value)
            for name in (field.name for field in fields(batch)):
                if name in LATER_FIELDS:
                    assert getattr(batch, name) is None, name
                elif name not in ("state", "waited_seconds"):
                    self._update(name, getattr(batch, name))
            self.state = batch.state
            self.count += 1

    def digests(self) -> Digests:
        return {name: whole.hexdigest()[:32] for name, whole in self._hashes.items()}

    def _update(self, name: str, value: torch.Tensor | int | None) -> None:
        whole = self._hashes.setdefault(name, hashlib.sha256())
        if isinstance(value, torch.Tensor):
            whole.update(f"{value.dtype} {tuple(value.shape)}\n".encode())
            whole.update(value.contiguous().numpy().tobytes())
        else:
            assert value is None or isinstance(value, int), (name, value)
            whole.update(f"{value}\n".encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _digest_json(value: object) -> str:
    return _digest(json.dumps(value, sort_keys=True).encode())


def main() -> None:
    """Record again."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = f"{temporary}/cache"
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        outputs = write_outputs(Path(temporary))
        streams = {name: digest_stream(stream, outputs) for name, stream in STREAMS.items()}
        recorded = {
            "libraries": list_versions(),
            "outputs": {run: digest_output(outputs / run) for run in RUNS},
            "batches": {name: digests for name, (digests, _) in streams.items()},
            "states": {name: state for name, (_, state) in streams.items()},
            "fixed batches": digest_fixed_batches(outputs),
        }
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
