"""Sentences and tables for the first page and the README, from records: nobody types a number into prose."""

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

import pandas as pd

from sparsecycle import controllers, topk
from sparsecycle.ablations import varied
from sparsecycle.config import PRESETS, RunConfig
from sparsecycle.figures import MEASURES, METHODS
from sparsecycle.grid import Grid
from sparsecycle.provenance import CHECKOUT
from sparsecycle.records import CONTROL_BUDGET, variant_of
from sparsecycle.statistics import (
    ADAPTIVE,
    CLAIMS,
    PAPER_ACCURACY,
    baseline_table,
    paired_difference,
    same_runs,
    verdict_table,
)

TIERS = ("paper", "classroom", "quick")  # the presets that speak for the claims, the largest first
ROLES = {"dense": "baseline", "loss_gated": "strategy 1", "plateau": "strategy 2"}


def tier(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """The runs that speak for a preset: without overrides, evaluated on test images; diverged ones included."""
    if runs.empty:
        return runs
    return runs[(runs["preset"] == preset) & (runs["variant"] == "") & (runs["evaluated_on"] == "test")]


def complete(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that did not diverge."""
    return runs if runs.empty else runs[runs["status"] == "complete"]


def effects(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """Rows of the verdict table for C1 and C2 that could be measured."""
    table = verdict_table(runs, preset)
    return table[table["claim"].isin(["C1", "C2"]) & (table["seeds"] > 0)]


def short_answer(runs: pd.DataFrame) -> str:
    """The answer in a few sentences: the gain over dense training, and over plain regularization, and what is open."""
    preset = shown_tier(runs)
    gains = [
        f"{100 * row['mean']:+.1f} points ({_bounds(row)}, {row['seeds']} seeds: *{row['verdict']}*)"
        for row in effects(runs, preset).to_dict("records")
    ]
    told = [
        f"At the `{preset}` scale the two reconstructed strategies change test accuracy over dense training by "
        f"{' and '.join(gains)}."
    ]
    for word, _, _, rows in _regularized(runs, preset):
        changes = " and ".join(f"{100 * row['mean']:+.1f} ({_bounds(row)}, {row['seeds']} seeds)" for row in rows)
        told.append(f"Over dense training {word} they change it by {changes}.")
    told += _small_budgets(runs, preset)
    if len(without_feedback(runs, preset)) == len(ADAPTIVE):
        others = [
            f"where they do, with `{baseline}`, `{row['comparison'].split(' - ')[0]}` changes by "
            f"{-100 * row['mean']:+.1f} points ({-100 * row['high']:+.1f} to {-100 * row['low']:+.1f}, "
            f"{row['seeds']} seeds)"
            for baseline, row in _with_feedback(runs, preset)
        ]
        told.append(
            f"No budget of theirs depended on the loss in these runs; {', '.join(others) or 'what it adds is open'}."
        )
    if tier(runs, "paper").empty:
        told.append("At the paper's own scale there are no runs yet: its claim is neither confirmed nor refuted here.")
    return " ".join(told)


def _small_budgets(runs: pd.DataFrame, preset: str) -> list[str]:
    """What the strategies gain over all budgets, if it is something against each plain regularization too."""
    table = baseline_table(runs, preset, "budget_area")
    baselines = {f"dense {variant}" for _, variant, _, _ in _regularized(runs, preset)}
    rows = table[table["comparison"].str.split(" - ").str[1].isin(baselines)] if len(table) else table
    rows = rows[rows["seeds"] > 0] if len(rows) else rows
    if rows.empty or (rows["low"] <= 0).any():
        return []
    return [
        "What they keep against these too is accuracy at small budgets: over all budgets "
        f"{100 * rows['mean'].min():+.1f} to {100 * rows['mean'].max():+.1f} points on average."
    ]


def answer(runs: pd.DataFrame) -> str:
    """The answer so far as Markdown, tier by tier, the paper's scale first."""
    lines = []
    if tier(runs, "paper").empty:
        lines.append(
            "**At the paper's scale (WRN-28-4, all of CIFAR-10) there are no runs yet**, so the paper's claims are "
            "neither confirmed nor refuted here."
        )
    for preset in TIERS:
        lines += _tier_sentences(runs, preset)
    return "\n\n".join(lines)


def _tier_sentences(runs: pd.DataFrame, preset: str) -> list[str]:
    rows = effects(runs, preset)
    if rows.empty:
        return []
    chosen = complete(tier(runs, preset))
    dense = chosen[chosen["method"] == "dense"]
    sentences = [
        f"**At the `{preset}` scale** ({chosen['parameters'].iloc[0]:,} parameters) dense training reaches a test "
        f"accuracy of {dense['test_accuracy'].mean():.3f} (training images: {dense['train_accuracy'].mean():.3f})."
    ]
    for row in rows.to_dict("records"):
        method = row["comparison"].split(" - ")[0]
        strategy = {"loss_gated": "Strategy 1", "plateau": "Strategy 2"}[method]
        bounds = f" (95 % interval {100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
        interval = bounds if row["low"] == row["low"] else ""
        seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        sentences.append(
            f"{strategy}, reconstructed as `{method}`: {100 * row['mean']:+.1f} points against dense"
            f"{interval} over {seeds}: *{row['verdict']}*."
        )
        if method in (silent := without_feedback(runs, preset)):
            sentences.append(f"Here `{method}` {silent[method]}.")
    return [" ".join([*sentences, *_regularized_sentences(runs, preset), *_progress_sentence(runs, preset)])]


def without_feedback(runs: pd.DataFrame, preset: str) -> dict[str, str]:
    """The strategies whose budgets did not depend on the loss in the recorded runs of a preset, and how that came."""
    chosen, found = complete(tier(runs, preset)), {}
    if same_runs(chosen, "loss_gated", "geometric"):
        found["loss_gated"] = (
            "made the same runs as `geometric`, the cycle without feedback: the loss never left its tolerance"
        )
    if "plateau" in set(chosen["method"]):
        config = RunConfig(preset=preset, method="plateau")
        assert config.patience and config.max_hold
        if config.patience + 1 >= config.max_hold:
            found["plateau"] = (
                f"held each budget for {config.max_hold} periods whatever the loss: at `patience={config.patience}` "
                f"and `max_hold={config.max_hold}` it has no choice"
            )
    return found


def feedback_sentence(runs: pd.DataFrame, preset: str) -> str:
    """Whether the strategies of a preset listened to the loss, and how the recorded variants do that could."""
    told = [f"`{method}` {how}." for method, how in without_feedback(runs, preset).items()]
    for baseline, row in _with_feedback(runs, preset):
        told.append(
            f"Against `{row['comparison'].split(' - ')[0]}` with `{baseline}`, where the loss decides how long a "
            f"budget is held, it gains {100 * row['mean']:+.1f} points ({_bounds(row)}, {row['seeds']} seeds)."
        )
    return " ".join(told) or "The budgets of both strategies depended on the loss."


def _with_feedback(runs: pd.DataFrame, preset: str) -> Iterator[tuple[str, dict[Hashable, Any]]]:
    """Recorded variants that give a strategy back its feedback, each with the row of the strategy against it."""
    silent, table = without_feedback(runs, preset), baseline_table(runs, preset)
    for row in table.to_dict("records") if len(table) else []:
        method, _, baseline = row["comparison"].partition(" - ")
        variant = baseline.removeprefix(f"{method} ")
        if method in silent and varied(variant).keys() == {"max_hold"} and row["seeds"]:
            yield variant, row


def against_sentences(runs: pd.DataFrame, preset: str, claim_id: str) -> list[str]:
    """For each measure of a claim, the strategies against dense training with plain regularization, a line each."""
    lines = []
    for claim in (one for one in CLAIMS if one.id == claim_id):
        table = baseline_table(runs, preset, claim.metric, larger_is_better=claim.larger_is_better)
        for baseline in sorted(set(table["comparison"].str.split(" - ").str[1])) if len(table) else []:
            word = _plain_regularization(preset, baseline.removeprefix("dense "))
            if not word:
                continue
            rows = table[table["comparison"].str.endswith(f" - {baseline}") & (table["seeds"] > 0)].to_dict("records")
            effects = "; ".join(
                f"{row['comparison'].split(' - ')[0]} {100 * row['mean']:+.1f} ({_bounds(row)}, {row['seeds']} seeds)"
                for row in rows
            )
            if rows:
                lines.append(f"{MEASURES.get(claim.metric, claim.metric)}, against dense {word}: {effects}")
    return lines


def _bounds(row: dict[Hashable, Any]) -> str:
    return f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"


def _progress_sentence(runs: pd.DataFrame, preset: str) -> list[str]:
    """How far the tier's study is, and which runs are missing, where it is not complete."""
    declared = Grid.read(CHECKOUT / "workflow" / "grid.yaml").configurations(preset)
    mine = runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")]
    recorded = set(zip(mine["method"], mine["variant"], mine["seed"], strict=True))
    missing: Counter[str] = Counter()
    for config in declared:
        variant = variant_of(config.model_dump(), config.overrides())
        if (config.method, variant, config.seed) not in recorded:
            missing[f"{config.method} {variant}".strip()] += 1
    if not missing:
        return []
    told = ", ".join(f"{count} of `{arm}`" for arm, count in missing.items())
    return [
        f"The study is under way: {missing.total()} of its {len(declared)} runs are not recorded yet ({told}), and "
        "what they will say is open."
    ]


def _regularized_sentences(runs: pd.DataFrame, preset: str) -> list[str]:
    """How dense training with plain regularization does, and the strategies against it."""
    sentences = []
    for word, variant, arm, rows in _regularized(runs, preset):
        against = [f"`{row['comparison'].split(' - ')[0]}` {100 * row['mean']:+.1f} ({_bounds(row)})" for row in rows]
        sentences.append(
            f"Dense training {word} (`{variant}`, chosen on held-out images) "
            f"reaches {arm['test_accuracy'].mean():.3f} over {len(arm)} seeds; against that: {' and '.join(against)}."
        )
    return sentences


def _regularized(runs: pd.DataFrame, preset: str) -> Iterator[tuple[str, str, pd.DataFrame, list[dict[Hashable, Any]]]]:
    """For each plain regularization: its word, variant, runs, and the rows of the strategies against it."""
    table = baseline_table(runs, preset)
    for baseline in sorted(set(table["comparison"].str.split(" - ").str[1])) if len(table) else []:
        variant = baseline.removeprefix("dense ")
        word = _plain_regularization(preset, variant)
        if word:
            arm = complete(runs[(runs["preset"] == preset) & ("dense " + runs["variant"] == baseline)])
            arm = arm[(arm["method"] == "dense") & (arm["evaluated_on"] == "test")]
            rows = table[table["comparison"].str.endswith(f" - {baseline}")].to_dict("records")
            yield word, variant, arm, rows


def _plain_regularization(preset: str, variant: str) -> str | None:
    """What a dense baseline does against overfitting, None where it does nothing of the kind."""
    fields = varied(variant)
    if fields.keys() == {"dropout"}:
        return "with dropout"
    epochs = RunConfig(preset=preset, method="dense").epochs
    shorter = fields.keys() == {"epochs"} and int(fields["epochs"]) < epochs
    return f"for {fields['epochs']} instead of {epochs} epochs" if shorter else None


def effect_sentences(rows: pd.DataFrame) -> list[str]:
    """One line for each row of a verdict table that was measured: effect, interval, seeds, p, verdict, power."""
    lines = []
    for row in rows[rows["seeds"] > 0].to_dict("records"):
        bounds = f", 95 % interval {100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
        interval = bounds if row["low"] == row["low"] else ""
        p = f", sign-flip p = {row['p_value']:.3f}" if row["p_value"] == row["p_value"] else ""
        least = row["smallest_detectable_effect"]
        power = (
            f" At this spread an effect of {100 * least:.1f} points is found four times in five."
            if least == least
            else ""
        )
        lines.append(
            f"{row['claim']} {row['comparison']}, {MEASURES.get(row['measure'], row['measure'])}: "
            f"{100 * row['mean']:+.2f} points{interval}, {row['seeds']} seeds{p}: {row['verdict']}.{power}"
        )
    return lines


def drop_sentences(runs: pd.DataFrame, metric: str) -> list[str]:
    """What each strategy loses less than dense of its own accuracy, for `pruning_drop` or `disturbance_drop`."""
    lines = []
    for method in ADAPTIVE:
        if metric in runs and {method, "dense"} <= set(runs["method"]):
            one = paired_difference(runs, method, "dense", metric, larger_is_better=False)
            bounds = f", 95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f}" if len(one.pairs) > 1 else ""
            own = 100 * runs.loc[runs["method"] == method, metric].mean()
            lines.append(
                f"{method} loses {own:.1f} points of its own accuracy, against dense {100 * one.mean:+.2f}{bounds}, "
                f"{len(one.pairs)} seeds."
            )
    return lines


def condition_table(measures: pd.DataFrame) -> pd.DataFrame:
    """For each condition, each strategy's difference from dense in accuracy: points, 95 % interval over seeds, as text.

    Args:
        measures: rows of `load_measures` of one preset and variant.
    """
    rows = []
    for (kind, strength), group in measures.groupby(["kind", "strength"], sort=False):
        frame = group.assign(status="complete")
        row = {"condition": str(kind), "strength": strength}
        for method in ADAPTIVE:
            if {method, "dense"} <= set(frame["method"]):
                one = paired_difference(frame, method, "dense", "accuracy")
                row[method] = f"{100 * one.mean:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        rows.append(row)
    return pd.DataFrame(rows)


def baseline_sentence(runs: pd.DataFrame, preset: str) -> str:
    """How the dense baseline of a tier compares with the paper's."""
    dense = complete(tier(runs, preset))
    dense = dense[dense["method"] == "dense"]
    config = RunConfig(preset=preset, method="dense")
    ours, theirs = dense["test_accuracy"].mean(), PAPER_ACCURACY["dense"]
    network = f"WRN-{config.depth}-{config.width} of {dense['parameters'].iloc[0]:,} parameters"
    return (
        f"Dense training reaches a test accuracy of {ours:.3f} here and {theirs:g} in the paper, "
        f"{100 * (theirs - ours):.0f} points more: with {config.train_images:,} training images instead of 50,000 and "
        f"a {network} instead of a WRN-28-4. It reaches a train accuracy of {dense['train_accuracy'].mean():.3f}, so "
        "there is overfitting to resist; but what holds here need not hold there."
    )


def compute_sentence(runs: pd.DataFrame, search: pd.DataFrame) -> str:
    """What all recorded runs took together, diverged ones included."""
    both = pd.concat([runs, search])
    final, searched = (frame["wall_seconds"].sum() / 3600 for frame in (runs, search))
    diverged, resumed = int((both["status"] == "diverged").sum()), int((both["resumes"] > 0).sum())
    return (
        f"{len(both)} recorded runs took {final + searched:.1f} hours, each counted by its own clock (some shared a "
        f"machine): {final:.1f} for the {len(runs)} final runs and ablations, {searched:.1f} for the {len(search)} "
        f"runs that chose constants. {diverged} of them diverged and {resumed} were interrupted and resumed; these are "
        "counted. Trial runs while the code was written were not recorded and are not."
    )


def method_lines() -> dict[str, int]:
    """Lines of code of the method in plain Python, as `ast` prints them, without comments and docstrings."""
    parts = {
        "the layer": (topk.reference_mask, topk._late_ties, topk._rows, topk.GlobalTopK, topk.set_keep_ratio),
        "strategy 1": (controllers.Cycle, controllers.LossGated),
        "strategy 2": (controllers.Cycle, controllers.Plateau),
    }
    return {name: sum(_code_lines(inspect.getsource(one)) for one in sources) for name, sources in parts.items()}


def _code_lines(source: str) -> int:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return len([line for line in ast.unparse(tree).splitlines() if line.strip()])


def results_table(runs: pd.DataFrame) -> str:
    """Markdown: the paper's numbers, then for each tier and method seeds, accuracy, gain over dense, time, command."""
    lines = [
        "| tier | method | seeds | test accuracy | gain over dense, points | minutes a run | images/s | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, accuracy in PAPER_ACCURACY.items():
        gain = "" if method == "dense" else f"{100 * (accuracy - PAPER_ACCURACY['dense']):+.2f}"
        lines.append(f"| the paper's report | {ROLES[method]} | 1 | {accuracy:.4g} | {gain} | | | |")
    for preset in TIERS:
        chosen = tier(runs, preset)
        for method in METHODS:
            group = chosen[chosen["method"] == method]
            if not group.empty:
                lines.append(_method_line(chosen, group, preset, method))
    return "\n".join(lines)


def run_list(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a run, by its folder: accuracies as shares, wall seconds, the command that repeats it, the revision."""
    shown = runs[["run", "test_accuracy", "train_accuracy", "wall_seconds"]].round({"wall_seconds": 0}).round(4)
    shown = shown.astype(object).where(shown.notna(), "diverged")
    command = [run_command(*labels) for labels in runs[["preset", "method", "seed", "variant"]].to_numpy().tolist()]
    return shown.assign(command=command, revision=runs["git_revision"].str[:10]).set_index("run")


def run_command(preset: str, method: str, seed: int, variant: str = "") -> str:
    """What makes a run again, from the labels that `load_runs` gives it."""
    settings = ({"keep_ratio": str(CONTROL_BUDGET)} if method == "fixed" else {}) | varied(variant)
    given = "".join(f" --set {name}={value}" for name, value in settings.items())
    return f".venv/bin/sparsecycle run --preset {preset} --method {method} --seed {seed}{given}"


def _method_line(chosen: pd.DataFrame, group: pd.DataFrame, preset: str, method: str) -> str:
    gain, diverged = "", int((group["status"] != "complete").sum())
    seeds = f"{len(group) - diverged}" + (f" (+{diverged} diverged)" if diverged else "")
    group = complete(group)
    if method != "dense":
        result = paired_difference(chosen, method, "dense", "test_accuracy")
        gain = f"{100 * result.mean:+.2f}"
        if len(result.pairs) > 1:
            gain += f" ({100 * result.low:+.2f} to {100 * result.high:+.2f})"
    command = f"`{run_command(preset, method, 0)}`"
    return (
        f"| `{preset}` | {_role(method)} | {seeds} | {group['test_accuracy'].mean():.4f} | {gain} "
        f"| {group['wall_seconds'].mean() / 60:.1f} | {group['images_per_second'].mean():.0f} | {command} |"
    )


SEARCHED = (
    "learning_rate",
    "weight_decay",
    "epochs",
    "dropout",
    "decay",
    "floor",
    "final_dense_periods",
    "tolerance",
    "max_hold",
)


def search_sentence(search: pd.DataFrame) -> str:
    """How many runs chose the constants, by method, and how long they took."""
    counts = search["method"].value_counts().reindex([name for name in METHODS if name in set(search["method"])])
    hours = search["wall_seconds"].sum() / 3600
    listed = ", ".join(f"{count} of `{name}`" for name, count in counts.items())
    return f"{len(search)} runs ({listed}), {hours:.1f} hours, each counted by its own clock."


def search_table(search: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """Runs of a search with the constants searched and their validation accuracy, the best first.

    Args:
        search: rows of `load_runs`.
        configurations: rows of `load_configurations`, of the same folders.
    """
    fields = configurations[["identity", *(name for name in SEARCHED if name in configurations)]]
    found = search[["identity", "method", "test_accuracy", "train_accuracy"]].merge(fields, on="identity")
    searched = [name for name in fields if name != "identity" and found[name].dropna().nunique() > 1]
    found = found.sort_values("test_accuracy", ascending=False, kind="stable")
    found = found.rename(columns={"test_accuracy": "validation accuracy", "train_accuracy": "train accuracy"})
    shown = found[["method", *searched, "validation accuracy", "train accuracy"]].set_index("method").round(4)
    return shown.astype(object).where(shown.notna(), "")


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
            adaptive = chosen[chosen["method"].isin(["loss_gated", "plateau"])]["wall_seconds"]
            cells += [str(len(chosen)), *(_seconds(times) for times in (dense, adaptive)), _machines(chosen)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(times: pd.Series) -> str:
    return "" if times.empty else f"{times.mean():.0f}"


def _machines(runs: pd.DataFrame) -> str:
    names = runs.apply(lambda run: run["cpu"] if run["device"] == "cpu" else run["device"], axis=1)
    threads = ", ".join(str(count) for count in sorted(runs["threads"].unique()))
    return f"{', '.join(sorted(names.unique()))}, threads: {threads}"


def _role(method: str) -> str:
    return f"`{method}` ({ROLES.get(method, 'control')})"


def shown_tier(runs: pd.DataFrame) -> str:
    """The largest tier that compares a strategy with dense over at least three seeds, or else "quick"."""
    for preset in ("paper", "classroom"):
        rows = effects(runs, preset)
        if not rows.empty and rows["seeds"].min() >= 3:
            return preset
    return "quick"
