"""What encoders want as inputs: one table of families, and what is read off a model at hand.

families   which family takes which layout, where its positions begin, which masks its layers take
encoder    a model as `Batch.model_inputs` needs to know it: small, frozen, picklable
layouts    the three layouts of a batch, made for an encoder
"""

from maskmill.pipeline.loader.encoders.encoder import Encoder, describe_encoder
from maskmill.pipeline.loader.encoders.families import FAMILIES, Family, Masks, Positions

__all__ = ["FAMILIES", "Encoder", "Family", "Masks", "Positions", "describe_encoder"]
