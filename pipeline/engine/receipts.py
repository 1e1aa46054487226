"""Receipts on storage: written when a unit's output stands, read by drivers that go on and by the stages behind.

Numbers in them become numbers of the dataset, so a receipt ends with its own checksum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import xxhash
from pydantic import ValidationError

from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ShardCorruptError, StaleArtifactError
from maskmill.schemas.receipt import Receipt

if TYPE_CHECKING:
    from maskmill.pipeline.engine.stage import UnitDescription

RECEIPTS = "work/receipts"
RECEIPTS_AT_ONCE = 16
_SEAL = b',"xxh3_128":"%s"}'
_SEAL_BYTES = len(_SEAL % (b"0" * 32))


def write_receipt(output: Store, receipt: Receipt) -> None:
    """Write a receipt, as JSON with its own xxh3-128 at its end."""
    sealed = _seal(receipt.model_dump_json().encode())
    output.write_bytes(receipt_path(receipt.stage, receipt.unit), sealed)


def standing_receipt(output: Store, description: UnitDescription) -> Receipt | None:
    """The receipt of a unit that has one.

    Raises:
        StaleArtifactError: It belongs to another description.
        ShardCorruptError: Its bytes have changed.
    """
    if not output.exists(receipt_path(description.stage, description.unit)):
        return None
    return _read_receipt(output, description)


def iter_standing_receipts(output: Store, units: Sequence[UnitDescription]) -> Iterator[Receipt]:
    """The receipts of the units that have one, in the order of the units; for a driver that goes on."""
    if units:
        done = set(output.list(f"{RECEIPTS}/{units[0].stage}"))
        yield from iter_receipts(output, [unit for unit in units if receipt_path(unit.stage, unit.unit) in done])


def receipt_path(stage: str, unit: int) -> str:
    """Where the receipt of a unit stands, relative to the output."""
    return f"{RECEIPTS}/{stage}/{unit:06d}.json"


def iter_receipts(output: Store, units: Sequence[UnitDescription]) -> Iterator[Receipt]:
    """The receipts of a finished stage in the order of its units, a bounded number in memory at a time.

    Raises:
        StaleArtifactError: A receipt is missing or belongs to another description.
        ShardCorruptError: A receipt's bytes are no receipt.
    """
    if output.is_local or output.is_in_process:
        yield from (_read_receipt(output, unit) for unit in units)
        return
    # One after another, 100,000 receipts at 20 ms a request would take half an hour.
    with ThreadPoolExecutor(RECEIPTS_AT_ONCE) as pool:
        ahead: deque[Future[Receipt]] = deque()
        try:
            for unit in units:
                ahead.append(pool.submit(_read_receipt, output, unit))
                if len(ahead) >= 2 * RECEIPTS_AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for one in ahead:
                one.cancel()


def _read_receipt(output: Store, unit: UnitDescription) -> Receipt:
    path = receipt_path(unit.stage, unit.unit)
    try:
        receipt = _open(output.read_bytes(path, MAX_TEXT_BYTES))
    except FileNotFoundError:
        raise StaleArtifactError(
            "a receipt is gone", path=output.locate(path), action="give the same command again"
        ) from None
    except ValueError as error:
        raise ShardCorruptError(
            "a receipt is not what was written",
            path=output.locate(path),
            found=str(error),
            action="delete it and give the same command again: its unit runs once more",
        ) from None
    if receipt.description != unit.digest():
        raise StaleArtifactError(
            "this receipt belongs to another description of the unit",
            path=output.locate(path),
            expected=unit.digest(),
            found=receipt.description,
            action="delete the output, or finish it with the maskmill version and inputs that began it",
        )
    return receipt


def _open(data: bytes) -> Receipt:
    body = data[:-_SEAL_BYTES] + b"}"
    if _seal(body) != data:
        raise ValueError("its bytes have changed")
    try:
        return Receipt.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _seal(body: bytes) -> bytes:
    return body[:-1] + _SEAL % xxhash.xxh3_128_hexdigest(body).encode()
