"""The inputs of encoders: a table of model families, and what is read from a given model.

families   which layouts a family accepts, where its positions begin, which masks its layers need
encoder    what `Batch.model_inputs` needs to know about a model: small, frozen, picklable
layouts    the three layouts of a batch, for an encoder
"""

from maskmill.pipeline.loader.encoders.encoder import Encoder, describe_encoder
from maskmill.pipeline.loader.encoders.families import FAMILIES, Family, Masks, Positions

__all__ = ["FAMILIES", "Encoder", "Family", "Masks", "Positions", "describe_encoder"]
