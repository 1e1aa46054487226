"""Receipts on storage: written once a unit's output is complete, read by resuming drivers and by later stages.

Numbers in them become numbers of the dataset, so a receipt ends with its own checksum.
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import xxhash
from pydantic import ConfigDict, ValidationError

from maskmill.pipeline.engine.units import Unit, UnitDescription, UnitOutcome, UnitSequence
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.bounded_json import check_parts
from maskmill.schemas.errors import ShardCorruptError, StaleArtifactError
from maskmill.schemas.layout import RECEIPTS
from maskmill.schemas.receipt import AnyDetails, Details, Receipt

Item = TypeVar("Item")

RECEIPTS_AT_ONCE = 16
MAX_RECEIPT_NAMES = 1 << 17
"""Names of values, told by their colons outside texts: pydantic keeps an error for each that a receipt does not have. A
thousand sources have 13,000 of them."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_SEAL = b',"xxh3_128":"%s"}'
_RECEIPT_NAME = re.compile(r"[0-9]{6,12}\.json")
_SEAL_BYTES = len(_SEAL % (b"0" * 32))


class _AnyDetails(Details):
    """Those of any stage, where only counts are wanted."""

    model_config = ConfigDict(extra="ignore")


class Receipts(Generic[Unit, AnyDetails]):
    """The receipts of a stage in the order of its units, read from storage as they are asked for.

    Only a bounded number is in memory, however many units there are.

    Args:
        output: Of the run.
        units: The units whose receipts are read.
        details: The type of their details, beside counts and shards.

    Raises:
        StaleArtifactError: While they are read: one is missing or belongs to another description.
        ShardCorruptError: While they are read: the bytes of one are no receipt of this stage.
    """

    def __init__(self, output: Store, units: Sequence[Unit], details: type[AnyDetails]) -> None:
        self._output = output
        self.units = units
        self._details = details

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[Receipt[AnyDetails]]:
        return _iter_receipts(self._output, self.units, self._details)

    def pairs(self) -> Iterator[tuple[Unit, Receipt[AnyDetails]]]:
        """Each unit with its receipt."""
        return zip(self.units, self, strict=True)

    def select(self, is_wanted: Callable[[Unit], bool]) -> Receipts[Unit, AnyDetails]:
        """The receipts of some of the units."""
        return self._choose(place for place, unit in enumerate(self.units) if is_wanted(unit))

    def _choose(self, places: Iterable[int]) -> Receipts[Unit, AnyDetails]:
        chosen = UnitSequence(array("q", places), self.units.__getitem__)
        return Receipts(self._output, chosen, self._details)

    def finished(self) -> Receipts[Unit, AnyDetails]:
        """The receipts, of those of a whole stage, that exist before it has run; for a driver that resumes."""
        return self._choose(sorted(self.find_finished()))

    def find_finished(self) -> set[int]:
        """The places of the units that have a receipt; their numbers follow that of the first unit."""
        if not self.units:
            return set()
        first = self.units[0].unit
        numbers = list_finished(self._output, self.units[0].stage)
        return {number - first for number in numbers if first <= number < first + len(self.units)}


def write_receipt(output: Store, unit: UnitDescription, outcome: UnitOutcome[Any]) -> None:
    """Write a unit's receipt, as JSON with its own xxh3-128 at its end."""
    kind: Any = Receipt[type(outcome.details)]  # type: ignore[misc]  # which details they are is known only here
    receipt = kind(
        stage=unit.stage,
        unit=unit.unit,
        description=unit.digest(),
        shards=outcome.shards,
        counts=outcome.counts,
        details=outcome.details,
    )
    output.write_bytes(receipt_path(unit.stage, unit.unit), _seal(receipt.model_dump_json().encode()))


def read_counts(output: Store, unit: UnitDescription) -> dict[str, int] | None:
    """The receipt of a finished unit; `None` if it has none.

    Raises:
        StaleArtifactError: It belongs to another description.
        ShardCorruptError: Its bytes have changed.
    """
    if not output.exists(receipt_path(unit.stage, unit.unit)):
        return None
    return _read_receipt(output, unit, _AnyDetails).counts


def receipt_path(stage: str, unit: int) -> str:
    """The path of a unit's receipt, relative to the output."""
    return f"{RECEIPTS}/{stage}/{unit:06d}.json"


def list_finished(output: Store, stage: str) -> set[int]:
    """The numbers of the units of a stage that have a receipt."""
    names = (path.rpartition("/")[2] for path in output.list(f"{RECEIPTS}/{stage}"))
    return {int(name.removesuffix(".json")) for name in names if _RECEIPT_NAME.fullmatch(name)}


def iter_left_receipts(output: Store, stage: str, details: type[AnyDetails]) -> Iterator[Receipt[AnyDetails]]:
    """The receipts of a stage that another run has left, in the order of their units.

    Args:
        output: Of that run.
        stage: Its name.
        details: What is wanted of them.

    Raises:
        StaleArtifactError: One is deleted meanwhile.
        ShardCorruptError: One is not what was written.
    """
    units = sorted(list_finished(output, stage))
    return _read_ahead(output, lambda unit: read_left_receipt(output, stage, unit, details), units)


def read_left_receipt(output: Store, stage: str, unit: int, details: type[AnyDetails]) -> Receipt[AnyDetails]:
    """One of them, whatever the description of its unit; see `iter_left_receipts`."""
    path = receipt_path(stage, unit)
    try:
        return _open(output.read_bytes(path, MAX_TEXT_BYTES), stage, unit, details)
    except FileNotFoundError:
        raise StaleArtifactError(
            "a receipt is gone", path=output.locate(path), action="run the same command again"
        ) from None
    except ValueError as error:
        raise ShardCorruptError(
            "a receipt has changed since it was written",
            path=output.locate(path),
            found=str(error),
            action="delete it and run the same command again: its unit runs again",
        ) from None


def _iter_receipts(
    output: Store, units: Sequence[UnitDescription], details: type[AnyDetails]
) -> Iterator[Receipt[AnyDetails]]:
    return _read_ahead(output, lambda unit: _read_receipt(output, unit, details), units)


def _read_ahead(
    output: Store, read: Callable[[Item], Receipt[AnyDetails]], items: Iterable[Item]
) -> Iterator[Receipt[AnyDetails]]:
    if not output.capabilities.parallel_reads:
        yield from map(read, items)
        return
    # One after another, 100,000 receipts at 20 ms a request would take half an hour.
    with ThreadPoolExecutor(RECEIPTS_AT_ONCE) as pool:
        ahead: deque[Future[Receipt[AnyDetails]]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(read, item))
                if len(ahead) >= 2 * RECEIPTS_AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for one in ahead:
                one.cancel()


def _read_receipt(output: Store, unit: UnitDescription, details: type[AnyDetails]) -> Receipt[AnyDetails]:
    receipt = read_left_receipt(output, unit.stage, unit.unit, details)
    if receipt.description != unit.digest():
        raise StaleArtifactError(
            "this receipt belongs to another description of the unit",
            path=output.locate(receipt_path(unit.stage, unit.unit)),
            expected=unit.digest(),
            found=receipt.description,
            action="delete the output, or finish it with the maskmill version and inputs that began it",
        )
    return receipt


def _open(data: bytes, stage: str, unit: int, details: type[AnyDetails]) -> Receipt[AnyDetails]:
    body = data[:-_SEAL_BYTES] + b"}"
    if _seal(body) != data:
        raise ValueError("its bytes have changed")
    check_parts(body, MAX_TEXT_BYTES, max_commas=MAX_TEXT_BYTES)
    if body.count(b":") > MAX_RECEIPT_NAMES and _STRING.sub(b"", body).count(b":") > MAX_RECEIPT_NAMES:
        raise ValueError("it has more names than any receipt")
    try:
        receipt = Receipt[details].model_validate_json(body)  # type: ignore[valid-type]  # which they are is known only here
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {said}" if place else said) from None
    if (receipt.stage, receipt.unit) != (stage, unit):
        raise ValueError(f"it is that of unit {receipt.unit} of the stage {receipt.stage}")
    return receipt


def _seal(body: bytes) -> bytes:
    return body[:-1] + _SEAL % xxhash.xxh3_128_hexdigest(body).encode()
