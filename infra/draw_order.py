"""Draw how far an epoch takes apart rows that are neighbours on disk, for some widths of the shuffle window.

    python infra/draw_order.py docs/order.svg

Simulated: 200 shards of 25,600 rows in blocks of 256, 256 rows in a global batch from 64 partitions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from maskmill.pipeline.loader.order.epoch_order import OrderSettings
from maskmill.pipeline.loader.order.simulate_order import list_epoch, measure_neighbours, measure_shuffle

NUM_SHARDS, SHARD_ROWS, BLOCK_ROWS, GLOBAL_BATCH_ROWS, PARTITIONS = 200, 25_600, 256, 256, 64
WIDTHS = (1, 4, 16, 64)
COLOURS = ("#1b5e9e", "#2a9d8f", "#e0912f", "#b5403a", "#777777")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 400, 70, 30, 190, 60
POINTS = 60


def main(path: str) -> None:
    """Simulate, print a table and write the picture."""
    shard_rows = np.full(NUM_SHARDS, SHARD_ROWS, np.int64)
    steps = NUM_SHARDS * SHARD_ROWS // GLOBAL_BATCH_ROWS
    marks = np.unique(np.geomspace(1, steps, POINTS).round().astype(np.int64))
    lines: list[tuple[str, Sequence[float]]] = []
    for width in WIDTHS:
        rows = list_epoch(shard_rows, BLOCK_ROWS, OrderSettings(0, PARTITIONS, width), 0, GLOBAL_BATCH_ROWS)
        distances = np.sort(measure_neighbours(rows, shard_rows))
        quality = measure_shuffle(rows, shard_rows)
        sys.stdout.write(f"shuffle_blocks {width}: {quality}\n")
        lines.append((f"shuffle_blocks = {width}", np.searchsorted(distances, marks, "right") / len(distances)))
    lines.append(("any order at random", [1 - (1 - mark / steps) ** 2 for mark in marks.tolist()]))
    with open(path, "w", encoding="utf-8") as file:
        file.write(draw(marks.tolist(), lines, steps))


def draw(marks: Sequence[int], lines: Sequence[tuple[str, Sequence[float]]], most: int) -> str:
    """An SVG of cumulative shares over a logarithmic axis of distances."""

    def x(distance: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(distance) / math.log(most)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12"'
            f' viewBox="0 0 {WIDTH} {HEIGHT}">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    parts += [
        f'<path d="M{x(1):.0f} {y(share):.1f}H{x(most):.0f}" stroke="#ddd"/>'
        f'<text x="{LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts += [
        f'<path d="M{x(10**power):.1f} {y(0):.0f}V{y(1):.0f}" stroke="#ddd"/>'
        f'<text x="{x(10**power):.1f}" y="{y(0) + 18:.0f}" text-anchor="middle">{10**power:,}</text>'
        for power in range(int(math.log10(most)) + 1)
    ]
    for (label, shares), colour in zip(lines, COLOURS, strict=True):
        points = " ".join(f"{x(mark):.1f},{y(share):.1f}" for mark, share in zip(marks, shares, strict=True))
        last = lines.index((label, shares))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<path d="M{WIDTH - RIGHT + 14} {TOP + 20 * last + 6}h20" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{WIDTH - RIGHT + 40}" y="{TOP + 20 * last + 10}">{label}</text>'
        )
    middle = (x(1) + x(most)) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 16}" text-anchor="middle">global batches between rows that are neighbours'
        " on disk</text>"
        f'<text x="{LEFT}" y="{TOP - 12}">share of neighbours at most that far apart</text></svg>\n'
    )
    return "\n".join(parts)


if __name__ == "__main__":
    main(*sys.argv[1:])
