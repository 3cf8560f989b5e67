"""Makes elliptic.json: robust locations, covariances and scores of scikit-learn's elliptic envelope.

    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2
    python elliptic.py

Each case is fitted with random_state 0..19. Where all twenty agree, the result does not depend on the generator,
and ours must be the same; else the different results are listed, and how often each was found. Rows come from a
formula that tests/elliptic.rs repeats bit by bit.
"""
import json
import pathlib
import warnings

import numpy as np
from sklearn.covariance import EllipticEnvelope

from forest import bell
from inputs import shortened

SEEDS = 20


def rows(n, p, seed, outliers, stretch):
    """Correlated columns of falling scale; the first rows are moved far off."""
    x = bell(seed, n, p)
    for j in range(1, p):
        x[:, j] = x[:, j] * stretch**j + 0.5 * x[:, j - 1]
    x[:outliers] = x[:outliers] * 0.25 + 20.0
    return x


def fit(x, query, seed, contamination, support_fraction):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = EllipticEnvelope(
            contamination=contamination, support_fraction=support_fraction, random_state=seed
        ).fit(x)
    return {
        "location": model.location_.tolist(),
        "covariance": model.covariance_.ravel().tolist(),
        "scores": (-model.score_samples(query)).tolist(),
        "threshold": float(-model.offset_),
        "support": int(model.support_.sum()),
        "count": 1,
    }


def case(name, n, p, outliers, stretch=0.8, contamination=0.1, support_fraction=None):
    x, query = rows(n, p, 1, outliers, stretch), rows(6, p, 2, 1, stretch)
    results = []
    for seed in range(SEEDS):
        result = fit(x, query, seed, contamination, support_fraction)
        for known in results:
            if np.allclose(known["covariance"], result["covariance"], rtol=1e-11, atol=1e-13):
                known["count"] += 1
                break
        else:
            results.append(result)
    results.sort(key=lambda r: -r["count"])
    return {
        "name": name,
        "n": n,
        "p": p,
        "outliers": outliers,
        "stretch": stretch,
        "contamination": contamination,
        "support_fraction": support_fraction,
        "results": results,
    }


def main():
    cases = [
        case("small", 20, 2, 3),
        case("medium", 120, 4, 20),
        case("wide", 150, 12, 10, stretch=0.95),
        case("as many columns as rows", 40, 40, 0, stretch=0.98),
        case("more columns than rows", 24, 40, 0, stretch=0.98),
        case("one column", 51, 1, 9),
        case("one column, large", 700, 1, 90),
        case("one column, all rows", 30, 1, 2, support_fraction=1.0),
        case("all rows", 80, 3, 5, support_fraction=1.0),
        case("three quarters", 101, 3, 11, contamination=0.03, support_fraction=0.75),
        case("subsets", 640, 3, 90),
        case("subsets, odd", 1253, 2, 130),
        case("boundary", 1500, 2, 200),
        case("three levels", 1801, 3, 180, contamination=0.25),
    ]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("[\n" + ",\n".join(json.dumps(shortened(c), separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
