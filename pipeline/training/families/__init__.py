"""The encoders that a train file can ask for: a table, with one module for each family.

family      what a family has to say: its configuration, its classes, its heads
table       the families, by their names in the train file

Which layout of a batch a family accepts is the loader's knowledge (`maskmill.pipeline.loader.encoders`).
"""

from maskmill.pipeline.training.families.family import Dimensions, Family
from maskmill.pipeline.training.families.table import FAMILIES, family_of

__all__ = ["FAMILIES", "Dimensions", "Family", "family_of"]
