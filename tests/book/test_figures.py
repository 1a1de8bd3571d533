"""Every figure: drawn from a frame, with alternative text that holds its numbers, in any theme."""

import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from sparsecycle import make_controller
from sparsecycle.analysis.verdicts import CLAIMS
from sparsecycle.controllers import CONTROLLERS
from sparsecycle.runs.metrics import decision_table
from sparsecycle_book import figures, finding_figures
from sparsecycle_book.display import INK, alternative_text, inline_svg, linked_table, markdown_table, png, show
from sparsecycle_book.schematic import block_schematic

BUDGETS = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
STEPS_PER_EPOCH = 10


def made_up_runs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for level, method in enumerate(CONTROLLERS):
        for seed in range(3):
            accuracy = 0.5 + 0.01 * level + rng.normal(0, 0.002)
            numbers = {f"accuracy_at_{budget}": accuracy * budget**0.2 for budget in BUDGETS}
            rows.append({"method": method, "seed": seed} | numbers)
    return pd.DataFrame(rows)


def made_up_epochs() -> pd.DataFrame:
    accuracies = {"train_accuracy": 0.05, "test_accuracy": 0.04, "sparse_accuracy": 0.03}
    return pd.DataFrame(
        {"method": method, "seed": seed, "epoch": epoch} | {name: rate * epoch for name, rate in accuracies.items()}
        for method in CONTROLLERS
        for seed in range(2)
        for epoch in range(1, 13)
    )


def made_up_decisions() -> pd.DataFrame:
    """Of both rules with feedback: training accuracy rises, and collapses in steps 81 to 90,
    which two decisions find; at the second one the keep-ratio stands at 1 already.
    """
    frames = []
    for method in ("accuracy_gated", "epoch_gated"):
        rule = make_controller(method, decision_steps=5, tighten=0.1)
        made = rule.update([0.5] * 40 + [0.9] * 40 + [0.2] * 10 + [0.9] * 30)
        frames.append(decision_table(made).assign(method=method, seed=0, run=f"{method}-seed0"))
    return pd.concat(frames, ignore_index=True)


def made_up_verdicts(pairs: int = 3) -> pd.DataFrame:
    differences = [0.01, 0.02, 0.03][:pairs]
    missing = pairs < 2
    row = {"mean": np.mean(differences), "low": np.nan if missing else -0.005, "high": np.nan if missing else 0.045}
    row |= {"pairs": pairs, "differences": tuple(differences)}
    return pd.DataFrame(
        row
        | {"treatment": one.treatment, "baseline": one.baseline, "measure": one.measure}
        | {"paper": 0.0107 if one.rule == "gain" else np.nan}
        for one in CLAIMS
        if not one.ratio
    )


def with_runs(epochs: pd.DataFrame) -> pd.DataFrame:
    return epochs.assign(preset="quick", run=epochs["method"] + epochs["seed"].astype(str))


def made_up_looks() -> pd.DataFrame:
    rows = ({"method": method, "looks": n} for method in ("dense", "accuracy_gated") for n in (1, 4, 16))
    return pd.DataFrame(row | {"seed": seed, "above_clean": row["looks"] / 1000} for row in rows for seed in range(2))


def made_up_pairs() -> pd.DataFrame:
    """As of `first_pairs`: gains of 1, 3 and -1 points; the interval of the first two lies far outside the picture."""
    means = {"mean": [0.01, 0.02, 0.01], "low": [np.nan, -0.107, -0.0397], "high": [np.nan, 0.147, 0.0597]}
    return pd.DataFrame({"pairs": [1, 2, 3], "difference": [0.01, 0.03, -0.01], **means})


def made_up_measures() -> pd.DataFrame:
    return pd.DataFrame(
        {"method": method, "kind": kind, "strength": strength, "accuracy": 0.6 - strength / 2 + seed / 100}
        for method in ("dense", "replay")
        for kind in finding_figures.KINDS
        for strength in (0.25, 0.5)
        for seed in range(2)
    )


def every_figure() -> dict[str, Figure]:
    runs, epochs, decided = made_up_runs(), made_up_epochs(), made_up_decisions()
    activity = pd.DataFrame(
        {"series": "dense", "keep_ratio": budget, "layer": str(layer), "active_fraction": budget / 2}
        for budget in (1.0, 0.25)
        for layer in range(3)
    )
    maps = {budget: np.ones((2, 4, 4)) * budget for budget in (1.0, 0.1)}
    return {
        "effects": figures.effects(made_up_verdicts()),
        "learning_curves": figures.learning_curves(epochs),
        "keep_ratio_path": figures.keep_ratio_path(decided, STEPS_PER_EPOCH),
        "decisions": figures.decisions(decided[decided["method"] == "accuracy_gated"], STEPS_PER_EPOCH, 0.12),
        "accuracy_by_budget": figures.accuracy_by_budget(runs, BUDGETS),
        "similarity_by_budget": figures.similarity_by_budget(
            runs.rename(columns=lambda name: name.replace("accuracy_at", "similarity_at")), BUDGETS
        ),
        "layer_activity": figures.layer_activity(activity),
        "feature_maps": figures.feature_maps(np.zeros((4, 4, 3), np.uint8), maps, "cat"),
        "reset_places": finding_figures.reset_places(decided),
        "reset_response": finding_figures.reset_response(decided),
        "best_by_looks": finding_figures.best_by_looks(made_up_looks()),
        "gain_by_pairs": finding_figures.gain_by_pairs(made_up_pairs()),
        "your_runs": finding_figures.your_runs(
            with_runs(epochs[epochs["method"] == "dense"]).assign(test_accuracy=0.5), with_runs(epochs)
        ),
        "compressed": finding_figures.conditions(made_up_measures(), ["pruning"]),
        "disturbed": finding_figures.conditions(made_up_measures(), list(finding_figures.KINDS)),
        "block_schematic": block_schematic(),
    }


FIGURES = every_figure()


def test_every_public_figure_is_drawn_here():
    found = {"reset_places", "reset_response", "best_by_looks", "gain_by_pairs", "your_runs", "compressed", "disturbed"}
    styled = {name for name, made in vars(figures).items() if hasattr(made, "__wrapped__")}
    assert set(FIGURES) == {"block_schematic"} | found | styled


def test_every_controller_has_a_look_of_its_own():
    assert list(figures.METHODS) == list(CONTROLLERS)
    assert len({look.colour for look in figures.METHODS.values()}) == len(CONTROLLERS)


def test_every_method_that_has_runs_is_named_in_a_figure_of_runs():
    for name in ("accuracy_by_budget", "similarity_by_budget", "learning_curves"):
        text = alternative_text(FIGURES[name])
        assert [method for method in CONTROLLERS if f"{method} 0" not in text] == [], name


def test_every_measure_of_a_claim_has_words():
    assert {claim.measure for claim in CLAIMS} <= set(figures.MEASURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_becomes_one_drawing_that_follows_the_theme(name):
    drawing = inline_svg(FIGURES[name])
    root = ElementTree.fromstring(drawing)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == alternative_text(FIGURES[name])
    assert INK not in drawing and "currentColor" in drawing
    assert list(root.iter("{http://www.w3.org/2000/svg}text")), "text stays text"
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
def test_a_figure_can_be_read_on_a_phone(name):
    """Text of 10 points is 9 pixels high where the figure is 350 pixels wide."""
    figure = FIGURES[name]
    assert figure.get_figwidth() <= 5.6
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    assert sizes and min(sizes) >= 10


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labelled(name):
    """Every panel with an axis has a label below its column, and one beside it or names of its rows."""
    for axes in FIGURES[name].axes:
        if not axes.axison or not len(axes.get_xticks()):
            continue
        spec = axes.get_subplotspec()
        column = [other for other in FIGURES[name].axes if other.get_subplotspec().colspan == spec.colspan]
        assert any(other.get_xlabel() for other in column)
        named = any(re.search("[a-z]", label.get_text()) for label in axes.get_yticklabels())
        assert named or axes.get_ylabel() or FIGURES[name].get_supylabel()


def test_alternative_text_states_the_plotted_numbers():
    text = alternative_text(FIGURES["accuracy_by_budget"])
    for method, group in made_up_runs().groupby("method"):
        assert f"{method} {group['accuracy_at_1.0'].mean():.2f} at 1" in text
    decided = made_up_decisions()
    gated = decided[decided["method"] == "accuracy_gated"]
    assert gated["reset"].sum() == 2
    least = gated["keep_ratio"].min()
    assert f"accuracy_gated goes down to {least:.2g}, resets: 1" in alternative_text(FIGURES["keep_ratio_path"])
    assert f"resets: 1; the keep-ratio goes down to {least:.2g}" in alternative_text(FIGURES["decisions"])
    told = "+2.00 points (95 % interval -0.50 to +4.50, pairs: 3; the paper reports at least +1.07)"
    assert f"clean test accuracy: {told}" in alternative_text(FIGURES["effects"])


def test_alternative_text_of_the_findings_states_the_plotted_numbers():
    text = alternative_text(FIGURES["reset_places"])
    assert text.count("1 reset, 0 % of them at 0.57 or more") == 2
    found = made_up_decisions()["keep_ratio"][15]  # the reset is decision 17 of each: the one before set what it found
    assert f"epoch_gated 1 reset, 0 % of them at 0.57 or more, median {found:.2g}" in text
    assert "the first from below 0.2 0.22 at the reset, " in alternative_text(FIGURES["reset_response"])
    assert "dense +0.10 points with 1 and +1.60 with 16" in alternative_text(FIGURES["best_by_looks"])
    text = "a single pair gives -1.00 to +3.00 points; the mean of all 3 is +1.00 (95 % interval -3.97 to +5.97)"
    assert text in alternative_text(FIGURES["gain_by_pairs"])
    assert FIGURES["gain_by_pairs"].axes[0].get_ylim() == pytest.approx((-3.3, 3.3)), "wide intervals hide no pair"
    assert "dense 0.50, recorded 0.48" in alternative_text(FIGURES["your_runs"])
    text = alternative_text(FIGURES["disturbed"])
    assert "noise on the image, 0.5: dense 0.35" in text
    assert "less contrast, 0.25: dense 0.48" in text, "where less is left the disturbance is stronger"


def test_one_pair_has_no_interval():
    text = alternative_text(figures.effects(made_up_verdicts(pairs=1)))
    assert "nan" not in text and "interval" not in text


def test_where_no_test_image_was_looked_at_only_training_is_drawn():
    epochs = made_up_epochs().assign(test_accuracy=np.nan, sparse_accuracy=np.nan)
    assert len(figures.learning_curves(epochs).axes) == 1


def test_small_keep_ratios_stay_in_the_picture():
    low = made_up_decisions().assign(keep_ratio=lambda decided: decided["keep_ratio"] * 1e-4)
    assert all(axes.get_ylim()[0] < low["keep_ratio"].min() for axes in figures.keep_ratio_path(low, 10).axes)


def test_zero_is_blank_in_a_feature_map():
    maps = {1.0: np.array([[[0.0, 0.001], [0.5, 1.0]]])}
    _, axes = figures.feature_maps(np.zeros((2, 2, 3), np.uint8), maps, "cat").axes
    assert axes.images[0].get_array().mask.tolist() == [[True, False], [False, False]]


def test_two_drawings_on_one_page_share_no_identity():
    def identities(name: str) -> set[str]:
        root = ElementTree.fromstring(inline_svg(FIGURES[name]))
        return {element.attrib["id"] for element in root.iter() if "id" in element.attrib}

    assert not identities("learning_curves") & identities("accuracy_by_budget")


def test_a_drawing_is_the_same_every_time_whatever_the_user_has_set_for_matplotlib():
    def drawn() -> list[dict[str, object]]:
        made = (figures.learning_curves(made_up_epochs()), finding_figures.reset_response(made_up_decisions()))
        return [show(figure)._repr_mimebundle_() for figure in (*made, block_schematic())]

    own = {"text.usetex": True, "font.family": "fantasy", "figure.facecolor": "red", "savefig.bbox": "tight"}
    with mpl.style.context(["dark_background", own | {"lines.marker": "x", "figure.dpi": 30}]):
        in_the_users_style = drawn()
        assert mpl.rcParams["text.usetex"] and mpl.rcParams["figure.facecolor"] == "red", "left as they were"
    assert in_the_users_style == drawn()


def test_show_offers_html_and_a_picture_for_print():
    bundle = show(FIGURES["effects"], "caption with <b>", 'a "name"')._repr_mimebundle_()
    assert bundle["text/html"].startswith(
        '<figure class="drawn" data-name="a &quot;name&quot;" data-code="sparsecycle_book.figures.effects"><svg'
    )
    assert "<figcaption>caption with &lt;b&gt;</figcaption>" in bundle["text/html"]
    assert bundle["image/png"] == png(FIGURES["effects"]) and bundle["image/png"][:4] == b"\x89PNG"


def test_labels_of_a_linked_table_lead_somewhere_and_cells_are_text():
    frame = pd.DataFrame({"text": ["<b>", "2"]}, index=pd.Index(["C1", "C2"], name="claim"))
    shown = linked_table(frame, {"C1": "#c1", "C2": "other.html#c2"}).html
    assert '<a href="#c1">C1</a>' in shown and '<a href="other.html#c2">C2</a>' in shown
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert shown.count("<tr") == 3 and "<th>claim</th>" in shown, "one row of heads"


def test_code_of_a_linked_table_stands_below_its_label():
    frame = pd.DataFrame({"told": ["1"], "command": ["a > b --set c=1"]}, index=pd.Index(["C1"], name="claim"))
    shown = linked_table(frame, {"C1": "#c1"}, under="command").html
    assert '<th><a href="#c1">C1</a><code><span>a &gt; b</span> <span>--set c=1</span></code></th>' in shown
    assert "command" not in shown


def test_a_row_of_a_linked_table_can_be_led_to():
    frame = pd.DataFrame({"told": ["1", "2"]}, index=pd.Index(["a/b-seed0", "c"], name="run"))
    shown = linked_table(frame, {"c": "c.html"}, ids=True).html
    assert '<th><span id="a/b-seed0">a/b-seed0</span></th>' in shown
    assert '<th><span id="c"><a href="c.html">c</a></span></th>' in shown
    assert "id=" not in linked_table(frame, {}).html


def test_a_figure_without_alternative_text_is_refused():
    with pytest.raises(ValueError, match="no alternative text"):
        show(Figure())


def test_a_frame_as_a_markdown_table():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "`y`"], "c": [0.5, float("nan")]})
    assert markdown_table(frame) == "| a | b | c |\n|---|---|---|\n| 1 | x | 0.5 |\n| 2 | `y` |  |"
