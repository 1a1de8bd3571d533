"""The sentences on the precision of training say what the runs say."""

import numpy as np
import pandas as pd

from sparsecycle_book.report import precision


def runs(lost: float, seeds: int = 10) -> pd.DataFrame:
    """Pairs of both methods in which bfloat16 loses so much accuracy, give or take two thousandths."""
    rng = np.random.default_rng(0)
    found = []
    for method in ("dense", "accuracy_gated"):
        for seed in range(seeds):
            one = {"method": method, "seed": seed, "train_accuracy": 0.8 + seed / 100}
            found.append(one | {"precision": "float32", "last_accuracy": 0.6})
            found.append(one | {"precision": "bfloat16", "last_accuracy": 0.6 - lost + 0.002 * rng.normal()})
    return pd.DataFrame(found)


def test_each_verdict_on_bfloat16_has_its_sentence():
    told = precision.accuracy_sentences(runs(0.0))
    assert told.count("is as accurate as in float32, to within 0.5 points") == 2 and told.count("10 pairs;") == 2
    assert told.count("training accuracy ends at 0.80 to 0.89 in bfloat16") == 2 and "preset" not in told
    told = precision.accuracy_sentences(runs(0.02))
    assert "Dense training in bfloat16 is less accurate than in float32 (-1.98" in told
    assert "Training by the published rule in bfloat16 is less accurate" in told
    told = precision.accuracy_sentences(runs(-0.02))
    assert "Dense training in bfloat16 is more accurate than in float32 (+2.02" in told
    assert "preset" not in told
    few = precision.accuracy_sentences(runs(0.02, seeds=1))
    assert few.count(f"{precision.UNDECIDED} (-") == 2 and few.count("points, 1 pair;") == 2
    assert few.endswith("So the presets of the small network use float32.")
