"""What can be played with holds what it was given, and is whole without a script."""

import base64
import io
import json
import re
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from sparsecycle import RunConfig
from sparsecycle.controllers import controller_parameters
from sparsecycle_book.display import Element
from sparsecycle_book.playground import budget_slider, controller_board
from sparsecycle_book.playground.controllers import GIVES_WAY, KNOBS, STEPS_AN_EPOCH
from sparsecycle_book.simulation import simulate


@pytest.fixture
def slider() -> Element:
    maps = np.zeros((5, 6, 7))
    maps[:, :3] = 2.0
    first = {"training images": 0.625, "test images": 0.5}
    accuracies = {1.0: first, 0.1: {"training images": 0.5, "test images": 0.25}}
    views = {1.0: maps, 0.1: maps * (np.arange(5) == 0)[:, None, None]}
    return budget_slider("a <frog>", np.zeros((32, 32, 3), dtype=np.uint8), views, accuracies)


def test_each_budget_has_its_view_and_the_first_one_is_shown(slider):
    page = BeautifulSoup(slider.html, "html.parser")
    views = page.select(".play-view")
    assert [view.has_attr("hidden") for view in views] == [False, True]
    control = page.select_one("input")
    assert control and (control["max"], control["data-budgets"]) == ("1", "1 0.1")
    assert "50% of these values are left; accuracy" not in str(views[0]), "the bars say the accuracy"
    assert [bar.get_text("|") for bar in views[1].select(".play-bar")] == ["training images|50.0%", "test images|25.0%"]
    assert "width: 62.5%" in str(views[0])


def test_pictures_say_what_they_show(slider):
    alts = [str(image["alt"]) for image in BeautifulSoup(slider.html, "html.parser").select("img")]
    assert alts[0] == "a <frog>, as the network sees it"
    assert alts[1] == "Feature maps of a <frog> at keep-ratio 1: 50% of these values are left"
    assert alts[2] == "Feature maps of a <frog> at keep-ratio 0.1: 10% of these values are left"


def test_maps_are_drawn_in_one_range_of_colours(slider):
    addresses = re.findall(r'src="data:image/png;base64,([^"]+)"', slider.html)
    first, second = (np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in addresses[1:])
    assert first.shape == (2 * 6 + 2, 4 * 7 + 3 * 2, 4)
    assert (first[0, 0] == second[0, 0]).all(), "the same value, the same colour"
    assert (first[0, 9] != second[0, 9]).any(), "another value, another colour"
    assert (first[8:, 9:] == 0).all(), "five maps leave three places of eight empty"


def data_of(board: Element) -> Any:
    [element] = BeautifulSoup(board.html, "html.parser").select("script.play-data")
    return json.loads(element.get_text())


PUBLISHED = dict(controller_parameters("accuracy_gated"))
CURVES = {"climbs": [0.2, 0.5, 0.8, 0.9, 1.0], "falls <off>": [0.2, 0.9, 1.0, 0.9, 0.2]}


def test_the_board_holds_what_the_rule_does_from_each_preset_on_each_curve():
    board = controller_board(CURVES, {"published": PUBLISHED}, epochs=5)
    data = data_of(board)
    assert data["steps_each"] == STEPS_AN_EPOCH and data["presets"]["published"] == {**PUBLISHED, GIVES_WAY: 0.1}
    for title, accuracies in CURVES.items():
        expected = simulate({}, accuracies, STEPS_AN_EPOCH, gives_way=0.1, noise=True)
        computed = data["computed"][f"published|{title}"]
        for name in ("averages", "bests", "keep_ratios"):
            assert computed[name] == pytest.approx(getattr(expected, name), rel=1e-3), "four digits"
        assert (computed["steps"], computed["resets"]) == (expected.steps, expected.resets)
    assert board.told == "the published rule with published on: climbs, falls <off>"


def test_the_modules_that_the_page_gets_answer_there_without_torch_as_they_do_here(tmp_path):
    data = data_of(controller_board(CURVES, {"published": PUBLISHED}, epochs=5))
    for name, source in data["sources"].items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source, encoding="utf-8")
    question: dict[str, Any] = {"parameters": PUBLISHED, "accuracies": CURVES["climbs"], "steps_each": 200}
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sparsecycle_book.simulation import simulate_json; print(simulate_json(sys.argv[1]))"
    )
    command = [sys.executable, "-S", "-c", code, json.dumps(question)]  # -S: nothing that is installed
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == asdict(simulate(**question))


def test_there_is_a_knob_for_every_parameter_and_it_reaches_the_published_values_and_the_presets():
    assert set(KNOBS) == {*PUBLISHED, GIVES_WAY}
    for method in ("accuracy_gated", "epoch_gated"):
        controller_board(CURVES, {method: controller_parameters(method)}, epochs=5)
    for preset in ("paper", "paper100", "classroom"):
        parameters = RunConfig(preset=preset, method="accuracy_gated").controller_parameters()
        controller_board(CURVES, {preset: parameters}, epochs=5)


def test_a_board_needs_values_of_its_knobs():
    with pytest.raises(ValueError, match=r"tighten of 'odd' is 0\.55, but its knob has the values 0\.005, 0\.01"):
        controller_board(CURVES, {"odd": PUBLISHED | {"tighten": 0.55}})
    with pytest.raises(ValueError, match=r"floor of 'less' is None, but its knob"):
        controller_board(CURVES, {"less": {name: value for name, value in PUBLISHED.items() if name != "floor"}})


def test_data_cannot_end_the_element_that_holds_it():
    title = "</script><script>alert(1)"
    assert list(data_of(controller_board({title: CURVES["climbs"]}, {"published": PUBLISHED}, epochs=5))["curves"]) == [
        title
    ]
