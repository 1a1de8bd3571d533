"""Tables of runs and presets: the README's results, the list of every run, what a preset is and takes."""

import pandas as pd

from sparsecycle.analysis.ablations import varied
from sparsecycle.config import PRESETS, RunConfig
from sparsecycle_book.figures import METHODS
from sparsecycle.runs.records import CONTROL_BUDGET
from sparsecycle.analysis.selection import TIERS, complete, tier
from sparsecycle_book.report.wording import ROLES
from sparsecycle.analysis.statistics import ADAPTIVE, PAPER_ACCURACY, paired_difference


def results_table(runs: pd.DataFrame) -> str:
    """Markdown: the paper's numbers, then by preset and method seeds, accuracy, gain over dense, time, command."""
    lines = [
        "| preset | method | seeds | test accuracy | gain over dense, points | minutes a run | images/s | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, accuracy in PAPER_ACCURACY.items():
        gain = "" if method == "dense" else f"{100 * (accuracy - PAPER_ACCURACY['dense']):+z.2f}"
        lines.append(f"| the paper's report | {ROLES[method]} | 1 | {accuracy:.4g} | {gain} | | | |")
    for preset in TIERS:
        chosen = tier(runs, preset)
        for method in METHODS:
            group = chosen[chosen["method"] == method]
            if not group.empty:
                lines.append(_method_line(chosen, group, preset, method))
    return "\n".join(lines)


def _method_line(chosen: pd.DataFrame, group: pd.DataFrame, preset: str, method: str) -> str:
    gain, diverged = "", int((group["status"] != "complete").sum())
    seeds = f"{len(group) - diverged}" + (f" (+{diverged} diverged)" if diverged else "")
    group = complete(group)
    if method != "dense":
        result = paired_difference(chosen, method, "dense", "test_accuracy")
        gain = f"{100 * result.mean:+z.2f}"
        if len(result.pairs) > 1:
            gain += f" ({100 * result.low:+z.2f} to {100 * result.high:+z.2f})"
    command = f"`{run_command(preset, method, 0)}`"
    return (
        f"| `{preset}` | {_role(method)} | {seeds} | {group['test_accuracy'].mean():.4f} | {gain} "
        f"| {group['wall_seconds'].mean() / 60:.1f} | {group['images_per_second'].mean():.0f} | {command} |"
    )


def _role(method: str) -> str:
    return f"`{method}` ({ROLES.get(method, 'control')})"


def run_list(runs: pd.DataFrame) -> pd.DataFrame:
    """`listed` rows of `load_runs`."""
    labels = runs[["preset", "method", "seed", "variant"]].to_numpy().tolist()
    return listed(runs, [run_command(*label) for label in labels])


def listed(runs: pd.DataFrame, commands: list[str]) -> pd.DataFrame:
    """A row a run, by its folder: accuracies as shares, wall seconds, the revision, the command that repeats it."""

    def told(column: str, digits: int) -> list[str]:
        return [f"{value:.{digits}f}" if value == value else "diverged" for value in runs[column]]

    return pd.DataFrame(
        {
            "test accuracy": told("test_accuracy", 4),
            "train accuracy": told("train_accuracy", 4),
            "seconds": told("wall_seconds", 0),
            "revision": runs["git_revision"].str[:10].tolist(),
            "command": commands,
        },
        index=pd.Index(runs["run"], name="run"),
    )


def run_command(preset: str, method: str, seed: int, variant: str = "") -> str:
    """What makes a run again, from the labels that `load_runs` gives it."""
    settings = ({"keep_ratio": str(CONTROL_BUDGET)} if method == "fixed" else {}) | varied(variant)
    given = "".join(f" --set {name}={value}" for name, value in settings.items())
    return f".venv/bin/sparsecycle run --preset {preset} --method {method} --seed {seed}{given}"


def tiers_table(runs: pd.DataFrame) -> str:
    """Markdown: each preset's network and images, and how long its recorded runs took."""
    lines = [
        "| preset | network | training images | epochs | recorded runs | seconds a run: dense | strategies | machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for preset in PRESETS:
        config = RunConfig(preset=preset, method="dense")
        chosen = complete(tier(runs, preset))
        cells = [f"`{preset}`", f"WRN-{config.depth}-{config.width}", f"{config.train_images:,}", str(config.epochs)]
        if chosen.empty:
            cells += ["none yet", "", "", ""]
        else:
            dense = chosen[chosen["method"] == "dense"]["wall_seconds"]
            adaptive = chosen[chosen["method"].isin(ADAPTIVE)]["wall_seconds"]
            cells += [str(len(chosen)), *(_seconds(times) for times in (dense, adaptive)), _machines(chosen)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(times: pd.Series) -> str:
    return "" if times.empty else f"{times.mean():.0f}"


def _machines(runs: pd.DataFrame) -> str:
    names = runs.apply(lambda run: run["cpu"] if run["device"] == "cpu" else run["device"], axis=1)
    threads = ", ".join(str(count) for count in sorted(runs["threads"].unique()))
    return f"{', '.join(sorted(names.unique()))}, threads: {threads}"
