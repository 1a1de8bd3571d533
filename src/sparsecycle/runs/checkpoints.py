"""Checkpoints of a run: all that it needs to go on, the last two of them, each with its checksum in its name.

A file is safetensors: tensors by name, and everything else as JSON in its header, so that nothing is ever unpickled.
"""

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import safetensors
import safetensors.torch
from torch import Tensor

from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically

KEPT = 2
_log = logging.getLogger("sparsecycle")


@dataclass(frozen=True)
class Checkpoint:
    """What a run is at one step: tensors by name, and the rest as JSON holds it."""

    step: int
    tensors: dict[str, Tensor]
    rest: dict[str, Any]


class CheckpointWriter:
    """Writes in a thread of its own, so that training waits only for a copy of the tensors. One file at a time.

    Use as a context manager: leaving it waits for the last file.

    Args:
        folder: of the run.
        keep: the file that the run went on from; it is kept until two newer ones are there.
    """

    def __init__(self, folder: Path, keep: Path | None = None) -> None:
        self._folder = folder
        self._kept = [keep] if keep else []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown()

    def save(self, checkpoint: Checkpoint) -> None:
        """Copy the tensors and begin to write them.

        Raises:
            OSError: the file before this one could not be written.
        """
        self.wait()
        # Copied off a GPU here: another thread would not wait for the stream that this one works on.
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in checkpoint.tensors.items()}
        self._writing = self._thread.submit(self._write, checkpoint.step, copies, json.dumps(checkpoint.rest))

    def wait(self) -> None:
        """Until the last file is on the disk.

        Raises:
            OSError: it could not be written.
        """
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, step: int, tensors: dict[str, Tensor], rest: str) -> None:
        stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
        content = safetensors.torch.save(stored, metadata={"rest": rest})
        path = self._folder / f"checkpoint-{step:09d}-{_checksum(content)}.safetensors"
        write_atomically(path, content)
        self._kept = [*(kept for kept in self._kept if kept != path), path][-KEPT:]
        for other in checkpoint_files(self._folder):
            if other not in self._kept:
                other.unlink(missing_ok=True)


def checkpoint_files(folder: Path) -> list[Path]:
    """Checkpoints of a run's folder, the newest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)


def load_newest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest sound checkpoint and its file, or None; each damaged one is skipped and named in a warning.

    Raises:
        InputError: one that cannot be read; it may be sound, so it is not passed over.
    """
    for path in checkpoint_files(folder):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"checkpoint {path} cannot be read ({error.strerror}): make it readable") from None
        try:
            return path, _parse(path, content)
        except (KeyError, RecursionError, TypeError, ValueError, safetensors.SafetensorError) as error:
            _log.warning("%s is damaged (%s) and skipped", path, str(error).splitlines()[0])
    return None


def remove_checkpoints(folder: Path) -> None:
    """Of a finished run."""
    for path in checkpoint_files(folder):
        path.unlink(missing_ok=True)


def _parse(path: Path, content: bytes) -> Checkpoint:
    _, step, checksum = path.stem.split("-")
    if _checksum(content) != checksum:
        raise ValueError("its content is not what its checksum says")
    tensors = safetensors.torch.load(content)
    size = int.from_bytes(content[:8], "little")
    rest = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["rest"])
    return Checkpoint(int(step), tensors, rest)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
