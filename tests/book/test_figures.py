"""Every figure: drawn from a frame, with alternative text that holds its numbers, in any theme."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sparsecycle_book import figures

from sparsecycle import make_controller
from sparsecycle.controllers import budget_path
from sparsecycle_book.display import INK, alternative_text, inline_svg, linked_table, markdown_table, png, show, write_svg
from sparsecycle_book.schematic import block_schematic
from sparsecycle.analysis.statistics import verdict_table

BUDGETS = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)


def made_up_runs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for method, level in (("dense", 0.50), ("loss_gated", 0.52), ("plateau", 0.53), ("geometric", 0.51)):
        for seed in range(3):
            accuracy = level + rng.normal(0, 0.002)
            numbers = {"test_accuracy": accuracy, "gap": 0.1, "drop_from_best": 0.01, "budget_area": 0.4}
            numbers |= {f"accuracy_at_{budget}": accuracy * budget**0.2 for budget in BUDGETS}
            labels = {"preset": "quick", "method": method, "seed": seed, "variant": "", "status": "complete"}
            rows.append(labels | numbers | {"training_seconds": 10.0})
    return pd.DataFrame(rows)


def made_up_epochs() -> pd.DataFrame:
    rows = []
    for method in ("dense", "geometric"):
        losses = 2.3 * 0.9 ** np.arange(12)
        for period, budget in enumerate(budget_path(make_controller(method), losses)):
            labels = {"method": method, "seed": 0, "period": period, "epoch": period + 1, "keep_ratio": budget}
            accuracies = {"train_accuracy": 0.05 * period, "test_accuracy": 0.04 * period}
            rows.append(labels | accuracies | {"train_loss": losses[period]})
    return pd.DataFrame(rows)


def made_up_measures() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows as of `load_measures` and `load_layers`, of the methods of `made_up_runs`."""
    pairs = [(method, seed) for method in ("dense", "geometric") for seed in (0, 1)]
    conditions = [("budget", 1.0), ("budget", 0.1), ("noise", 0.04), ("noise", 0.1), ("contrast", 0.5)]
    conditions += [("contrast", 0.15), ("removal", 0.1), ("removal", 0.5)]
    measures = pd.DataFrame(
        {"method": method, "seed": seed, "kind": kind, "strength": strength, "accuracy": 0.4 + seed / 100,
         "loss": 2.0, "calibration_error": 0.3}
        for method, seed in pairs
        for kind, strength in conditions
    )  # fmt: skip
    layers = pd.DataFrame(
        {"method": method, "seed": seed, "layer": str(layer), "keep_ratio": budget, "cka": budget}
        for method, seed in pairs
        for budget in (1.0, 0.5, 0.1)
        for layer in range(3)
    )
    return measures, layers


def made_up_specifications() -> pd.DataFrame:
    rows = [("loss_gated", "", -0.01), ("plateau", "", 0.01), ("plateau", "floor=0.1", 0.02)]
    return pd.DataFrame(
        {"method": method, "variant": variant, "choice": variant.split("=")[0] or "as it stands", "gain": gain,
         "gain_low": gain - 0.005, "gain_high": gain + 0.005}
        for method, variant, gain in rows
    )  # fmt: skip


def every_figure() -> dict[str, Figure]:
    runs, epochs = made_up_runs(), made_up_epochs()
    table = verdict_table(runs, "quick")
    headline = table[table["claim"].isin(["C1", "C2"])]
    measures, layers = made_up_measures()
    losses = {"falls": np.linspace(2.3, 1, 8)}
    activity = pd.DataFrame(
        {"series": "dense", "keep_ratio": budget, "layer": str(layer), "active_fraction": budget / 2}
        for budget in (1.0, 0.25)
        for layer in range(3)
    )
    maps = {budget: np.ones((2, 4, 4)) * budget for budget in (1.0, 0.1)}
    return {
        "paired_effects": figures.paired_effects(headline),
        "learning_curves": figures.learning_curves(epochs),
        "keep_ratio_path": figures.keep_ratio_path(epochs),
        "accuracy_by_budget": figures.accuracy_by_budget(runs, BUDGETS),
        "gap_and_drop": figures.gap_and_drop(runs),
        "controller_paths": figures.controller_paths(
            losses, {"plateau": {"falls": budget_path(make_controller("plateau"), losses["falls"])}}
        ),
        "layer_activity": figures.layer_activity(activity),
        "feature_maps": figures.feature_maps(np.zeros((4, 4, 3), np.uint8), maps, "cat"),
        "loss_around_resets": figures.loss_around_resets(epochs),
        "disturbance_curves": figures.disturbance_curves(
            measures,
            runs.set_index(["method", "seed"])["test_accuracy"],
            {"noise": "noise (standard deviation)", "contrast": "contrast left", "removal": "channels removed"},
        ),
        "measures_by_budget": figures.measures_by_budget(measures),
        "similarity_by_layer": figures.similarity_by_layer(layers),
        "specification_curve": figures.specification_curve(made_up_specifications()),
        "block_schematic": block_schematic(),
    }


FIGURES = every_figure()


def test_every_public_figure_is_drawn_here() -> None:
    assert set(FIGURES) - {"block_schematic"} == set(figures.__all__) - {"METHODS", "CYCLING", "MEASURES"}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_becomes_one_drawing_that_follows_the_theme(name: str) -> None:
    drawing = inline_svg(FIGURES[name])
    root = ElementTree.fromstring(drawing)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == alternative_text(FIGURES[name])
    assert INK not in drawing and "currentColor" in drawing
    identities = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(identities) == len(set(identities))
    references = {
        value.removeprefix("#")
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.endswith("href") and value.startswith("#")
    }
    assert references <= set(identities)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labelled(name: str) -> None:
    """Every panel with an axis has a label below its column and left of its row, or names its rows by method."""
    for axes in FIGURES[name].axes:
        if not axes.axison:
            continue
        spec = axes.get_subplotspec()
        column = [other for other in FIGURES[name].axes if other.get_subplotspec().colspan == spec.colspan]
        row = [other for other in FIGURES[name].axes if other.get_subplotspec().rowspan == spec.rowspan]
        assert any(other.get_xlabel() for other in column)
        names = {label.get_text() for label in axes.get_yticklabels()}
        by_method = bool(names) and names <= set(figures.METHODS)
        assert by_method or any(other.get_ylabel() for other in row) or FIGURES[name].get_supylabel()


def test_alternative_text_states_the_plotted_numbers() -> None:
    text = alternative_text(FIGURES["accuracy_by_budget"])
    runs = made_up_runs()
    for method, group in runs.groupby("method"):
        assert f"{method} {group['accuracy_at_1.0'].mean():.2f} at 1" in text
    assert "geometric resets 1 times and goes down to 0.20" in alternative_text(FIGURES["keep_ratio_path"])


def test_two_drawings_on_one_page_share_no_identity() -> None:
    def identities(name: str) -> set[str]:
        root = ElementTree.fromstring(inline_svg(FIGURES[name]))
        return {element.attrib["id"] for element in root.iter() if "id" in element.attrib}

    assert not identities("learning_curves") & identities("accuracy_by_budget")


def test_a_drawing_is_the_same_every_time() -> None:
    assert inline_svg(figures.gap_and_drop(made_up_runs())) == inline_svg(figures.gap_and_drop(made_up_runs()))


def test_show_offers_html_and_a_picture_for_print() -> None:
    bundle = show(FIGURES["gap_and_drop"], "caption with <b>")._repr_mimebundle_()
    assert bundle["text/html"].startswith('<figure class="drawn" data-code="sparsecycle_book.figures.gap_and_drop"><svg')
    assert "<figcaption>caption with &lt;b&gt;</figcaption>" in bundle["text/html"]
    assert bundle["image/png"] == png(FIGURES["gap_and_drop"]) and bundle["image/png"][:4] == b"\x89PNG"


def test_a_figure_says_what_it_is_called_and_what_drew_it() -> None:
    [text] = re.findall(
        r"<figure[^>]*>", show(FIGURES["gap_and_drop"], "", 'a "name"')._repr_mimebundle_()["text/html"]
    )
    assert text == (
        '<figure class="drawn" data-name="a &quot;name&quot;" data-code="sparsecycle_book.figures.gap_and_drop">'
    )


def test_labels_of_a_linked_table_lead_somewhere_and_cells_are_text() -> None:
    frame = pd.DataFrame({"text": ["<b>", "2"]}, index=pd.Index(["C1", "C2"], name="claim"))
    shown = linked_table(frame, {"C1": "#c1", "C2": "other.html#c2"})._repr_html_()
    assert '<a href="#c1">C1</a>' in shown and '<a href="other.html#c2">C2</a>' in shown
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert shown.count("<tr") == 3 and "<th>claim</th>" in shown, "one row of heads"


def test_code_of_a_linked_table_stands_below_its_label() -> None:
    frame = pd.DataFrame({"told": ["1"], "command": ["a > b"]}, index=pd.Index(["C1"], name="claim"))
    shown = linked_table(frame, {"C1": "#c1"}, under="command")._repr_html_()
    assert '<th><a href="#c1">C1</a><code>a &gt; b</code></th>' in shown and "command" not in shown


def test_a_row_of_a_linked_table_can_be_led_to() -> None:
    frame = pd.DataFrame({"told": ["1", "2"]}, index=pd.Index(["a/b-seed0", "c"], name="run"))
    shown = linked_table(frame, {"c": "c.html"}, ids=True)._repr_html_()
    assert '<th><span id="a/b-seed0">a/b-seed0</span></th>' in shown
    assert '<th><span id="c"><a href="c.html">c</a></span></th>' in shown
    assert "id=" not in linked_table(frame, {})._repr_html_()


def test_a_figure_without_alternative_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no alternative text"):
        show(Figure())


def test_files_for_light_and_dark_pages_differ_in_ink_only(tmp_path: pytest.TempPathFactory) -> None:
    light, dark = tmp_path / "light.svg", tmp_path / "dark.svg"
    write_svg(FIGURES["gap_and_drop"], light)
    write_svg(FIGURES["gap_and_drop"], dark, dark=True)
    assert INK in light.read_text() and INK not in dark.read_text()
    assert len(light.read_text()) == len(dark.read_text())


def test_one_seed_has_no_interval_and_small_budgets_stay_in_the_picture() -> None:
    runs = made_up_runs()
    runs = runs[runs["seed"] == 0]
    table = verdict_table(runs, "quick")
    headline = table[table["claim"] == "C1"]
    text = alternative_text(figures.paired_effects(headline))
    assert "nan" not in text and "interval" not in text
    low = made_up_epochs().assign(keep_ratio=lambda epochs: epochs["keep_ratio"] * 0.02)
    assert all(axes.get_ylim()[0] < low["keep_ratio"].min() for axes in figures.keep_ratio_path(low).axes)


def test_a_frame_as_a_markdown_table() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "`y`"], "c": [0.5, float("nan")]})
    assert markdown_table(frame) == "| a | b | c |\n|---|---|---|\n| 1 | x | 0.5 |\n| 2 | `y` |  |"
