"""Finds a device by its name, if this machine has it and maskmill is tested on its kind."""

from __future__ import annotations

from typing import Any

import torch

from maskmill.pipeline.settings import refuse_argument

KINDS = ("cpu", "cuda")
"""Checkpoints have the random states of these two only: on others a resumed run would have different dropout."""
EXPECTED = "cpu, cuda, or cuda and a number, such as cuda:1"


def find_device(device: Any, argument: str, *, expected: str = EXPECTED, action: str = "") -> torch.device:
    """Find a device by what torch calls it; one of several GPUs has its index.

    Args:
        device: Its name, or a `torch.device`.
        argument: What it was given as.
        expected: What it may be.
        action: What to do about another one.

    Raises:
        ConfigError: There is no such device here, or it is of another kind than `KINDS`.
    """
    action = action or f"change {argument}"
    shown = str(device) if isinstance(device, torch.device) else device
    try:
        found = torch.device(device)
    except Exception as error:  # noqa: BLE001  # torch raises several kinds, a foreign object any
        what = f"no device has such a name ({_first_line(error)})"
        raise refuse_argument(argument, shown, expected, action, what) from None
    if found.type not in KINDS:
        raise refuse_argument(argument, shown, expected, action, f"maskmill does not run on {found.type}")
    try:
        torch.empty(0, device=found)
        if found.type == "cuda" and found.index is None:
            return torch.device("cuda", torch.cuda.current_device())
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        what = f"no such device on this machine ({_first_line(error)})"
        raise refuse_argument(argument, shown, expected, action, what) from None
    return found


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
