"""A GPU that is rented by the minute, used to the last second: `sparsecycle gpu`.

The ways to train on it are checked and timed, the fastest right one trains the study's missing runs in order until the
time is over, and what came of it lies in a folder that can be carried away: a report, and everything else in parts. The
same command goes on, on the same machine or, with the parts unpacked, on another one.
"""

import json
import math
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs import ladder
from sparsecycle.runs.checkpoints import checkpoint_files
from sparsecycle.runs.execute import resolve_device, train_together
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.provenance import git_state, now
from sparsecycle.runs.records import FILES
from sparsecycle.runs.rental_report import Looked, describe, network_name, run_minutes
from sparsecycle.runs.source import source_digest
from sparsecycle.runs.stopping import Stopped, StopRequest, stop_requests
from sparsecycle.runs.studies import progress

PART_BYTES = 15 * 10**6
SAVING_SECONDS = 20.0  # kept back for the last checkpoint and the parts
LOOKING_SHARE = 0.25  # of the time that may pass before no slower rung is looked at


def rent(
    configs: Sequence[RunConfig],
    *,
    minutes: float,
    into: Path,
    data_dir: str | Path | None = None,
    output_dir: Path = Path("runs"),
    device: str = "cuda",
    most_mb: float = 60.0,
    checkpoint_minutes: float = 1.0,
    look_only: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Train the runs of `configs` that are missing, in order, for so many minutes; return the report.

    Args:
        into: folder for what is to be carried away: report.md and parts of at most 15 MB, `most_mb` in all. Records
            come first, then the checkpoints of runs under way, then weights of finished runs, as far as they fit.
        output_dir: folder of runs, which stays on the machine.
        checkpoint_minutes: as of `train_together`.
        look_only: train nothing; the images need not be there yet.

    Raises:
        InputError: no GPU, no rung that is right, or as `train`.
        Stopped: by a signal, after what there is was saved and packed, which makes it a KeyboardInterrupt.
    """
    if not 2 * SAVING_SECONDS < 60 * minutes < math.inf:  # looking and saving take their time
        raise InputError(f"minutes is {minutes:g}, but must be a number above {2 * SAVING_SECONDS / 60:.2g}")
    for name, value in (("most_mb", most_mb), ("checkpoint_minutes", checkpoint_minutes)):
        if not value > 0:
            raise InputError(f"{name} is {value}, but must be above 0")
    begin = time.monotonic()
    if not configs:
        raise InputError("the study has no run")
    device = resolve_device(device)
    lines: list[str] = []
    looked = None
    noting = threading.Lock()  # runs at once tell how far they are

    def note(text: str) -> None:
        with noting:
            lines.append(f"{time.monotonic() - begin:6.1f} s  {text}")
            say(lines[-1])
            into.mkdir(parents=True, exist_ok=True)
            write_atomically(into / "log.txt", "\n".join([*lines, ""]).encode())  # whatever happens later

    def save(looked: Looked | None) -> list[str]:
        if looked:
            looked.run_minutes = run_minutes(configs, output_dir, looked.gpu)
            _keep(looked, output_dir / "ladder.json")
            into.mkdir(parents=True, exist_ok=True)
            write_atomically(into / "report.md", describe(looked, configs, output_dir).encode())
        return pack(configs, output_dir, into, most_mb)

    with stop_requests() as stop:
        stop.deadline = begin + 60 * minutes - SAVING_SECONDS
        try:
            looked = look(configs[0], device, output_dir, note, stop, enough=LOOKING_SHARE * 60 * minutes)
            best = looked.best
            if best is None and stop.number is None:
                faults = "; ".join(f"{rung.name}: {rung.faults[0]}" for rung in looked.rungs)
                raise InputError(f"no way to train on this machine gives right results ({faults})")
            if best and stop.number is None:
                note(f"chosen: {best.name}, {best.at_once} at once")
            if best and not look_only:
                places: dict[str, Any] = {"data_dir": data_dir, "output_dir": output_dir, "device": device}
                places["checkpoint_minutes"] = checkpoint_minutes
                try:
                    with ladder.only(ladder.RUNGS[best.name]):
                        _train(configs, best.at_once, stop, note, partial(save, looked), **places)
                except RuntimeError as error:  # of the chip: the next call takes another rung
                    best.faults.append((str(error) or type(error).__name__).splitlines()[0])
                    raise
        finally:
            for name in save(looked):
                note(f"left behind, for want of room: {name}")
    if stop.number is not None:
        note(f"stopped by {signal.Signals(stop.number).name}; what there is lies in {into}")
        raise Stopped(stop.number)
    return into / "report.md"


def look(
    config: RunConfig,
    device: str,
    output_dir: Path,
    note: Callable[[str], None],
    stop: StopRequest,
    *,
    enough: float,
) -> Looked:
    """Return what was seen of this machine, of an earlier call where that was the same machine and source.

    Each rung is looked at in a process of its own, because an error of a GPU leaves its process without one.

    Args:
        stop: a signal ends the look at once; before the deadline it must be over.
        enough: seconds after which no slower rung is looked at, if one is right.
    """
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    machine = f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    network = network_name(config)
    kept = output_dir / "ladder.json"
    try:
        before = Looked.model_validate_json(kept.read_bytes())
        if (before.machine, before.source, before.network) == (machine, source_digest(), network) and before.best:
            note("this machine was looked at before")
            return before
    except (OSError, ValidationError):
        pass
    note(f"{machine}; {network}")
    looked = Looked(
        machine=machine,
        source=source_digest(),
        network=network,
        batch=config.batch_size,
        tflop=ladder.step_tflop(config),
        gbyte=ladder.selection_gbyte(config),
        revision=git_state()["git_revision"],
        started=now(),
    )
    begin = time.monotonic()
    for name in ladder.RUNGS:
        left = stop.deadline - time.monotonic() - SAVING_SECONDS / 2
        if left < SAVING_SECONDS / 2 or (looked.best and time.monotonic() - begin > enough):
            break
        rung = _in_own_process(name, config, device, min(left, enough) if looked.best else left, stop)
        if rung is None:
            return looked
        looked.rungs.append(rung)
        note(_told(rung, config))
        _keep(looked, kept)
    try:
        looked.chip = ladder.chip(device)
        if looked.best and "one kernel" in looked.best.name and device == "cuda":
            looked.layers_ms = ladder.layers_ms(config, device, 0.1)
            looked.layers_dense_ms = ladder.layers_ms(config, device, 1.0)
    except Exception as error:  # figures for the report, and no reason to end a rental
        note(f"the chip was not measured: {error}")
    _keep(looked, kept)
    return looked


def _keep(looked: Looked, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, looked.model_dump_json(indent=1).encode())


def _in_own_process(name: str, config: RunConfig, device: str, seconds: float, stop: StopRequest) -> ladder.Rung | None:
    """Return what was seen of a rung; None where a signal came first."""
    given = {"name": name, "config": config.model_dump(mode="json"), "device": device}
    script = "import sys; from sparsecycle.runs.rental import _look_at; _look_at(sys.argv[1])"
    command = [sys.executable, "-c", script, json.dumps(given)]
    end = time.monotonic() + seconds
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while stop.number is None and time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                printed, errors = process.communicate(timeout=0.2)
                break
        else:
            process.kill()
    if stop.number is not None:  # Ctrl-C ends the other process by itself
        return None
    if process.returncode == -signal.SIGKILL and time.monotonic() >= end:
        return ladder.Rung(name=name, faults=[f"not seen to the end within {seconds:.0f} s"])
    try:
        return ladder.Rung.model_validate_json(printed.splitlines()[-1])
    except (IndexError, ValidationError):
        last = (errors.strip() or f"its process ended with status {process.returncode}").splitlines()[-1]
        return ladder.Rung(name=name, faults=[last])


def _look_at(given: str) -> None:
    """In a process of its own: print what was seen of a rung as its last line."""
    values = json.loads(given)
    rung = ladder.look_at(values["name"], RunConfig(**values["config"]), values["device"])
    print(rung.model_dump_json())


def _told(rung: ladder.Rung, config: RunConfig) -> str:
    if rung.faults:
        return f"{rung.name}: NOT USED, {'; '.join(rung.faults[:3])}"
    pair = "no room for two" if rung.pair_ms is None else f"{rung.pair_ms:.2f} for two"
    steps = f"{rung.dense_ms:.2f} ms a dense step, {rung.sparse_ms:.2f} at keep 0.1, {pair}"
    speed = f"{rung.images_per_second(config.batch_size):,.0f} images/s"
    return f"{rung.name}: {steps}, {speed}, losses within {rung.loss_difference:.1g}"


def _train(
    configs: Sequence[RunConfig],
    at_once: int,
    stop: StopRequest,
    note: Callable[[str], None],
    saved: Callable[[], Any],
    **places: Any,
) -> None:
    """Train what is missing, in order, until `stop`; a run whose path another one makes waits for that one.

    `saved` is called whenever runs are finished.
    """
    output_dir = places["output_dir"]
    while not stop.due:
        missing = [run.config for run in progress(configs, output_dir) if run.open]
        ready = [config for config in missing if _can_begin(config, output_dir)][:at_once]
        if not ready:
            break
        for record in train_together(ready, stop, say=note, **places):
            note(record.summary())
        saved()


def _can_begin(config: RunConfig, output_dir: Path) -> bool:
    if config.path_from is None:
        return True
    return (run_folder(config, output_dir).parent / config.path_from / "record.json").exists()


def pack(configs: Sequence[RunConfig], output_dir: Path, into: Path, most_mb: float) -> list[str]:
    """Write what came of the runs into `into`, as parts of one archive; return what did not fit.

    Put together again by `cat results.tar.* | tar x -C FOLDER`.
    """
    first, later, last = [], [], []
    for config in configs:
        folder = run_folder(config, output_dir)
        if (folder / "record.json").exists():
            first += [folder / name for name in FILES if name != "model.safetensors" and (folder / name).exists()]
            last += [path for path in [folder / "model.safetensors"] if path.exists()]
        else:
            later += checkpoint_files(folder)[:1]
    if (output_dir / "ladder.json").exists():
        first.insert(0, output_dir / "ladder.json")
    room, left_out, buffer = most_mb * 1e6 - tarfile.RECORDSIZE, [], BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in [*first, *later, *last]:
            name = path.relative_to(output_dir).as_posix()
            if buffer.tell() + path.stat().st_size + 2048 > room:
                left_out.append(name)
            else:
                archive.add(path, name)
    into.mkdir(parents=True, exist_ok=True)
    content = buffer.getvalue()
    parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
    new = [(into / f"new.{number:02d}", into / f"results.tar.{number:02d}") for number in range(len(parts))]
    for (path, _), part in zip(new, parts, strict=True):
        write_atomically(path, part)
    for path, place in new:  # only when all of them are there, because the old ones are then lost
        path.replace(place)
    for old in {*into.glob("results.tar.*"), *into.glob("new.*")} - {place for _, place in new}:
        old.unlink()
    return left_out
