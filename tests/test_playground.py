"""What can be played with holds what it was given, and is whole without a script."""

import base64
import io
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from sparsecycle.playground import BudgetView, budget_slider


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
