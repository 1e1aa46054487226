"""The properties of a model that its inputs depend on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from maskmill.pipeline.loader.encoders.families import FAMILIES, LAYOUTS, Family, Layout, Masks, Positions
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import show_value

BOOLEAN_MASKS = {"sdpa": True, "eager": False, "flex_attention": False}
"""Kinds of attention that accept a mask for every pair of positions: boolean, or added to the scores.

torch's own accepts both; a boolean mask has a quarter of the size and fits any precision.
"""
Windows = tuple[tuple[str | int, int | None], ...]
"""The masks that a model needs, each with the distance that a token can see; `None` for no limit."""
_CHANGING_ROTATIONS = ("dynamic", "longrope")
_WITHIN = ("_orig_mod", "module", "get_base_model", "base_model")
"""The attributes in which wrappers keep the model: torch.compile, wrappers for several devices, PEFT, others."""


@dataclass(frozen=True)
class Encoder:
    """What `Batch.model_inputs` knows about a model. It has no weights, so it can go to the workers of a `DataLoader`.

    `describe_encoder` makes it from a model of a family in the table. For your own model, write it yourself, and
    compare a packed row with each of its sequences run alone.

    Attributes:
        name: The name in error messages.
        family: The inputs that the model accepts.
        attention: The kind of attention, as `transformers` names it; `None` if it is not known.
        dtype: The type of a mask that is added to the scores.
        padding_idx: The id that the model uses for padding, if positions begin after it.
        max_positions: Positions in the model's table; `None` if it has none.
        windows: The masks that the model needs, by their names in the model; `None` for a single one without limits.
        token_types: Types in the model's table; below 2 it is not given `token_type_ids`.
    """

    name: str = "a BERT"
    family: Family = FAMILIES["bert"]
    attention: str | None = None
    dtype: torch.dtype | None = None
    padding_idx: int | None = None
    max_positions: int | None = None
    windows: Windows | None = None
    token_types: int = 2

    def check_takes(self, layout: Layout) -> None:
        """Reject a layout in which the model would let sequences see each other, or fail.

        Raises:
            ConfigError: The model does not accept it; the error has the reason and the accepted layouts.
        """
        reason = self._find_objection(layout)
        if reason:
            fits = [other for other in LAYOUTS if not self._find_objection(other)]
            raise ConfigError(
                f'{self.name} cannot be given the layout "{layout}": {reason}',
                path="model",
                action=f"use the layout {' or '.join(repr(one) for one in fits)}" if fits else "use another model",
            )

    def check_length(self, longest: int) -> None:
        """Reject sequences beyond the model's table of positions: on a GPU the error would name neither.

        Raises:
            ConfigError: The table is too short.
        """
        needed = longest if self.padding_idx is None else longest + self.padding_idx + 1
        if self.max_positions is not None and needed > self.max_positions:
            raise ConfigError(
                f"{self.name} has fewer positions than the rows need",
                path="model",
                place="config.max_position_embeddings",
                expected=f"at least {needed}",
                found=str(self.max_positions),
                action=f"build the model with max_position_embeddings={needed}, or pack shorter rows",
            )

    def _find_objection(self, layout: Layout) -> str:
        if reason := self.family.refusal(layout):
            return reason
        if self.attention is None:
            return ""
        if layout == "sdpa" and self.attention not in BOOLEAN_MASKS:
            return f"its attention, {self.attention}, accepts no mask for every pair of positions"
        if layout == "varlen" and self.attention in BOOLEAN_MASKS:
            return f"its attention, {self.attention}, ignores where sequences end; flash attention does not"
        return ""


def describe_encoder(model: Any) -> Encoder:
    """Read from a `transformers` model what its inputs depend on.

    Args:
        model: A model with or without a head, also compiled, with adapters or inside DistributedDataParallel; an
            `Encoder` is returned unchanged.

    Raises:
        ConfigError: It is not of a family that is known to accept packed rows, or it is configured as something other
            than an encoder.
    """
    if isinstance(model, Encoder):
        return model
    model = _unwrap(model)
    name = type(model).__name__
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    model_type = model_type if isinstance(model_type, str) else None
    if model_type is None and hasattr(model, "model_type"):
        raise ConfigError(
            f"{name} is a configuration, not a model",
            path="model",
            expected="the model: its attention and its precision decide the inputs too",
            found=name,
            action=f"give the model that was built from this configuration, of {model.model_type}",
        )
    if model_type is None:
        raise ConfigError(
            f"{name} has no transformers configuration",
            path="model",
            expected="a transformers encoder, or an Encoder that describes yours",
            found=show_value(type(model)),
            action="give the transformers model itself, or describe yours",
        )
    shown = f"{name} ({model_type})"
    family = FAMILIES.get(model_type)
    if family is None:
        raise ConfigError(
            f"the family of {shown} is not known to keep the sequences of a packed row apart",
            path="model",
            expected="one of " + ", ".join(sorted(key for key, known in FAMILIES.items() if _is_supported(known))),
            found=model_type,
            action="compare packed rows with each sequence run alone, then describe the model with an Encoder",
        )
    _check_settings(shown, config, family)
    base = getattr(model, "base_model", model)  # ignore its head, whose last layer may be called a decoder
    if hasattr(base, "decoder"):
        raise ConfigError(
            f"{shown} is an encoder with a decoder, which does not know where the sequences of a row end",
            path="model",
            expected="an encoder alone",
            found=name,
            action="use the encoder of the family, as transformers.AutoModelForTextEncoding makes it",
        )
    return Encoder(
        name=shown,
        family=family,
        attention=getattr(config, "_attn_implementation", None),
        dtype=getattr(model, "dtype", None),
        padding_idx=_find_padding_idx(shown, base) if family.positions is Positions.AFTER_PADDING else None,
        max_positions=_find_max_positions(config, family),
        windows=_find_windows(config, family.masks),
        token_types=_find_token_types(model, config),
    )


def _unwrap(model: Any) -> Any:
    """The transformers model inside wrappers; if there is none, the innermost object that was found.

    A wrapper may forward missing attributes to the model, so `config` does not tell them apart; only the class of a
    transformers model names the attribute of its base model.
    """
    while not hasattr(type(model), "base_model_prefix"):
        place = next((name for name in _WITHIN if hasattr(model, name)), None)
        if place is None:
            break
        within = getattr(model, place)
        model = within() if place == "get_base_model" else within
    return model


def _is_supported(family: Family) -> bool:
    return any(not family.refusal(layout) for layout in LAYOUTS)


def _check_settings(shown: str, config: Any, family: Family) -> None:
    wrong = [
        (name, str(expected), str(getattr(config, name)))
        for name, expected in (("is_decoder", False), ("is_causal", False), *family.requires)
        if getattr(config, name, None) not in (expected, None)
    ]
    rotations = getattr(config, "rope_parameters", None) or {}
    for one in (rotations, *rotations.values()):
        kind = one.get("rope_type") if isinstance(one, dict) else None
        if kind in _CHANGING_ROTATIONS:
            wrong.append(("rope_parameters", "rotations that no other sequence of the batch changes", str(kind)))
    for name, expected, found in wrong[:1]:
        raise ConfigError(
            f"{shown} does not keep the sequences of a packed row apart with these settings",
            path="model",
            place=f"config.{name}",
            expected=expected,
            found=found,
            action="change the setting, or use another model",
        )


def _find_padding_idx(shown: str, base: Any) -> int:
    """The padding id of the embeddings: that of MPNet is 1, whatever its configuration says."""
    padding_idx = getattr(getattr(base, "embeddings", None), "padding_idx", None)
    if padding_idx is None:
        raise ConfigError(
            f"{shown} does not say which id it takes for padding, after which its positions begin",
            path="model",
            place="embeddings.padding_idx",
            expected="the embeddings of a transformers model of this family",
            found="none",
            action="give the transformers model itself, or describe yours with an Encoder that has its padding_idx",
        )
    return int(padding_idx)


def _find_max_positions(config: Any, family: Family) -> int | None:
    has_table = family.positions not in (Positions.ROTARY, Positions.BY_DISTANCE)
    return int(config.max_position_embeddings) if has_table and hasattr(config, "max_position_embeddings") else None


def _find_windows(config: Any, masks: Masks) -> Windows | None:
    if masks is Masks.BY_LAYER_TYPE:
        by_type = {"full_attention": None, "sliding_attention": config.sliding_window}
        return tuple((kind, by_type[kind]) for kind in sorted(set(config.layer_types)))
    if masks is Masks.BY_LAYER:
        layers = range(config.num_hidden_layers)
        return tuple((layer, config.per_layer_config[layer].sliding_window) for layer in layers)
    return None


def _find_token_types(model: Any, config: Any) -> int:
    """The types in the model's table; 0 if it accepts no `token_type_ids`."""
    forward = getattr(type(model), "forward", None)
    accepts = forward is not None and "token_type_ids" in inspect.signature(forward).parameters
    return int(getattr(config, "type_vocab_size", None) or 0) if accepts else 0
