"""`maskmill recipes`: the recipes of the package, and what each of them sets."""

from __future__ import annotations

from rich.table import Table

from maskmill.jobs.console import open_console
from maskmill.pipeline.recipes import list_recipes, read_recipe


def recipes(name: str | None) -> int:
    """List the recipes, or print one with its comments; returns the exit status.

    Args:
        name: The name or path of the one to print; `None` lists all.
    """
    console = open_console()
    if name is not None:
        for line in read_recipe(name, "maskmill recipes show").text.splitlines():
            console.print(line, soft_wrap=True)
        return 0
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for recipe in list_recipes():
        table.add_row(recipe.name, recipe.summary)
    console.print(table)
    console.print()
    console.print("maskmill recipes show NAME prints the keys of one, each with its paper and section", soft_wrap=True)
    return 0
