"""Makes mahalanobis.json: scikit-learn's Ledoit-Wolf shrinkage and Mahalanobis distances.

    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2 mpmath==1.3.0
    python mahalanobis.py

Rows come from the formula of detectors.py; column j is multiplied by 1 + j % 5, so that there is something to shrink.
"""
import json
import pathlib

import numpy as np
from detectors import queries, rows
from sklearn.covariance import LedoitWolf, ShrunkCovariance

CASES = [
    ("bell", 40, 30, 6),
    ("bell", 41, 12, 40),
    ("rectified", 42, 60, 60),
    ("bell", 43, 25, 1),
    ("rectified", 44, 20, 200),
    ("constant", 45, 40, 12),
    ("duplicates", 46, 40, 30),
    ("offset", 47, 50, 20),
]


def case(kind, seed, n, d):
    spread = 1.0 + np.arange(d) % 5
    x, q = rows(kind, seed, n, d) * spread, queries(kind, seed + 8, d) * spread
    models = {"ledoit_wolf": LedoitWolf().fit(x)}
    for shrinkage in (0.1, 1.0):
        models[str(shrinkage)] = ShrunkCovariance(shrinkage=shrinkage).fit(x)
    return {
        "kind": kind, "seed": seed, "n": n, "d": d,
        "shrinkage": models["ledoit_wolf"].shrinkage_,
        "distances": {name: model.mahalanobis(q).tolist() for name, model in models.items()},
    }


if __name__ == "__main__":
    golden = [case(*c) for c in CASES]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(golden, indent=1) + "\n")
