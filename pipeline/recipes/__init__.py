"""Recipes of the literature, each a TOML file in this folder, and those of users."""

from maskmill.pipeline.recipes.find_recipes import list_recipes, read_recipe

__all__ = ["list_recipes", "read_recipe"]
