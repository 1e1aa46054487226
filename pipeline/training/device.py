"""Resolve `auto`: the device that a run trains on and the precision that it computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from maskmill.pipeline.loader.device.find_device import EXPECTED, find_device


def resolve_device(name: str) -> torch.device:
    """Turn `run.device` into an available device.

    Raises:
        ConfigError: The device is not available, or of a kind that training is not tested on.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return find_device(name, "run.device", expected=f"auto, {EXPECTED}")


def resolve_precision(
    precision: Literal["auto", "bf16", "float32"], device: torch.device
) -> Literal["bf16", "float32"]:
    """Choose bf16 where the GPU has it in hardware.

    On the CPU `auto` is float32: few CPUs compute in bf16, and a run means the same on all of them.
    """
    if precision != "auto":
        return precision
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_bf16 else "float32"


def open_autocast(precision: Literal["bf16", "float32"], device: torch.device) -> AbstractContextManager[Any]:
    """Give a fresh context for one forward pass; parameters and optimizer stay in float32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
