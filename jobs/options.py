"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

RunFileArgument = Annotated[str, typer.Argument(metavar="RUN.toml", help="The run file, at a path or any fsspec URL.")]
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="A dataset's folder, or the whole output of a run: a path or URL.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a key of the file, such as pack.seq_len=1024; may be repeated. VALUE is written as in the file; "
        "text needs no quotes.",
    ),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace",
        help=r"If \[tokenizer], \[pack] or \[mask] have changed since the output was written: delete what they "
        "decide and make it again. Without this option such a change is refused. To keep both, give the new one a "
        "name: pack.name or tokenizer.name.",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Take the keys of a recipe where neither the file nor --set has them: a name that `maskmill recipes` "
        "lists, or the path of your own copy.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON line for each event, instead of bars and tables.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
