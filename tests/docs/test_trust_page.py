"""The page about trust names constants that are there, in the modules that it names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| [^|]+ \| ([^|]+) \| (`[^`]+`|the same) \|$", re.MULTILINE)


def test_every_constant_of_the_table_of_sizes_is_where_the_page_says() -> None:
    sizes = (ROOT / "docs/trust.md").read_text().partition("## Sizes")[2].partition("## Tokenizers")[0]
    module, named = "", 0
    for constants, where in ROW.findall(sizes):
        module = module if where == "the same" else where.strip("`")
        source = (ROOT / module).read_text()
        for constant in re.findall(r"`([A-Z_]+)`", constants):
            assert re.search(rf"^{constant} = ", source, re.MULTILINE), f"{constant} in {module}"
            named += 1
    assert named > 15
