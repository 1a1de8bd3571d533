"""The project of the course: a rule in a file of its own, trained and scored by the library's commands.

`python -m sparsecycle_book.course.project my_rule.py run ...` is `sparsecycle run ...` with the rule of that file among
the methods, and `compare FOLDER` also prints the score. Without a file the commands know the library's methods.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle import cli
from sparsecycle.analysis.statistics import paired_difference
from sparsecycle.config import CONTROLLER_FIELDS, RunConfig
from sparsecycle.controllers import CONTROLLERS, Controller, Decision
from sparsecycle.errors import InputError, shown
from sparsecycle.files import expanded
from sparsecycle.runs.records import RunRecord, find_records, load_runs
from sparsecycle_book.course.checks import RIGHT, WRONG
from sparsecycle_book.course.rules import verdict_on_rule

RIVAL = "accuracy_gated"
MEASURE = "clean_accuracy"
LARGEST_MEAN_KEEP_RATIO = 2 / 3  # geometric, over the steps of a run: one that cycles, and not for show


class Rule(Controller):
    """What a rule of one's own is made from: it needs a `name` and `next_keep_ratio`."""

    adaptive = True
    _state = ("step", "keep_ratio", "seen", "memory")

    def __init__(self, decision_steps: int = 128) -> None:
        super().__init__(decision_steps)
        self.seen: list[float] = []
        self.memory: dict[str, Any] = {}

    def next_keep_ratio(self, keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
        """Return the keep-ratio until the next decision, in (0, 1].

        Args:
            keep_ratio: in force.
            accuracies: training accuracies of the steps since the last decision.
            memory: what the rule wants to remember; only numbers, texts, lists and dicts.
        """
        raise NotImplementedError

    def _observe(self, accuracy: float) -> None:
        self.seen = [*self.seen, accuracy]

    def _decide(self) -> Decision:
        before, memory = self.keep_ratio, dict(self.memory)
        self.keep_ratio = float(self.next_keep_ratio(before, self.seen, memory))
        self.seen, self.memory = [], memory
        return Decision(self.step, None, None, self.keep_ratio, self.keep_ratio > before)


def register(path: Path) -> type[Rule]:
    """Make the one rule of a file known as a method, and return it.

    Raises:
        InputError: a file that cannot be run, that has no rule or more than one, or whose rule is not safe.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise InputError(f"{path} is no file of Python: give the one that your rule is written in")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}: line {error.lineno} is not Python: {error.msg}") from None
    except Exception as error:
        raise InputError(f"{path} stops: {shown(error)}") from None
    rules = [
        one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Rule) and one is not Rule
    ]
    if len(rules) != 1:
        raise InputError(f"{path} has {len(rules)} classes made from Rule, but must have one")
    rule, name = rules[0], getattr(rules[0], "name", None)
    if not isinstance(name, str) or name in CONTROLLERS:
        raise InputError(
            f"the name of {rule.__name__} is {name!r}, but must be a text that no method of the library has"
        )
    if rule.next_keep_ratio is Rule.next_keep_ratio:
        raise InputError(f"{rule.__name__} has no method next_keep_ratio")
    told = verdict_on_rule(rule().next_keep_ratio, 50)
    if told != RIGHT:
        raise InputError(f"{rule.__name__} is not safe to train with. {told.removeprefix(f'{WRONG} ')}")
    CONTROLLERS[name] = rule
    return rule


def score(own: Sequence[str | Path], recorded: Sequence[str | Path] = ()) -> pd.DataFrame:
    """Return the gain in clean accuracy over the recorded runs of the published rule, paired by seed.

    Args:
        own: folders of runs.
        recorded: folders of the rival's runs, by default `data/runs` of the checkout.

    Columns, a row for each preset, method and variant: preset, method, variant, seeds (how many), gain, low, high (mean
    and 95 % interval, fractions), pairs (a line of text for each seed), remark. A run out of competition has no pair,
    and the remark says why: it changed a field that is no parameter of a controller, or its mean keep-ratio is above
    `LARGEST_MEAN_KEEP_RATIO`. Nor has one whose seed is not recorded.

    Raises:
        InputError: no run in the folders that was evaluated on test images, or none recorded of the rival.
    """
    tried = load_runs(*own)
    runs, rivals = _judged(tried), _judged(load_runs(*recorded))
    if not rivals.empty:
        rivals = rivals[(rivals["method"] == RIVAL) & (rivals["variant"] == "")]
    if runs.empty or rivals.empty:
        raise InputError(
            f"nothing to score: {len(runs)} of your {len(tried)} runs and {len(rivals)} recorded ones of method "
            f"{RIVAL!r} were evaluated on test images, but there must be some of both"
        )
    remarks = {record.identity: _against_the_rules(record) for _, record, _ in find_records(*own)}
    rows = []
    for (preset, method, variant), group in runs.groupby(["preset", "method", "variant"], sort=False):
        broken = group["identity"].map(remarks)
        rows.append(
            {"preset": preset, "method": method, "variant": variant}
            | _gain(group[broken == ""], rivals[rivals["preset"] == preset])
            | {"remark": next(filter(None, broken), "")}
        )
    return pd.DataFrame(rows)


def sentences(scores: pd.DataFrame) -> list[str]:
    """Return a line for each row of `score`."""
    lines = []
    for row in scores.to_dict("records"):
        name = " ".join(filter(None, (row["preset"], row["method"], row["variant"])))
        if row["remark"]:
            lines.append(f"{name}: {row['remark']}")
        elif not row["seeds"]:
            lines.append(f"{name}: no recorded run of {RIVAL} has one of your seeds")
        else:
            gain, low, high = (f"{100 * row[key]:+.1f}" for key in ("gain", "low", "high"))
            seeds = f"{row['seeds']} seeds, 95 % interval {low} to {high}" if row["seeds"] > 1 else "1 seed of three"
            lines.append(f"{name}: {gain} points of clean accuracy over {RIVAL} ({seeds})")
            lines += row["pairs"]
    return lines


def luck(preset: str, methods: Sequence[str] = ("dense", RIVAL), recorded: Sequence[str | Path] = ()) -> pd.DataFrame:
    """Return how far recorded runs that differ in their seed alone lie apart: method, seeds, most (a fraction).

    Dense training of other seeds is the placebo: whoever scores less than it does may have had luck alone.
    """
    runs = _judged(load_runs(*recorded))
    rows = []
    for method in methods:
        same = runs[(runs["preset"] == preset) & (runs["method"] == method) & (runs["variant"] == "")]
        apart = [abs(one - other) for one, other in combinations(same[MEASURE], 2)]
        rows += [{"method": method, "seeds": len(same), "most": max(apart)}] if apart else []
    return pd.DataFrame(rows, columns=["method", "seeds", "most"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the library's commands with the rule of a file among its methods; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    path = Path(given.pop(0)) if given and given[0].endswith(".py") else None
    try:
        rule = None if path is None else register(path)
        if given[:1] != ["compare"]:
            kept = _keep(path, rule.name, given) if path and rule and given[:1] == ["run"] else None
            status = cli.main(given)
            if status and kept and not _runs_in(kept.parent):
                kept.unlink()  # the command was refused
            return status
        status = cli.main([*given, "--no-claims"])
        if status == 0 and (runs := load_runs(*given[1:])).size and _judged(runs).empty:
            print("\nTries on held-out images have no score: write down their clean accuracy.")
            for _, record, _ in find_records(*given[1:]):
                if told := _against_the_rules(record):
                    print(f"{record.config['method']} seed {record.config['seed']}: {told}")
        elif status == 0:
            scores = score(given[1:])
            print("\nScore:", *sentences(scores), sep="\n")
            for preset in scores["preset"].unique():
                for row in luck(preset).to_dict("records"):
                    apart = f"{100 * row['most']:.1f} points apart"
                    print(f"Luck alone: runs of {row['method']} that differ in their seed lie up to {apart}")
        return status
    except InputError as error:
        print(f"project: {error}", file=sys.stderr)
        return 2


def _keep(path: Path, name: str, given: Sequence[str]) -> Path:
    """Keep the rule beside its runs, by the name of its method, and return where.

    A record does not hold the rule, and a folder must not mix two versions of it.

    Raises:
        InputError: the folder has runs of another version.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--output-dir", default="runs")
    folder = expanded(parser.parse_known_args(given)[0].output_dir)
    kept, text = folder / f"{name}.py", path.read_text(encoding="utf-8")
    if kept.exists() and kept.read_text(encoding="utf-8") != text and _runs_in(folder):
        raise InputError(f"{folder} has runs of another version of {name}: choose another --output-dir")
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(text, encoding="utf-8")
    return kept


def _runs_in(folder: Path) -> bool:
    """Whether a folder has runs, finished or under way."""
    return any(folder.glob("*/*/*"))


def _judged(runs: pd.DataFrame) -> pd.DataFrame:
    return runs if runs.empty else runs[runs["evaluated_on"] == "test"]


def _against_the_rules(record: RunRecord) -> str:
    """Return why a run is out of competition; "" where it is not."""
    changed = sorted(set(RunConfig(**record.config).overrides()) - CONTROLLER_FIELDS - {"holdout_images"})
    if changed:
        return f"changes {', '.join(changed)}: out of competition"
    mean = record.metrics["mean_keep_ratio"]
    if mean is None or mean > LARGEST_MEAN_KEEP_RATIO:
        return f"mean keep-ratio {mean if mean is None else f'{mean:.2f}'}, above two thirds: out of competition"
    return ""


def _gain(own: pd.DataFrame, rivals: pd.DataFrame) -> dict[str, Any]:
    if own.empty or rivals.empty:
        return {"seeds": 0, "gain": float("nan"), "low": float("nan"), "high": float("nan"), "pairs": []}
    both = pd.concat([own.assign(method="own"), rivals.assign(method="recorded")])
    found = paired_difference(both, "own", "recorded", MEASURE)
    ours, theirs = (dict(zip(runs["seed"], runs[MEASURE], strict=True)) for runs in (own, rivals))
    pairs = [
        f"  seed {seed}: {100 * ours[seed]:.1f} - {100 * theirs[seed]:.1f} = {100 * difference:+.1f}"
        for seed, difference in zip(found.pairs, found.differences, strict=True)
    ]
    return {"seeds": len(found.pairs), "gain": found.mean, "low": found.low, "high": found.high, "pairs": pairs}


if __name__ == "__main__":
    # The module by its name: a rule's file imports that one, and its `Rule` would be another class than the one here.
    from sparsecycle_book.course import project

    sys.exit(project.main())
