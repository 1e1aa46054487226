"""What a model can be trained to do: a table, with one module for each objective.

objective   what an objective has to say: further parts of the model, its losses, what each is divided by
table       the objectives, by their names in the train file
"""

from maskmill.pipeline.training.objectives.objective import Objective
from maskmill.pipeline.training.objectives.table import OBJECTIVES

__all__ = ["OBJECTIVES", "Objective"]
