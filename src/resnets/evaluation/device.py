"""Where a network runs."""

from __future__ import annotations

import torch

from resnets.errors import InputError


def pick_device(device: torch.device | str = "auto") -> torch.device:
    """Return the device of that name; `auto` is the accelerator if there is one, else the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    if str(device) == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place).cpu()  # a device may be known to torch and yet not be there
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"no device '{device}' on this machine; use auto or cpu") from None
    return place
