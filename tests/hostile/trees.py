"""Trees to mutate: small finished and interrupted runs, and the checksums that a writer with bad intent recomputes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash
from pydantic import ValidationError

from maskmill.pipeline.storage.datasets import fingerprint_manifest
from maskmill.schemas.manifest import (
    SHARD_TABLE_SCHEMA,
    DocumentsManifest,
    EncodedManifest,
    KindOfManifest,
    PackedManifest,
    TokenizerManifest,
)
from tests.hostile.arrow_messages import ArrowFile

Json = dict[str, Any]
OUTPUT, TRAINING = "out", "training"
STOPPED_BEHIND = ("map", "sort", "count", "merge", "collect", "train", "pack")
"""The stages behind which a run was stopped, each a tree of its own."""
_MODELS: dict[str, type[KindOfManifest]] = {
    "documents": DocumentsManifest,
    "encoded": EncodedManifest,
    "packed": PackedManifest,
    "tokenizer": TokenizerManifest,
}


class Tree:
    """A run below a folder: `out/`, `training/`, `corpus/`, `run.toml` and `train.toml`.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = root / OUTPUT

    def read_json(self, path: str) -> Json:
        found: Json = json.loads((self.output / path).read_bytes())
        return found

    def list_shards(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.output / folder).glob("shard-*.arrow"))

    def change_block(self, folder: str, name: str, block: int, change: Callable[[bytes], bytes]) -> None:
        """Change a block of a shard, and every checksum that speaks of it."""
        path = self.output / folder / name
        file = ArrowFile.parse(path.read_bytes())
        file.blocks[block] = change(file.blocks[block])
        self.write_shard(folder, name, file)

    def write_shard(self, folder: str, name: str, file: ArrowFile) -> None:
        """Write a shard, its line of the table and the manifest."""
        data = file.pack()
        (self.output / folder / name).write_bytes(data)

        def describe(lines: list[Json]) -> None:
            for line in lines:
                if line["path"] == name:
                    line |= {
                        "size_bytes": len(data),
                        "checksum": xxhash.xxh3_128_hexdigest(data),
                        "block_offsets": file.offsets(),
                        "block_lengths": [len(block) for block in file.blocks],
                        "block_checksums": [xxhash.xxh3_64_intdigest(block) for block in file.blocks],
                    }

        self.change_table(folder, describe)

    def change_table(self, folder: str, change: Callable[[list[Json]], None]) -> None:
        """Change the lines of `shards.arrow`."""
        lines = pa.ipc.open_file(self.output / folder / "shards.arrow").read_all().to_pylist()
        change(lines)
        columns = [pa.array([line[field.name] for line in lines], field.type) for field in SHARD_TABLE_SCHEMA]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, SHARD_TABLE_SCHEMA) as writer:
            writer.write_batch(pa.record_batch(columns, SHARD_TABLE_SCHEMA))
        self.write_table(folder, sink.getvalue().to_pybytes())

    def write_table(self, folder: str, data: bytes) -> None:
        """Write the bytes of `shards.arrow`, and the manifest that holds their checksum."""
        (self.output / folder / "shards.arrow").write_bytes(data)
        manifest = self.read_json(f"{folder}/manifest.json")
        self.write_manifest(folder, manifest | {"shards_checksum": xxhash.xxh3_128_hexdigest(data)})

    def write_tokenizer(self, data: bytes) -> None:
        """Write `tokenizer.json` everywhere, and the manifests that hold its checksum."""
        checksum = xxhash.xxh3_128_hexdigest(data)
        for folder in self.folders():
            manifest = self.read_json(f"{folder}/manifest.json")
            if "tokenizer_checksum" in manifest:
                manifest["tokenizer_checksum"] = checksum
            elif folder == "tokenizer":
                manifest["checksums"]["tokenizer.json"] = checksum
            if (self.output / folder / "tokenizer.json").exists():
                (self.output / folder / "tokenizer.json").write_bytes(data)
            self.write_manifest(folder, manifest)

    def folders(self) -> list[str]:
        """Parts with a manifest."""
        return sorted(path.parent.name for path in self.output.glob("*/manifest.json"))

    def write_manifest(self, folder: str, manifest: Json) -> None:
        """Write a manifest with its fingerprint recomputed, and those that name it by its fingerprint."""
        before = manifest.get("fingerprint")
        manifest = manifest | {"fingerprint": fingerprint_json(manifest)}
        (self.output / folder / "manifest.json").write_text(dump(manifest))
        if before and before != manifest["fingerprint"]:
            for other in self.folders():
                if other == folder:
                    continue
                named = self.read_json(f"{other}/manifest.json")
                if named.get("documents_fingerprint") == before:
                    self.write_manifest(other, named | {"documents_fingerprint": manifest["fingerprint"]})

    def iter_files(self, *below: str) -> Iterator[Path]:
        for folder in below or (".",):
            yield from (path for path in sorted((self.root / folder).rglob("*")) if path.is_file())


def dump(value: Any) -> str:
    """JSON, with any depth of nesting."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def fingerprint_json(manifest: Json) -> str:
    """The fingerprint that a reader will compute; anything if the content is not a manifest."""
    try:
        model = _MODELS[manifest["kind"]]
        return fingerprint_manifest(model.model_validate_json(dump(manifest)))
    except (KeyError, TypeError, ValidationError, ValueError, RecursionError):
        return "0" * 32


def copy_tree(base: Path, target: Path, below: str = ".") -> Path:
    """A copy of a tree, or of a folder in it, that may be changed: every file is a new one, with its times."""
    for folder, _, names in os.walk(base / below):
        inside = target / Path(folder).relative_to(base)
        inside.mkdir(parents=True, exist_ok=True)
        for name in names:
            source = Path(folder, name)
            (inside / name).write_bytes(source.read_bytes())
            status = source.stat()
            os.utime(inside / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    return target
