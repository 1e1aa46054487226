"""The commands of `maskmill recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

from maskmill.jobs.options import DebugOption
from maskmill.jobs.run_command import load_job, run_command
from maskmill.jobs.usage import Command, Group

recipes = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode="rich")


@recipes.callback()
def list_recipes(context: typer.Context, debug: DebugOption = False) -> None:
    """List the recipes: settings of known systems, from the packing of rows to the learning rate.

    maskmill recipes

    To see what one sets, with the paper and the section of each key, and to make your own of it:

        maskmill recipes show roberta
        maskmill recipes show roberta > mine.toml
        maskmill prepare run.toml --recipe mine.toml
    """
    if context.invoked_subcommand is None:
        run_command(lambda: load_job("recipes")(None), debug)


@recipes.command("show", cls=Command)
def show_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One that `maskmill recipes` lists, or a path.")],
    debug: DebugOption = False,
) -> None:
    """Print a recipe as the TOML that it is, each key with its paper and section.

    maskmill recipes show roberta
    """
    run_command(lambda: load_job("recipes")(name), debug)
