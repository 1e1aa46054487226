"""Print docs/encoders.md from the loader's table: `python infra/list_encoders.py > docs/encoders.md`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from maskmill.pipeline.loader.encoders.families import FAMILIES, LAYOUTS, Family, Masks, Positions

HEAD = """# Encoders

`batch.model_inputs(layout, model)` builds the inputs of a `transformers` encoder, so that for each sequence of a packed
row the model gives the same output as for the sequence alone. Families differ in how they number tokens and in which
masks they accept; the model says which family it is (`model.config.model_type`), which attention it uses and in which
precision. A family that is not listed, or a layout that a family cannot take, is refused with the reason. So is a model
that is set up as a decoder (`is_decoder` or `is_causal`).

| layout | what the model gets | for |
| --- | --- | --- |
| `sdpa` | rows as they are, and a mask for every pair of positions, `(B, 1, S, S)` | attention of the kinds `sdpa`, \
`eager` and `flex_attention` |
| `varlen` | all rows of the batch as one, and the ends of the sequences (`cu_seq_lens_q`) | flash attention |
| `padded` | one sequence per row, padded to the longest, and a mask of `(N, longest)` | any attention; slower |

```python
inputs = batch.model_inputs("sdpa", model)  # the model, also compiled, with adapters or in DistributedDataParallel
labels = batch.model_labels("sdpa")  # in the shape of the logits

encoder = describe_encoder(model)  # small, without weights: for the workers of a DataLoader
loader = DataLoader(batches, batch_size=None, num_workers=2, collate_fn=partial(as_inputs, encoder=encoder))
```

`describe_encoder` and `as_inputs` are imported from `maskmill`. Without a model, `model_inputs` builds the inputs of a
BERT: positions from 0, and in the layout `sdpa` a mask that is added to the scores, in torch's default precision.

The tests build a small model of every family for which `transformers` 5.23 has a masked-language or a text encoder, and
compare each layout with each sequence run alone. For a model of your own, make the same comparison and describe the
model: `Encoder("mine", FAMILIES["bert"], attention="sdpa")`, with both names from `maskmill.pipeline.loader.encoders`.

## Supported families
"""

REFUSED = """
## Refused families
"""
POSITIONS = {
    Positions.FROM_ZERO: "from 0",
    Positions.AFTER_PADDING: "from `padding_idx + 1`",
    Positions.ROTARY: "rotary, from 0",
    Positions.BY_DISTANCE: "by distance",
    Positions.BY_DISTANCE_IN_TABLE: "by distance, from a table",
}
MASKS = {
    Masks.ONE: "one",
    Masks.BY_LAYER_TYPE: "one for full and one for sliding-window attention",
    Masks.BY_LAYER: "one for each layer",
}


def main() -> None:
    """Write the page to standard output."""
    supported = {name: family for name, family in sorted(FAMILIES.items()) if layouts(family)}
    print(HEAD)
    print("| family | layouts | positions | masks | the rest |\n| --- | --- | --- | --- | --- |")
    for name, family in supported.items():
        reasons = [f"no {layout}: {family.refusal(layout)}" for layout in LAYOUTS if family.refusal(layout)]
        if len({reason.partition(": ")[2] for reason in reasons}) < len(reasons):
            reasons = [reasons[0].partition(": ")[2]]
        reasons += [f"`{key}` must be `{value!r}`" for key, value in family.requires]
        masks = MASKS[family.masks] if "sdpa" in layouts(family) else ""
        cells = (f"`{name}`", ", ".join(layouts(family)), POSITIONS[family.positions], masks, "; ".join(reasons))
        print("| " + " | ".join(cells) + " |")
    print(REFUSED)
    print("| family | why |\n| --- | --- |")
    for name, family in sorted(FAMILIES.items()):
        if name not in supported:
            print(f"| `{name}` | {family.no_padded} |")


def layouts(family: Family) -> list[str]:
    """The layouts that a family takes."""
    return [layout for layout in LAYOUTS if not family.refusal(layout)]


if __name__ == "__main__":
    main()
