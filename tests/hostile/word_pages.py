"""What a writer with bad intent does to the pages and the footer of `word_counts.parquet`."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from tests.hostile.parquet_files import BINARY, I32, I64, LIST, STRUCT, Fields, Page, ParquetFile, pack_varint
from tests.hostile.trees import Tree

Draw = random.Random
Change = Callable[[ParquetFile, Draw], str]
WORD, SOURCE, COUNT = range(3)
_BOMB_BYTES = 300 << 20
_NUMBERS = (-1, 0, 1, 2**20, 2**30, 2**31 - 1)


def _pages(file: ParquetFile, draw: Draw, column: int | None = None) -> tuple[int, int, list[Page]]:
    """A group with rows, a column and its pages."""
    group = draw.choice([number for number, one in enumerate(file.groups) if one[3][1]])
    column = draw.randrange(3) if column is None else column
    return group, column, file.pages[group][column]


def state_size(file: ParquetFile, draw: Draw) -> str:
    """A page states 2 GiB, or another size."""
    _, column, pages = _pages(file, draw)
    number = draw.choice((2, 2, 3))
    draw.choice(pages).header[number] = I32, (size := draw.choice((2**31 - 1, 2**31 - 1, 1 << 29, -1, 0)))
    return f"column {column}: field {number} is {size}"


def expand_page(file: ParquetFile, draw: Draw) -> str:
    """A page that decompresses 30,000 to 1, and says so."""
    _, column, pages = _pages(file, draw)
    draw.choice(pages).compress(bytes(draw.choice((_BOMB_BYTES, 80 << 20, 60 << 20))))
    return f"column {column}"


def lengthen_words(file: ParquetFile, draw: Draw) -> str:
    """Words that each have one more byte than the one before: N rows have N^2 / 2 bytes, next to none in the file."""
    rows = draw.choice((600, 1 << 16, 1 << 20, 1 << 21))
    group, _, pages = _pages(file, draw, WORD)
    page = pages[0]
    page.compress(_pack_line(rows, 0, 1) + _pack_line(rows, 1, 0) + b"a" * rows)
    page.head[1] = I32, rows
    del pages[1:]
    file.set_rows(group, rows)
    repeat_source(file, draw, group, rows)
    counts = file.pages[group][COUNT]
    del counts[1:]
    counts[0].head[1] = I32, rows
    counts[0].compress((1).to_bytes(8, "little") * rows)
    return f"{rows} rows"


def _pack_line(rows: int, first: int, step: int) -> bytes:
    """A packed list of numbers with the same difference from one to the next, which takes no bits."""
    head = pack_varint(128) + pack_varint(4) + pack_varint(rows) + pack_varint(first << 1)
    return head + (pack_varint(step << 1) + bytes(4)) * ((rows + 126) // 128)


def repeat_source(file: ParquetFile, draw: Draw, group: int | None = None, rows: int | None = None) -> str:
    """A page of one run of one source."""
    chosen, _, pages = _pages(file, draw, SOURCE)
    group = chosen if group is None else group
    pages = file.pages[group][SOURCE]
    stated = draw.choice(_NUMBERS) if rows is None else rows
    page = next(page for page in pages if not page.is_dictionary)
    width = page.decompress()[0]
    page.compress(bytes([width]) + pack_varint(max(0, stated) << 1) + bytes((width + 7) // 8))
    page.head[1] = I32, stated
    file.pages[group][SOURCE] = [one for one in pages if one.is_dictionary or one is page]
    if rows is None and draw.random() < 0.5:
        file.set_rows(group, stated)
    return f"{stated} rows"


def other_dictionary(file: ParquetFile, draw: Draw) -> str:
    """A dictionary that states other values, or where none should be."""
    _, _, pages = _pages(file, draw, SOURCE)
    dictionary = next(page for page in pages if page.is_dictionary)
    dictionary.head[1] = I32, (values := draw.choice(_NUMBERS))
    if draw.random() < 0.4:
        _, _, pages = _pages(file, draw)
        pages.insert(draw.randrange(len(pages) + 1), dictionary)
    return f"{values} values"


def other_values(file: ParquetFile, draw: Draw) -> str:
    """Numbers of values or rows that are not true."""
    group, column, pages = _pages(file, draw)
    number = draw.choice((*_NUMBERS, 2**62))
    where = draw.choice(("page", "chunk", "group", "file", "all"))
    if where == "page":
        draw.choice(pages).head[1] = I32, number
    elif where == "chunk":
        file.chunk(group, column)[5] = I64, number
    elif where == "group":
        file.groups[group][3] = I64, number
    elif where == "file":
        file.footer[3] = I64, number
    else:
        file.set_rows(group, number)
    return f"{where} of group {group} column {column}: {number}"


def other_places(file: ParquetFile, draw: Draw) -> str:
    """Pages that overlap, lie outside of the file or are cut within a header."""
    size = len(file.pack())
    group, column, _ = _pages(file, draw)
    number = draw.choice((7, 7, 9, 11))
    place = draw.choice((-1, 0, 1, 3, 4, 5, size // 2, size, 2 * size, 2**62, 2**63 - 1))
    file.moved[group, column, number] = place
    file.chunk(group, column)[number] = I64, place
    return f"group {group} column {column}: field {number} is {place}"


def other_kind(file: ParquetFile, draw: Draw) -> str:
    """Another encoding, compression or kind of page."""
    group, column, pages = _pages(file, draw)
    number = draw.randrange(-1, 12)
    what = draw.choice(("encoding", "compression", "kind"))
    if what == "encoding":
        draw.choice(pages).head[2] = I32, number
    elif what == "compression":
        file.chunk(group, column)[4] = I32, number
    else:
        draw.choice(pages).header[1] = I32, number
    return f"{what} of column {column} is {number}"


def nest(file: ParquetFile, draw: Draw) -> str:
    """Structures in each other, or lists of next to nothing, in a header or the footer."""
    inner: Fields = {}
    how = draw.choice(("deep", "wide", "long"))
    if how == "deep":
        for _ in range(draw.choice((40, 200))):
            inner = {1: (STRUCT, inner)}
    elif how == "wide":
        inner = {1: (LIST, (STRUCT, [{}] * 70_000))}
    else:
        inner = {1: (BINARY, bytes(100_000))}
    _, _, pages = _pages(file, draw)
    where = draw.choice(("header", "statistics", "footer", "groups", "columns", "schema"))
    if where == "header":
        draw.choice(pages).header[99] = STRUCT, inner
    elif where == "statistics":
        draw.choice(pages).head[5] = STRUCT, inner
    elif where == "footer":
        file.footer[99] = STRUCT, inner
    elif where == "groups":
        file.groups.extend([{1: (LIST, (STRUCT, [])), 2: (I64, 0), 3: (I64, 0)}] * 20_000)
        file.pages.extend([[]] * 20_000)
    elif where == "columns":
        file.groups[0][1][1][1].extend([{}] * 60_000)
    else:
        elements = file.footer[2][1][1]
        elements[1:] = [{4: (BINARY, b"x"), 5: (I32, 1), 3: (I32, 0)} for _ in range(17_000)] + elements[1:]
    return f"{how} in {where}"


def cut_page(file: ParquetFile, draw: Draw) -> str:
    """A page that is cut short, or of which the bytes are others."""
    _, column, pages = _pages(file, draw)
    page = draw.choice(pages)
    if draw.random() < 0.5:
        data = bytearray(page.decompress())
        for _ in range(draw.choice((1, 3))):
            if data:
                data[draw.randrange(min(len(data), 40))] = draw.randrange(256)
        page.compress(bytes(data))
        return f"other bytes in column {column}"
    page.body = page.body[: draw.randrange(len(page.body))]
    if draw.random() < 0.5:
        page.header[3] = I32, len(page.body)
    return f"column {column} cut to {len(page.body)} bytes"


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        state_size,
        expand_page,
        lengthen_words,
        repeat_source,
        other_dictionary,
        other_values,
        other_places,
        other_kind,
        nest,
        cut_page,
    )
}


def change_pages(name: str, tree: Tree, draw: Draw) -> str:
    """Change the pages or the footer of the word counts of a tree."""
    path = tree.output / "tokenizer" / "word_counts.parquet"
    file = ParquetFile.parse(path.read_bytes())
    what = CHANGES[name](file, draw)
    path.write_bytes(file.pack())
    return what


PAGES: dict[str, Callable[[Tree, Draw], str]] = {name: partial(change_pages, name) for name in CHANGES}
