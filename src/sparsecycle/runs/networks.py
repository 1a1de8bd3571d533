"""A trained network, back from a run's folder."""

from pathlib import Path

import safetensors.torch

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.files import expanded
from sparsecycle.network import WideResNet
from sparsecycle.trainer import make_network


def load_model(folder: str | Path, config: RunConfig) -> WideResNet:
    """Return the trained network of a run's folder, on the CPU, in evaluation mode at keep 1.0.

    Args:
        folder: the run's folder, or a `.safetensors` file.
        config: of that run.

    Raises:
        InputError: no such file, or weights that do not fit the configuration.
    """
    path = expanded(folder)
    path = path if path.suffix == ".safetensors" else path / "model.safetensors"
    model = make_network(config)
    try:
        model.load_state_dict(safetensors.torch.load(path.read_bytes()))  # some file systems map no file into memory
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): weights stay with the machine that trained them; give a "
            ".safetensors file, or make the run again in another output_dir"
        ) from None
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} does not fit the configuration ({str(error).splitlines()[0]})") from None
    return model.eval()
