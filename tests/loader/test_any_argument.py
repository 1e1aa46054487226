"""Whatever is given where a user may give something: it is taken, or refused in words that name the argument."""

from __future__ import annotations

import decimal
import fractions
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from maskmill import (
    Cache,
    MaskedBatches,
    Masking,
    Mixture,
    Phase,
    Source,
    as_inputs,
    group_steps,
    iter_fixed_batches,
    sum_batch_loss,
)
from maskmill.schemas.errors import ConfigError


class Hostile:
    """All that Python asks of an object fails."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("asked")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __index__ = __float__ = __fspath__ = _fail


class Quoted(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "\n\n"


ODD = [
    np.int64(3), np.float32(0.5), np.array([1, 2]), torch.ones(2), torch.int8, decimal.Decimal("0.1"),
    fractions.Fraction(1, 3), Path(), Quoted("a"), Masking(), Masking, len, ..., -(2**63), 2**64, "drop", "static",
    "sdpa", "padded", "cpu", "cuda", "shard", "s3://", "x://y", "a\0b",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(ODD)
    | st.builds(lambda: 10**5000)  # of more digits than Python prints
    | st.builds(Hostile)
    | st.lists(st.integers()).map(lambda kind: SimpleNamespace(config=SimpleNamespace(model_type=kind)))
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=4,
)

LOADER = ("global_batch_rows", "rank", "world_size", "seed", "masking", "micro_batch_rows", "partitions")
LOADER += ("shuffle_blocks", "last_batch", "cache", "storage_options")
FIXED = ("masking", "batch_rows", "epoch", "storage_options", "rank", "world_size")
CACHE = ("folder", "max_bytes", "fetch", "timeout_seconds")

Call = Callable[["Target", Any], Any]
CALLS: dict[str, tuple[str, Call]] = {
    "MaskedBatches(data)": ("data|phases|mixture|dataset", lambda _, v: MaskedBatches(v, global_batch_rows=8)),
    **{f"MaskedBatches({n}=)": (f"{n}|file system", lambda t, v, n=n: t.open(**{n: v})) for n in LOADER},
    "iter_fixed_batches(url)": ("data", lambda _, v: iter_fixed_batches(v, Masking(), 8)),
    **{f"iter_fixed_batches({n}=)": (f"{n}|file system", lambda t, v, n=n: t.fixed(**{n: v})) for n in FIXED},
    **{f"Cache({n}=)": (n, lambda _, v, n=n: Cache(**{n: v})) for n in CACHE},
    **{f"Masking({n}=)": (n, lambda _, v, n=n: Masking(**{n: v})) for n in Masking.model_fields},
    "Source(url)": ("data", lambda _, v: Source(v)),
    "Source(weight=)": ("weight", lambda _, v: Source("a", weight=v)),
    "Source(max_epochs=)": ("max_epochs", lambda _, v: Source("a", max_epochs=v)),
    "Mixture(sources)": ("mixture", lambda _, v: Mixture(v)),
    "Mixture(temperature=)": ("temperature", lambda _, v: Mixture((Source("a"),), temperature=v)),
    "Phase(first_step)": ("first_step", lambda _, v: Phase(v, "a")),
    "Phase(data)": ("data", lambda _, v: Phase(0, v)),
    "Phase(global_batch_rows)": ("global_batch_rows", lambda _, v: Phase(0, "a", v)),
    "steps": ("number of steps", lambda t, v: t.loader.steps(v)),
    "epochs": ("number of epochs", lambda t, v: t.loader.epochs(v)),
    "at(step)": ("step", lambda t, v: t.loader.at(v)),
    "at(epoch=)": ("epoch|loader state", lambda t, v: t.loader.at(0, v)),
    "skip": ("number of batches", lambda t, v: t.loader.skip(v)),
    "load_state_dict": ("loader state", lambda t, v: t.open().load_state_dict(v)),
    "to_device": ("to_device", lambda t, v: t.loader.to_device(v)),
    "model_inputs(layout)": ("layout", lambda t, v: t.batch.model_inputs(v)),
    "model_inputs(model=)": ("model", lambda t, v: t.batch.model_inputs("sdpa", v)),
    "model_labels": ("layout", lambda t, v: t.batch.model_labels(v)),
    "as_inputs(batch)": ("batch", lambda _, v: as_inputs(v)),
    "as_inputs(layout=)": ("layout", lambda t, v: as_inputs(t.batch, v)),
    "as_inputs(encoder=)": ("encoder", lambda t, v: as_inputs(t.batch, "sdpa", v)),
    "sum_batch_loss(logits)": ("logits", lambda t, v: sum_batch_loss(v, t.batch)),
    "sum_batch_loss(batch)": ("batch", lambda t, v: sum_batch_loss(t.logits, v)),
    "sum_batch_loss(layout=)": ("layout", lambda t, v: sum_batch_loss(t.logits, t.batch, v)),
    "group_steps": ("batches", lambda _, v: list(group_steps(v))),
}
"""What is called with one argument of any kind, and what an error must name."""


class Target:
    """What is called, whole but for one argument."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self.loader = self.open()
        self.batch = next(iter(self.loader))
        self.logits = torch.zeros(*self.batch.labels.shape, 300)

    def open(self, **given: Any) -> MaskedBatches:
        return MaskedBatches(self._dataset, **({"global_batch_rows": 8} | given))

    def fixed(self, **given: Any) -> Any:
        return iter_fixed_batches(self._dataset, **({"masking": Masking(), "batch_rows": 8} | given))


@pytest.fixture(scope="module")
def target(dataset: str) -> Target:
    return Target(dataset)


@pytest.mark.parametrize("call", CALLS)
def test_what_answers_nothing_is_refused_by_name(target: Target, call: str) -> None:
    name, make = CALLS[call]
    refused = ""
    try:
        make(target, Hostile())
    except ConfigError as error:
        refused = str(error)
    assert not refused or re.search(name, refused)


@pytest.mark.parametrize("call", CALLS)
@given(value=ANYTHING)
@example(value={"a": {0: "b"}})
@settings(max_examples=40, deadline=None)
def test_it_is_taken_or_refused_by_name(target: Target, call: str, value: Any) -> None:
    assume(not (isinstance(value, str) and "://" in value))  # odd URLs are tested elsewhere, without waiting for stores
    name, make = CALLS[call]
    refused = ""
    try:
        make(target, value)
    except ConfigError as error:
        refused = str(error)
    assert not refused or re.search(name, refused)
