"""Fast exact backends of the constraint, and which of them serves a tensor; one fuses the normalization too.

Each backend module has `relu_topk(x, keep_ratio, scope, dtype)`, `topk_mask(x, keep_ratio, scope)`, and `rms_norm_topk`
with its gradients, gives what the reference in `topk.py` gives, bit for bit in groups without NaN, and says by
`serves(x, scope)` what it is made for.
`operators.py` is how torch sees them.
"""

import importlib
import logging
import os
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from sparsecycle.errors import InputError, shown
from sparsecycle.topk import check_constraint

BACKENDS = ("auto", "reference", "numba", "triton")
VARIABLE = "SPARSECYCLE_BACKEND"
FUSED = "SPARSECYCLE_FUSED"  # 0: normalization and selection are called one by one

_modules = {"numba": "sparsecycle.kernels.cpu", "triton": "sparsecycle.kernels.cuda"}
_failed: set[str] = set()  # backends that loaded and then failed in use
_log = logging.getLogger("sparsecycle")


def check_backend(name: str) -> None:
    """Raise ValueError unless `name` is one of `BACKENDS`."""
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}, but must be one of {', '.join(BACKENDS)}")


def backend_asked_for() -> str:
    """Return what the variable SPARSECYCLE_BACKEND names; "auto" where it is not set, or set to nothing.

    Raises:
        InputError: an unknown backend.
    """
    name = os.environ.get(VARIABLE) or "auto"
    if name not in BACKENDS:
        raise InputError(f"{VARIABLE} is {shown(name)}, but must be one of {', '.join(BACKENDS)}")
    return name


def choose(x: Tensor, scope: str, backend: str) -> ModuleType | None:
    """Return the backend that serves `x`, or None for the reference.

    "auto" asks the variable SPARSECYCLE_BACKEND, then takes Triton for tensors on a GPU and numba for those on the CPU.
    Where the package is missing, fails to load or fails in use, one line says so, once, and the reference serves.

    Raises:
        ValueError: an unknown scope or backend, or a backend that was asked for and does not serve such a tensor.
    """
    check_constraint(1.0, scope)  # before a backend fails at it and is given up for the whole process
    check_backend(backend)
    asked = backend_asked_for() if backend == "auto" else backend
    if asked == "reference":
        return None
    name = asked if asked != "auto" else "triton" if x.is_cuda else "numba"
    module = None if name in _failed else load(name)
    if module is None or module.serves(x, scope):
        return module
    if asked == "auto":
        return None
    raise ValueError(f"backend {asked!r} does not serve {x.dtype} on {x.device.type} with scope {scope!r}")


def fused(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype | None, backend: str) -> ModuleType | None:
    """Return the backend that normalizes and selects at once, or None where the two are called one by one.

    Args:
        x: (N, C, H, W). In channels_last, and with parameters in float32, numba serves float32, and bfloat16 under
            autocast; Triton all it knows.
        dtype: of autocast, None where it is off.
    """
    if (
        os.environ.get(FUSED) == "0"
        or x.dim() != 4
        or x.numel() == 0
        or not x.is_contiguous(memory_format=torch.channels_last)
    ):
        return None
    if not weight.dtype == bias.dtype == torch.float32:
        return None
    if not x.shape[1:2] == weight.shape == bias.shape:
        return None  # torch may broadcast them, or say what is wrong
    if dtype is None and x.dtype != torch.float32:
        return None  # with autocast off, other dtypes round before selection
    served = choose(x, "sample", backend)
    on_cpu = (x.dtype, dtype) in ((torch.float32, None), (torch.bfloat16, torch.bfloat16))
    return served if served is not None and (on_cpu or served.__name__ == _modules["triton"]) else None


def give_up(module: ModuleType, backend: str, error: Exception) -> None:
    """Note that a backend failed in use, say so once, and let the reference serve from now on.

    A compiler can fail in many ways after it was imported: a damaged cache, a missing threading layer, a full disk.

    Raises:
        Exception: the error itself, where this backend was asked for by name, where memory was short, or on a GPU, on
            which the reference is so slow that nobody wants it unasked.
    """
    on_gpu = module.__name__ == _modules["triton"] and torch.cuda.is_available()
    if backend != "auto" or on_gpu or isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        raise error
    name = next(name for name, path in _modules.items() if path == module.__name__)
    if name not in _failed:
        _failed.add(name)
        _warn(name, error)


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return the dtype of autocast on a kind of device, None where it is off."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def served_by(device: str) -> str:
    """Return backend and version that serve float32 activations on a device: "numba 0.68.1", "reference"."""
    module = choose(torch.empty(0, 1, device=device), "sample", "auto")
    if module is None:
        return "reference"
    package = "numba" if module is load("numba") else "triton"
    return f"{package} {getattr(importlib.import_module(package), '__version__', 'of an unknown version')}"


@cache
def load(name: str) -> ModuleType | None:
    """Return the module of a backend, or None, said in one line, where its package is missing or fails to load."""
    try:
        module = importlib.import_module(_modules[name])
        module.probe()
        return module
    except Exception as error:  # a compiler package can fail to load in many ways; each leaves the reference
        _warn(name, error)
        return None


def _warn(name: str, error: Exception) -> None:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    _log.warning("%s is not available (%s): the slower reference in plain torch serves instead", name, reason)
