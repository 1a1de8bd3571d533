"""A board onto which a reader drops the record of a run, and sees it among the recorded ones."""

from typing import Any

import pandas as pd

from sparsecycle_book.figures import METHODS
from sparsecycle_book.playground.board import Board, data_element


class run_board(Board):  # noqa: N801 (reads as what it puts on the page)
    """Your run among ours: final accuracy, accuracy by epoch, accuracy by budget.

    Args:
        runs: the recorded runs, as from `load_runs`; those with overrides and those not judged on test images are left
            out.
        epochs: their periods, as from `load_epochs`.
    """

    def __init__(self, runs: pd.DataFrame, epochs: pd.DataFrame) -> None:
        judged = runs[(runs["variant"] == "") & (runs["evaluated_on"] == "test") & (runs["status"] == "complete")]
        self.runs, self.epochs = judged, epochs[epochs["variant"] == ""]

    def told(self) -> str:
        counts = self.runs.groupby("preset", sort=False).size()
        return "recorded: " + ", ".join(f"{count} runs of {preset}" for preset, count in counts.items())

    def html(self) -> str:
        return (
            '<div class="playground" data-play="runs"><div class="play-drop"><label>Your run '
            '<input type="file" multiple accept=".json,.parquet"></label> <span>or drop its files here</span></div>'
            '<p class="play-told" role="status">This board needs JavaScript.</p><div class="play-panels"></div>'
            + data_element(self.data())
            + "</div>"
        )

    def data(self) -> dict[str, Any]:
        """By preset and method: final accuracies, mean accuracy by epoch, mean accuracy by budget."""
        found: dict[str, Any] = {"colours": {method: colour for method, (colour, _, _) in METHODS.items()}}
        found["presets"] = {
            str(preset): {
                str(method): {
                    "accuracies": of["test_accuracy"].round(6).tolist(),
                    "epochs": self._epochs(str(preset), str(method)),
                    "budgets": _budgets(of),
                }
                for method, of in group.groupby("method", sort=False)
            }
            for preset, group in self.runs.groupby("preset", sort=False)
        }
        return found

    def _epochs(self, preset: str, method: str) -> list[list[float]]:
        of = self.epochs[(self.epochs["preset"] == preset) & (self.epochs["method"] == method)]
        means = of.groupby("epoch")["test_accuracy"].mean().dropna()
        return [[float(epoch), round(float(value), 5)] for epoch, value in means.items()]  # type: ignore[arg-type]


def _budgets(runs: pd.DataFrame) -> list[list[float]]:
    columns = [name for name in runs.columns if name.startswith("accuracy_at_") and runs[name].notna().all()]
    return sorted([float(name.removeprefix("accuracy_at_")), round(float(runs[name].mean()), 5)] for name in columns)
