"""The device that somebody names, if it is one of this machine that maskmill is tested on."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

KINDS = ("cpu", "cuda")


class NoDevice(NamedTuple):
    """Why there is no such device.

    Attributes:
        kind: That of another kind than `KINDS`; empty where there is no device at all.
        why: A relative clause without its pronoun.
    """

    kind: str
    why: str


def find_device(device: Any) -> torch.device | NoDevice:
    """Find a device by what torch calls it; one of several GPUs has its index.

    A run that trains on another kind than `KINDS`, and is resumed, would draw other dropout than an undisturbed one:
    checkpoints hold the random generators of these two.
    """
    try:
        found = torch.device(device)
    except Exception as error:  # noqa: BLE001  # torch raises several kinds, a foreign object any
        return NoDevice("", f"is no device's name: {_first_line(error)}")
    if found.type not in KINDS:
        return NoDevice(found.type, f"is none of {' and '.join(KINDS)}")
    try:
        torch.empty(0, device=found)
        if found.type == "cuda" and found.index is None:
            return torch.device("cuda", torch.cuda.current_device())
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return NoDevice("", f"is not on this machine: {_first_line(error)}")
    return found


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
