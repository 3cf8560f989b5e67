"""Makes pca.json: principal components by numpy's singular value decomposition of the rows themselves.

    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2
    python pca.py

Rows come from a formula that tests/pca.rs repeats bit by bit.
"""
import json
import pathlib

import numpy as np

from forest import bell
from inputs import shortened


def case(name, n, d, m):
    scale = 1.0 / (1.0 + np.arange(d) % 17)
    x, query = bell(31, n, d) * scale + 3.0, bell(32, m, d) * scale + 2.5
    mean = x.mean(0)
    u, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    kept = min(n - 1, d)
    return {
        "name": name,
        "n": n,
        "d": d,
        "m": m,
        "variance": (s**2 / (n - 1))[:kept].tolist(),
        "train": (u * s)[:, :kept].ravel().tolist(),
        "query": ((query - mean) @ vt.T)[:, :kept].ravel().tolist(),
    }


def main():
    cases = [case("more columns", 25, 400, 7), case("more rows", 60, 6, 9), case("square", 12, 12, 3)]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("[\n" + ",\n".join(json.dumps(shortened(c), separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
