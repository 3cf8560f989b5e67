"""Makes svm.json: one-class SVMs of scikit-learn on real features and on awkward rows.

    ./regenerate.sh svm        (scikit-learn 1.2.2, compared with 1.9.1; needs BLEMISH_TEST_DATA)

Each run also tells whether it is determined by its rows: it is repeated with gamma one to eight units in the last
place off (numpy's variance itself is some off, as is any sum in another order) and with the columns in other orders,
which changes the last bits of inner products. `steady` is whether all of them make the same iterations and find the
same support; `ulp` is how far decisions differ, relative to the largest, when gamma moves by one unit, `spread` how
far they do at most (`rho_spread` the same for rho, in parts of the larger of it and the largest decision). Where last
bits change the result, nothing but that spread can be asked of another program.
"""
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import OneClassSVM

from inputs import OBJECTS, adbench, bell, finish, hash_indices, mix, short, sketch

DEGREES = [3, 5, 8, 13, 21, 34, 55]
SETTINGS = [("linear", 0), ("rbf", 0), ("sigmoid", 0)] + [("poly", degree) for degree in DEGREES]
#: How far gamma is moved, in units in the last place: by one, and by as many as sums in other orders move it.
UNITS = (1, -1, 2, -2, 4, -4, 8, -8)
#: libsvm may take for ever where a kernel's values are too large for f32: `converged` runs stop here.
LIMIT = 200_000


def run(x, q, kernel, degree, max_iter, nu, gamma):
    model = OneClassSVM(kernel=kernel, degree=degree or 3, max_iter=max_iter, nu=nu, gamma=gamma)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            model.fit(x)
        except ValueError as error:
            assert "not finite" in str(error)
            return None
        decision = model.decision_function(q)
    if not np.isfinite(decision).all():
        return None
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return int(model.n_iter_), model.support_.tolist(), decision, float(model.offset_[0]), not stopped


def others(x, q, kernel, gamma):
    """The same problem with other last bits."""
    if kernel != "linear":
        for units in UNITS:
            yield x, q, gamma + units * np.spacing(gamma)
    for seed in range(1, 9):
        order = sorted(range(x.shape[1]), key=lambda j: mix(seed, j, 7))
        yield x[:, order], q[:, order], gamma


def result(x, q, kernel, degree, max_iter, nu=0.5):
    variance = x.var()
    gamma = 1.0 / (x.shape[1] * variance) if variance else 1.0
    limit = LIMIT if max_iter == -1 else max_iter
    row = {"kernel": kernel, "degree": degree, "max_iter": limit, "nu": nu}
    found = run(x, q, kernel, degree, limit, nu, "scale")
    errors = sum(run(*other[:2], kernel, degree, limit, nu, other[2]) is None for other in others(x, q, kernel, gamma))
    row["error"] = found is None
    if found is None:
        return row | {"steady": errors > 0 and errors == sum(1 for _ in others(x, q, kernel, gamma))}
    iterations, support, decision, offset, converged = found
    scale = np.abs(decision).max() or 1.0
    steady, ulp, spread, rho_spread = errors == 0, 0.0, 0.0, 0.0
    for at, (other_x, other_q, other_gamma) in enumerate(others(x, q, kernel, gamma)):
        other = run(other_x, other_q, kernel, degree, limit, nu, other_gamma)
        if other is None:
            continue
        steady &= other[0] == iterations and other[1] == support
        apart = np.abs(other[2] - decision).max() / scale
        spread = max(spread, apart)
        if kernel != "linear" and abs(UNITS[at] if at < len(UNITS) else 0) == 1:
            ulp = max(ulp, apart)
        rho_spread = max(rho_spread, abs(other[3] - offset) / max(scale, abs(offset)))
    return row | {
        "iterations": iterations,
        "converged": converged,
        "support": len(support),
        "support_hash": hash_indices(support),
        "rho": short(offset, 10),
        "decision": sketch(decision, 10),
        "steady": bool(steady),
        "ulp": float(f"{ulp:.2g}"),
        "spread": float(f"{spread:.2g}"),
        "rho_spread": float(f"{rho_spread:.2g}"),
    }


def results(x, q, kernel, degree, limits):
    """One run for each limit, up to the first that converges: what converges within a limit is the same without."""
    for limit in limits:
        row = result(x, q, kernel, degree, limit)
        yield row
        if row.get("converged") and row["steady"]:
            return


def awkward():
    """Rows that are few, many, equal, constant, single, far off: (name, training rows, test rows)."""
    def pair(seed, n, d):
        return bell(seed, n, d), bell(seed + 8, 12, d)

    yield "many rows", *pair(20, 300, 3)
    yield "many columns", *pair(40, 15, 600)
    x, q = pair(60, 60, 6)
    yield "each row three times", x[np.arange(60) // 3], q
    x, q = pair(80, 50, 9)
    x[:, ::2] = 2.0
    yield "constant columns", x, q
    yield "equal rows", np.full((20, 4), 1.5), bell(100, 12, 4)
    yield "one row", *pair(120, 1, 5)
    yield "two rows", *pair(140, 2, 5)
    yield "one column", *pair(160, 40, 1)
    x, q = pair(180, 64, 12)
    yield "offset 1", x + 1.0, q + 1.0
    # gamma <x, y> is about 12, 150 and 3000: high powers leave the range of f32, then that of f64.
    yield "offset 2", x + 2.0, q + 2.0
    yield "offset 7", x + 7.0, q + 7.0
    yield "offset 32", x + 32.0, q + 32.0
    yield "tiny", x * 2.0**-40, q * 2.0**-40
    yield "huge", x * 2.0**40, q * 2.0**40


def main():
    cases = []
    for name in OBJECTS:
        train, test, _ = adbench(name)
        limits = (7, 50, 1000, -1) if name in ("bottle", "screw", "zipper") else (1000, -1)
        runs = [r for kernel, degree in SETTINGS for r in results(train, test, kernel, degree, limits)]
        if name == "bottle":
            runs += [result(train, test, k, d, -1, nu) for k, d in SETTINGS[:4] for nu in (0.05, 0.2, 0.95)]
        cases.append({"name": name, "real": True, "rows": list(train.shape), "runs": runs})
        report(cases[-1])
    for name, train, test in awkward():
        runs = [r for kernel, degree in SETTINGS for r in results(train, test, kernel, degree, (7, 50, 1000))]
        cases.append({"name": name, "real": False, "rows": list(train.shape), "runs": runs})
        report(cases[-1])
    finish(__file__, {"cases": cases}, 1e-9, ignore=undetermined(cases))


def undetermined(cases):
    """Paths of runs that are not determined, and of the spreads themselves."""
    return ["spread", "/ulp"] + [
        f"/cases/{i}/runs/{j}/"
        for i, case in enumerate(cases)
        for j, run in enumerate(case["runs"])
        if not run["steady"] or run.get("spread", 0.0) > 1e-10
    ]


def report(case):
    loose = [f"{r['kernel']}{r['degree'] or ''}/{r['max_iter']}:{r.get('ulp', 'error')},{r.get('spread')}"
             for r in case["runs"] if not r["steady"] or r.get("spread", 0.0) > 1e-7]
    failed = sum(r["error"] for r in case["runs"])
    print(case["name"], f"{failed} errors;", "not determined:", *loose, flush=True)


if __name__ == "__main__":
    main()
