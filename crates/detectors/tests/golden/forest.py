"""Makes forest.json: means over 50 seeds of scikit-learn's isolation forest scores.

    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2
    python forest.py

Rows come from a formula that tests/forest.rs repeats bit by bit: whole-number hashing, no generator of numpy's.
"""
import json
import pathlib

import numpy as np
from sklearn.ensemble import IsolationForest

SEEDS = 50


def uniform(seed, rows, columns):
    i = np.arange(rows, dtype=np.uint64)[:, None]
    j = np.arange(columns, dtype=np.uint64)[None, :]
    z = (
        np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
        + i * np.uint64(0xBF58476D1CE4E5B9)
        + j * np.uint64(0x94D049BB133111EB)
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bell(seed, rows, columns):
    """Sum of twelve uniforms less 6."""
    total = np.zeros((rows, columns))
    for t in range(12):
        total += uniform(16 * seed + t, rows, columns)
    return total - 6.0


def case(name, train, query, trees, max_samples):
    train, query = train.astype(np.float32), query.astype(np.float32)
    scores = np.array(
        [
            -IsolationForest(n_estimators=trees, max_samples=max_samples, random_state=s).fit(train).score_samples(query)
            for s in range(SEEDS)
        ]
    )
    return {
        "name": name,
        "trees": trees,
        "max_samples": max_samples,
        "seeds": SEEDS,
        "mean": scores.mean(0).tolist(),
        "variance": scores.var(0, ddof=1).tolist(),
    }


def main():
    # Queries: the same distribution, wider for every third row.
    wide = np.where(np.arange(30) % 3 == 2, 2.5, 1.0)[:, None]
    # Most values zero, as behind a rectifier, in columns of very different scale, the last one constant.
    scale = np.array([1.0, 0.1, 10.0, 1.0, 100.0, 1.0, 1.0, 0.0])
    sparse = lambda seed, rows: np.maximum(bell(seed, rows, 8) - 0.5, 0.0) * scale
    # Few different rows, many times each.
    repeated = np.floor(uniform(5, 90, 2) * 3.0)
    cases = [
        case("bell", bell(1, 700, 5), bell(2, 30, 5) * wide, 50, 256),
        case("sparse", sparse(3, 400), sparse(4, 30) * wide, 50, 256),
        case("repeated", repeated, np.floor(uniform(6, 30, 2) * 4.0), 50, 90),
        case("few", bell(7, 20, 3), bell(8, 30, 3) * wide, 50, 20),
        case("shallow", bell(9, 100, 2), bell(10, 30, 2) * wide, 50, 5),
    ]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
