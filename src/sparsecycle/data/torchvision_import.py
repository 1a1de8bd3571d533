"""The import of torchvision, also where its compiled operators do not fit the installed torch."""

import importlib
import sys
from types import ModuleType

import torch

MISSING_OPERATOR = "operator torchvision::nms does not exist"
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """Return the torchvision module, with `transforms` and `transforms.v2` ready to use.

    A torchvision built for CUDA beside a torch built for CPUs cannot load its compiled operators, and its
    plain import stops with `RuntimeError: operator torchvision::nms does not exist`: it describes the shapes
    of two operators that nobody has declared. Transforms of images, all that this project uses, need none of
    them. So in that case alone the two names are declared here, without an implementation, and the import is
    tried once more. Calling the operators themselves still fails, as it should.

    Raises:
        RuntimeError, ImportError: whatever else the import stops with, unchanged.
    """
    try:
        torchvision = importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING_OPERATOR not in str(error):
            raise
        _forget_partial_import()
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                torch.library.define(f"torchvision::{operator}", SCHEMA)
        torchvision = importlib.import_module("torchvision")
    importlib.import_module("torchvision.transforms.v2")
    return torchvision


def _forget_partial_import() -> None:
    """Remove what a failed import of torchvision left in `sys.modules`.

    Python takes the failed package out again, but keeps the submodules that had been imported by then. The
    second import would reuse them without binding them to the new package, and `torchvision.extension` would
    be a module that one can import and yet no attribute of `torchvision`.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
