"""Draw what each mask strategy makes of one sentence.

    python infra/draw_masks.py docs/masks.svg

The masks are those that the loader draws, at a rate of 0.3; chosen by hand are the sentences, and an epoch in
which every strategy shows all of its actions.
"""

from __future__ import annotations

import sys
from html import escape
from typing import Any

import numpy as np

from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.mask_vocabulary import MaskVocabulary, write_continuation_bits
from maskmill.schemas.masking import IGNORE_INDEX, Masking

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = """
[CLS] the ware ##house man ##ager count ##ed all un ##open ##ed box ##es twice and wrote the num ##bers in her
note ##book [SEP] no ##body knew why they grew over ##night [SEP]
"""
ROW = TEXT.split()
STRATEGIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("token", {}),
    ('token, selection = "bernoulli"', {"selection": "bernoulli"}),
    ("whole_word", {"strategy": "whole_word"}),
    ("ngram", {"strategy": "ngram"}),
    ("span", {"strategy": "span"}),
)
FILLS = {"as [MASK]": "#1b5e9e", "as a random token": "#b5403a", "as it is": "#2a7d4f"}
WIDTH, MARGIN, GAP, LINE, LETTER = 900, 14, 4, 27, 7.8  # a letter of a monospaced font of 13 is 7.8 wide
EPOCH = 12


def main(path: str) -> None:
    """Write the picture."""
    pieces = [*SPECIAL, *sorted(set(ROW) - set(SPECIAL))]
    continues = [piece.startswith("##") for piece in pieces]
    special = {f"{piece[1:-1].lower()}_id": number for number, piece in enumerate(SPECIAL)}
    bits = write_continuation_bits(continues)
    vocabulary = MaskVocabulary(
        vocab_size=len(pieces), **special, excluded_ranges=((0, len(SPECIAL)),), continuation_bits=bits
    )
    row = np.array([[pieces.index(piece) for piece in ROW]], np.uint16)
    parts: list[str] = []
    y = MARGIN
    for name, settings in STRATEGIES:
        masking = Masking(rate=0.3, **settings)
        ids, labels = mask_rows(row, np.zeros(1, np.uint64), EPOCH, masking, MaskTables.build(vocabulary))
        parts.append(f'<text x="{MARGIN}" y="{y + 12}" font-weight="bold">{escape(name)}</text>')
        y = _draw_row([pieces[token] for token in ids[0]], labels[0] != IGNORE_INDEX, y + 20, parts) + 16
    x: float = MARGIN
    for meaning, fill in FILLS.items():
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{fill}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 12}">predicted, shown {meaning}</text>')
        x += 44 + LETTER * len(f"predicted, shown {meaning}")
    height = y + 28
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" font-family="monospace" font-size="13" '
            f'viewBox="0 0 {WIDTH} {height}">\n<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
            + "\n".join(parts)
            + "\n</svg>\n"
        )


def _draw_row(shown: list[str], is_predicted: Any, y: int, parts: list[str]) -> int:
    """Draw the pieces of a row, those of a word side by side; returns where the next begins."""
    x: float = MARGIN
    for place, (piece, original) in enumerate(zip(shown, ROW, strict=True)):
        width = 10 + LETTER * len(piece)
        if x + width > WIDTH - MARGIN:
            x, y = MARGIN, y + LINE
        fill, colour = "#eeeeee", "#222222"
        if is_predicted[place]:
            meaning = "as it is" if piece == original else "as a random token"
            fill, colour = FILLS["as [MASK]" if piece == "[MASK]" else meaning], "white"
        follows = place + 1 < len(ROW) and ROW[place + 1].startswith("##")
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="21" fill="{fill}"/>')
        parts.append(
            f'<text x="{x + width / 2:.0f}" y="{y + 15}" text-anchor="middle" fill="{colour}">{escape(piece)}</text>'
        )
        x += width + (1 if follows else 2 * GAP)
    return y + LINE


if __name__ == "__main__":
    main(*sys.argv[1:])
