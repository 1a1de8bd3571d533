"""How many runs side by side, one thread each, a machine trains fastest: measured before a study begins."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

from sparsecycle.config import RunConfig
from sparsecycle.runs.environment import environment
from sparsecycle.runs.launch import ONE_THREAD

SECONDS = 2.0  # of training that are timed
STARTING_SECONDS = 8.0  # in which processes import torch and train their first steps
WORTH_IT = 1.15  # times as many images a second in all, or fewer runs are the better choice


def best_at_once(config: RunConfig, most: int) -> tuple[int, dict[int, float]]:
    """Return how many runs of a configuration to train at once, and images a second in all by how many were tried.

    One run is tried, then twice as many as before, as long as that pays and there are `most` runs and as many cores.
    """
    most = min(most, _cores())
    rates: dict[int, float] = {}
    best, tried = 1, 1
    while tried <= most:
        rates[tried] = images_per_second(config, tried)
        if tried > 1 and not rates[tried] >= WORTH_IT * rates[best] > 0:
            break
        best, tried = tried, 2 * tried
    return best, rates


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def images_per_second(config: RunConfig, at_once: int, threads: int = 1) -> float:
    """Return what so many processes train in all, dense steps; 0 where they are too many, as for the memory.

    Args:
        threads: of each process.
    """
    context = multiprocessing.get_context("spawn")
    try:
        # torch and numba read the variables when they are imported.
        given = dict.fromkeys(ONE_THREAD, str(threads))
        with environment(given), ProcessPoolExecutor(at_once, context) as processes:
            begin = time.time() + STARTING_SECONDS
            fields = config.model_dump(mode="json")
            moments = [[one] * at_once for one in (fields, begin, threads)]
            return sum(processes.map(_train_for_a_moment, *moments))
    except (MemoryError, RuntimeError):  # also that a process was killed
        return 0.0


def _train_for_a_moment(fields: dict[str, object], begin: float, threads: int) -> float:
    """In a process of its own: images a second on random images, timed from `begin` on."""
    import torch

    from sparsecycle.trainer import Trainer

    config = RunConfig(**fields)
    torch.set_num_threads(threads)
    images = torch.randint(0, 256, (config.batch_size, 3, 32, 32), dtype=torch.uint8)
    trainer = Trainer(config.model_copy(update={"method": "dense"}), images, torch.zeros(len(images), dtype=torch.long))
    for _ in range(2):
        trainer.train_step(*trainer._batch(torch.arange(len(images))))
    time.sleep(max(0.0, begin - time.time()))
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        trainer.train_step(*trainer._batch(torch.arange(len(images))))
        steps += 1
    return steps * len(images) / (time.perf_counter() - started)
