"""What can be played with holds what it was given, and is whole without a script."""

import base64
import io
import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from sparsecycle import RunConfig
from sparsecycle.config import PRESETS
from sparsecycle.controllers import CONTROLLERS, controller_parameters
from sparsecycle_book.playground import BudgetView, budget_slider, controller_board, run_board
from sparsecycle_book.playground.board import data_element
from sparsecycle_book.playground.controllers import COST, KNOBS
from sparsecycle_book.simulation import simulate


@pytest.fixture
def slider() -> budget_slider:
    maps = np.zeros((5, 6, 7))
    maps[:, :3] = 2.0
    views = [
        BudgetView(1.0, maps, {"dense": 0.5, "plateau": 0.625}),
        BudgetView(0.1, maps * (np.arange(5) == 0)[:, None, None], {"dense": 0.25, "plateau": 0.5}),
    ]
    return budget_slider("a <frog>", np.zeros((32, 32, 3), dtype=np.uint8), views)


def test_each_budget_has_its_view_and_the_first_one_is_shown(slider: budget_slider) -> None:
    page = BeautifulSoup(slider.html(), "html.parser")
    views = page.select(".play-view")
    assert [view.has_attr("hidden") for view in views] == [False, True]
    control = page.select_one("input")
    assert control and (control["max"], control["data-budgets"]) == ("1", "1 0.1")
    assert "50% of these values are left; accuracy" not in str(views[0]), "the bars say the accuracy"
    assert [bar.get_text("|") for bar in views[1].select(".play-bar")] == ["dense|25.0%", "plateau|50.0%"]
    assert "width: 62.5%" in str(views[0])


def test_pictures_say_what_they_show(slider: budget_slider) -> None:
    alts = [str(image["alt"]) for image in BeautifulSoup(slider.html(), "html.parser").select("img")]
    assert alts[0] == "a <frog>, as the network sees it"
    assert alts[1] == "Feature maps of a <frog> at budget 1: 50% of these values are left"
    assert alts[2] == "Feature maps of a <frog> at budget 0.1: 10% of these values are left"


def test_maps_are_drawn_in_one_range_of_colours(slider: budget_slider) -> None:
    addresses = re.findall(r'src="data:image/png;base64,([^"]+)"', slider.html())
    first, second = (np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in addresses[1:])
    assert first.shape == (2 * 6 + 2, 4 * 7 + 3 * 2, 4)
    assert (first[0, 0] == second[0, 0]).all(), "the same value, the same colour"
    assert (first[0, 9] != second[0, 9]).any(), "another value, another colour"
    assert (first[8:, 9:] == 0).all(), "five maps leave three places of eight empty"


def test_without_a_budget_there_is_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match="at least one view"):
        budget_slider("", np.zeros((1, 1, 3), dtype=np.uint8), [])


def data_of(board: controller_board | run_board) -> Any:
    [element] = BeautifulSoup(board.html(), "html.parser").select("script.play-data")
    return json.loads(element.get_text())


START = {"loss_gated": dict(controller_parameters("loss_gated")), "fixed": {"keep_ratio": 0.3, "warmup": 0}}
FALLING = [2.0, 1.5, 1.2, 1.1, 1.05, 1.0]


def test_the_board_holds_what_each_knob_alone_does() -> None:
    board = controller_board({"falling": FALLING, "broken": [*FALLING[:5], math.nan]}, START)
    data = data_of(board)
    assert data["curves"]["broken"][-1] is None
    for position, tolerance in enumerate(KNOBS["tolerance"][1]):
        expected = simulate("loss_gated", START["loss_gated"] | {"tolerance": tolerance}, FALLING).budgets
        assert data["computed"][f"loss_gated|falling|tolerance|{position}"] == pytest.approx(expected, abs=1e-5)
    for position, cost in enumerate(KNOBS[COST][1]):
        expected = simulate("loss_gated", START["loss_gated"], FALLING, cost).budgets
        assert data["computed"][f"loss_gated|falling|cost|{position}"] == pytest.approx(expected, abs=1e-5)
    assert data["computed"]["fixed|broken|keep_ratio|0"] == [KNOBS["keep_ratio"][1][0]] * 6
    assert board.told() == "controllers loss_gated, fixed on: falling, broken"


def test_there_is_a_knob_for_every_parameter_and_it_reaches_what_the_presets_say() -> None:
    for method in CONTROLLERS:
        assert set(controller_parameters(method)) <= set(KNOBS)
        for preset in PRESETS:
            given = {"keep_ratio": 0.3} if method == "fixed" else {}
            parameters = RunConfig(preset=preset, method=method, **given).controller_parameters()
            controller_board({"falling": FALLING}, {method: parameters})


def test_a_board_needs_curves_of_one_length_a_controller_and_values_of_its_knobs() -> None:
    with pytest.raises(ValueError, match="the curves need one length, at least one period; given: 6, 5"):
        controller_board({"a": FALLING, "b": FALLING[1:]}, START)
    with pytest.raises(ValueError, match="given: none"):
        controller_board({}, START)
    with pytest.raises(ValueError, match="no controller to choose"):
        controller_board({"a": FALLING}, {})
    with pytest.raises(ValueError, match=r"decay of geometric is 0\.55, but its knob has the values 0\.3, 0\.4"):
        controller_board({"a": FALLING}, {"geometric": {"decay": 0.55}})


def test_data_cannot_end_the_element_that_holds_it() -> None:
    text = "</script><script>alert(1)"
    element = BeautifulSoup(data_element({"a": text}), "html.parser")
    [script] = element.select("script")
    assert json.loads(script.get_text()) == {"a": text}


def test_the_board_of_runs_holds_ours_as_they_stand() -> None:
    kind = {"preset": "quick", "method": "dense", "variant": "", "evaluated_on": "test", "status": "complete"}
    runs = pd.DataFrame(
        [
            kind | {"seed": 0, "test_accuracy": 0.5, "accuracy_at_1": 0.5, "accuracy_at_0.1": 0.2},
            kind | {"seed": 1, "test_accuracy": 0.7, "accuracy_at_1": 0.7, "accuracy_at_0.1": 0.4},
            kind | {"seed": 1, "test_accuracy": 0.9, "variant": "norm=batch"},
            kind | {"seed": 2, "test_accuracy": 0.9, "evaluated_on": "holdout"},
        ]
    )
    epochs = pd.DataFrame(
        [
            {"preset": "quick", "method": "dense", "variant": variant, "epoch": 1.0, "test_accuracy": accuracy}
            for variant, accuracy in (("", 0.3), ("", 0.5), ("norm=batch", 0.9))
        ]
    )
    board = run_board(runs, epochs)
    assert data_of(board)["presets"] == {
        "quick": {
            "dense": {"accuracies": [0.5, 0.7], "epochs": [[1.0, 0.4]], "budgets": [[0.1, 0.3], [1.0, 0.6]]},
        }
    }
    assert board.told() == "recorded: 2 runs of quick"
