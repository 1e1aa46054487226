"""Mutations of manifests and of the other JSON of an output, with the fingerprint recomputed or not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial

from tests.hostile.trees import Tree, dump
from tests.hostile.values import INTEGERS, TEXTS, deep_json, draw_value, mutate_json

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]
SIZES = ("num_shards", "seq_len", "block_rows", "copies", "text_fill_ppm", "text_bytes")


def other_values(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    folder = _draw_folder(kinds, tree, draw)
    manifest = tree.read_json(f"{folder}/manifest.json")
    what = mutate_json(manifest, draw)
    tree.write_manifest(folder, manifest)
    return f"{folder}/manifest.json: {what}"


def other_sizes(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    """Numbers that size memory."""
    folder = _draw_folder(kinds, tree, draw)
    manifest = tree.read_json(f"{folder}/manifest.json")
    holder, name = draw.choice(
        [(manifest, name) for name in SIZES if name in manifest]
        + [(manifest["vocabulary"], "vocab_size") for _ in range(3) if "vocabulary" in manifest]
        + [(manifest, "vocab_size") for _ in range(1) if "vocab_size" in manifest]
        + [(manifest["counts"], name) for name in manifest["counts"]][:1]
    )
    old = holder[name]
    holder[name] = draw.choice([number for number in INTEGERS if number >= 0])
    what = f"{name} = {holder[name]} (was {old})"
    if name == "seq_len" and draw.random() < 0.8:  # the sums that must hold
        counts = manifest["counts"]
        counts["padding"] = counts["rows"] * holder[name] - counts["tokens_in_rows"] - counts["special_tokens"]
        places = max(1, counts["rows"] * holder[name])
        manifest["text_fill_ppm"] = counts["tokens_in_rows"] * 10**6 // places
    tree.write_manifest(folder, manifest)
    return f"{folder}/manifest.json: {what}"


def other_sums(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    """Rows that are not there, with sums that hold."""
    folder = _draw_folder(("packed",), tree, draw)
    manifest = tree.read_json(f"{folder}/manifest.json")
    counts = manifest["counts"]
    rows = draw.choice((0, 1, counts["rows"] - 1, counts["rows"] + 1, 2**31, 2**40, 2**62))
    counts["padding"] = rows * manifest["seq_len"] - counts["tokens_in_rows"] - counts["special_tokens"]
    counts["rows"] = rows
    manifest["text_fill_ppm"] = counts["tokens_in_rows"] * 10**6 // max(1, rows * manifest["seq_len"])
    tree.write_manifest(folder, manifest)
    return f"{folder}/manifest.json: {rows} rows"


def other_vocabulary(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    folder = _draw_folder(("packed",), tree, draw)
    manifest = tree.read_json(f"{folder}/manifest.json")
    vocabulary = manifest["vocabulary"]
    how = draw.choice(("size", "excluded", "ids", "many ranges"))
    if how == "size":
        vocabulary["vocab_size"] = draw.choice((6, 60, 119, 121, 65_536, 65_537, 2**20, 2**24, 2**31, 2**32 - 1, 2**32))
    elif how == "excluded":
        vocabulary["excluded_ranges"] = [[0, draw.choice((5, 6, 119))], *draw.choice(([], [[119, 120]]))]
    elif how == "ids":
        names = ["pad_id", "unk_id", "cls_id", "sep_id", "mask_id"]
        one, two = draw.sample(names, 2)
        vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    else:
        vocabulary["vocab_size"] = 2**31
        vocabulary["excluded_ranges"] = [[0, 5], *([n, n + 1] for n in range(7, 20_000, 2))]
    tree.write_manifest(folder, manifest)
    return f"{folder}/manifest.json: vocabulary, {how} {str(vocabulary)[:120]}"


def other_masking(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    folder = _draw_folder(("packed",), tree, draw)
    manifest = tree.read_json(f"{folder}/manifest.json")
    name = draw.choice(list(manifest["masking"]))
    manifest["masking"][name] = new = draw.choice(
        [0.0, 1.0, 0.000001, 0.5, -1, 2, 2**64 - 1, "token", draw_value(draw)]
    )
    tree.write_manifest(folder, manifest)
    return f"{folder}/manifest.json: masking.{name} = {new!r:.60}"


def other_version(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    folder = _draw_folder(kinds, tree, draw)
    manifest = tree.read_json(f"{folder}/manifest.json")
    manifest["schema_version"] = new = draw.choice(("2.1", "2.999999999", "3.0", "1.0", "0.0", "2", "", *TEXTS))
    manifest |= draw.choice(({}, {"later": "x"}, {"later": {"deeper": [1, 2]}}))
    tree.write_manifest(folder, manifest)
    return f"{folder}/manifest.json: version {new!r:.40}"


def other_bytes(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    """A manifest that is not JSON, or nested deeply enough to exhaust a recursive parser."""
    folder = _draw_folder(kinds, tree, draw)
    path = tree.output / folder / "manifest.json"
    text = path.read_text()
    name, data = draw.choice(
        (
            ("empty", b""),
            ("deep lists", deep_json(100_000).encode()),
            ("deep objects", deep_json(100_000, '{"a":', "}").encode()),
            ("deep inside", text.replace("{", '{"deep": ' + deep_json(50_000) + ",", 1).encode()),
            ("deep kind", text.replace("{", '{"kind": ' + deep_json(900) + ",", 1).encode()),
            ("no UTF-8", b"\xff\xfe" + text.encode()),
            ("UTF-16", text.encode("utf-16")),
            ("a list", b"[]"),
            ("a number", b"7"),
            ("NUL", b"\0" * 1000),
            ("surrogate", text.replace('"kind": "', '"kind": "\\ud800', 1).encode()),
            ("long number", text.replace('"num_shards": ', '"num_shards": ' + "9" * 5000, 1).encode()),
            ("doubled", text.encode() * 2),
        )
    )
    path.write_bytes(data)
    return f"{folder}/manifest.json: {name}"


def other_record(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    """`run.json`, `timings.json` and `proof.json`, which have no checksum."""
    path = tree.output / draw.choice(("run.json", "timings.json", "tokenizer/proof.json"))
    if draw.random() < 0.2:
        path.write_bytes(
            draw.choice((b"", b"[]", b"null", b"\xff", deep_json(100_000).encode(), b'{"fingerprints": 7}'))
        )
        return f"{path.name}: other bytes"
    value = json.loads(path.read_bytes())
    what = mutate_json(value, draw)
    path.write_text(dump(value))
    return f"{path.name}: {what}"


def _draw_folder(kinds: tuple[str, ...], tree: Tree, draw: Draw) -> str:
    return draw.choice([folder for folder in tree.folders() if folder in kinds])


def manifests_of(*kinds: str) -> dict[str, Mutator]:
    """Every mutation of the manifests of some parts."""
    every: dict[str, Callable[[tuple[str, ...], Tree, Draw], str]] = {
        "value": other_values,
        "value again": other_values,
        "size": other_sizes,
        "version": other_version,
        "bytes": other_bytes,
    }
    if "packed" in kinds:
        every |= {
            "sums": other_sums,
            "vocabulary": other_vocabulary,
            "masking": other_masking,
            "size again": other_sizes,
        }
    if "tokenizer" in kinds:
        every["record"] = other_record
    return {name: partial(mutate, kinds) for name, mutate in every.items()}
