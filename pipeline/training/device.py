"""What `auto` means: the device a run trains on and the precision it computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from maskmill.schemas.errors import ConfigError

KINDS = ("cpu", "cuda")


def resolve_device(name: str) -> torch.device:
    """Turn `run.device` into a device that is there.

    Only kinds that training is tested on: another one would train, but a run resumed on it would draw other dropout
    than an undisturbed one, since checkpoints hold the generators of these two kinds.

    Raises:
        ConfigError: The name is no device, of another kind, or there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _refuse(name, "no such device", "is no device's name") from error
    if device.type not in KINDS:
        raise _refuse(name, f"training does not run on {device.type}", "is of a kind that training is not tested on")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).partition("\n")[0]
        raise _refuse(name, "no such device here", f"is not on this machine: {first_line}") from error
    return device


def _refuse(name: str, what: str, why: str) -> ConfigError:
    return ConfigError(
        what,
        path="run.device",
        expected="auto, cpu, cuda, or cuda and a number, such as cuda:1",
        found=f"{name!r}, which {why}",
        action="change run.device",
    )


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
