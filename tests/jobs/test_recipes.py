"""`maskmill recipes`, and `--recipe` on the commands."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from maskmill.jobs.cli import app
from maskmill.pipeline.recipes import list_recipes, read_recipe


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
    return result.exit_code, result.output


def test_recipes_lists_every_recipe_with_what_it_is() -> None:
    status, said = invoke("recipes")
    assert status == 0
    for recipe in list_recipes():
        line = next(line for line in said.splitlines() if line.startswith(f"{recipe.name} "))
        assert recipe.summary.split(":")[0] in line


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_show_prints_a_recipe_that_can_be_used_as_it_is_printed(recipe, tmp_path) -> None:
    status, said = invoke("recipes", "show", recipe.name)
    assert (status, said) == (0, recipe.text)
    (tmp_path / "mine.toml").write_text(said)
    assert read_recipe(str(tmp_path / "mine.toml")).sections == recipe.sections


@pytest.mark.parametrize("arguments", [("recipes", "show", "robert"), ("prepare", "r.toml", "--recipe", "robert"),
                                       ("train", "t.toml", "--recipe", "robert")])  # fmt: skip
def test_a_recipe_that_is_not_there_is_one_clear_line(arguments) -> None:
    status, said = invoke(*arguments)
    assert status == 1
    assert "there is no such recipe" in said
    assert "did you mean roberta?" in said
    assert ("--recipe" in said) is ("--recipe" in arguments)
