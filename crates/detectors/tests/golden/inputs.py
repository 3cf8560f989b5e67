"""What the golden scripts share: rows by formula, real features, sketches of long results, and the two versions.

Every script is run twice (see regenerate.sh): under scikit-learn 1.2.2 it writes its JSON; under a newer version it
computes the same again and stops if anything differs by more than the tolerance that the script gives.
"""
import json
import os
import pathlib

import numpy as np
import sklearn

REFERENCE = "1.2.2"
IS_REFERENCE = sklearn.__version__ == REFERENCE
FOLDER = pathlib.Path(__file__).parent
OBJECTS = [
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
]
MASK = 2**64 - 1


def mix(seed, i, j):
    """53 bits by hashing whole numbers: `uniform` of tests/real/inputs.rs."""
    z = ((seed << 48) ^ (i << 24) ^ j) & MASK
    for _ in range(2):
        z = ((z ^ (z >> 30)) + 0x9E3779B97F4A7C15) & MASK
        z = z * 0xBF58476D1CE4E5B9 & MASK
    return (z ^ (z >> 31)) >> 11


def bell(seed, n, d):
    """Bell-shaped around 0, exactly representable: the sum of four uniforms less 2."""
    return np.array(
        [[sum(mix(seed + k, i, j) for k in range(4)) * 2.0**-53 - 2.0 for j in range(d)] for i in range(n)]
    ).reshape(n, d)


def adbench(name):
    """Training rows, test rows and their labels (1 is defective), of 512 features each, in f64.

    Of every ten normal rows, in the order of the file, the first seven are for training. The other normal rows and
    all defective ones, in the order of the file, are for testing.
    """
    file = pathlib.Path(os.environ["BLEMISH_TEST_DATA"]) / "adbench" / f"MVTec-AD_{name}.npz"
    with np.load(file) as data:
        x, y = data["X"].astype(np.float64), data["y"]
    rank = np.cumsum(y == 0) - 1
    train = (y == 0) & (rank % 10 < 7)
    return x[train], x[~train], y[~train]


def short(value, digits=12):
    """Twelve digits: enough for a comparison to 1e-9."""
    return float(f"{value:.{digits}g}")


def sketch(values, digits=12):
    """What stands for a list of results: the largest magnitude, five of them, and three sums with pseudo-random
    signs, each of which moves as much as any value moves. Infinite ones are counted, and are 0 in the rest."""
    values = np.asarray(values, dtype=np.float64)
    assert not np.isnan(values).any()
    finite = np.where(np.isfinite(values), values, 0.0)
    at = [k * (len(values) - 1) // 4 for k in range(5)]
    signs = np.array([[1.0 if mix(7, k, i) & 1 else -1.0 for i in range(len(values))] for k in range(3)])
    return {
        "infinite": len(values) - int(np.isfinite(values).sum()),
        "largest": short(np.abs(finite).max(), digits),
        "samples": [short(finite[i], digits) for i in at],
        "sums": [short(v, digits) for v in signs @ finite],
    }


def hash_indices(indices):
    """FNV-1a over 32-bit indices, as hexadecimal digits (JSON numbers hold 53 bits)."""
    h = 0xCBF29CE484222325
    for i in indices:
        h = ((h ^ int(i)) * 0x100000001B3) & MASK
    return f"{h:016x}"


def shortened(value, digits=12, exact=()):
    """All numbers with so many digits, but for those named."""
    if isinstance(value, dict):
        return {k: v if k in exact else shortened(v, digits, exact) for k, v in value.items()}
    if isinstance(value, list):
        return [shortened(v, digits, exact) for v in value]
    return short(value, digits) if isinstance(value, float) else value


def differences(ours, theirs, path=""):
    """Pairs of numbers that differ, relative to the larger; anything else that differs is an error."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), (path, sorted(ours.keys() ^ theirs.keys()))
        for key in ours:
            yield from differences(ours[key], theirs[key], f"{path}/{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), path
        numbers = ours and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in ours + theirs)
        if numbers:
            scale = max(map(abs, ours)) or 1.0
            yield max(abs(a - b) for a, b in zip(ours, theirs)) / scale, path
        else:
            for i, (a, b) in enumerate(zip(ours, theirs)):
                yield from differences(a, b, f"{path}/{i}")
    elif isinstance(ours, float) or isinstance(theirs, float):
        yield (0.0 if ours == theirs else abs(ours - theirs) / max(abs(ours), abs(theirs))), path
    elif ours != theirs:
        yield float("inf"), f"{path}: {ours!r} {theirs!r}"


def finish(script, result, tolerance, ignore=()):
    """Writes the JSON, or compares the result with the one written under the reference version."""
    file = FOLDER / f"{pathlib.Path(script).stem}.json"
    if IS_REFERENCE:
        text = ",\n".join(f"{json.dumps(k)}: {lines(v)}" for k, v in result.items())
        file.write_text("{\n" + text + "\n}\n")
        print(f"{file.name}: {file.stat().st_size} bytes")
        return
    written, now = json.loads(file.read_text()), json.loads(json.dumps(result))
    found = [d for d in differences(written, now) if not any(part in d[1] for part in ignore)]
    worst = sorted(found, reverse=True)[:8]
    print(f"{file.name}: scikit-learn {sklearn.__version__} differs from {REFERENCE} by at most {worst[0][0]:.1e}")
    if worst[0][0] > tolerance:
        raise SystemExit("\n".join(f"  {d:.1e} {path}" for d, path in worst))


def lines(value):
    """Compact JSON with a line for each element of lists of objects."""
    if isinstance(value, dict) and any(isinstance(v, list) and v and isinstance(v[0], dict) for v in value.values()):
        return "{" + ",".join(f"{json.dumps(k)}:{lines(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(lines(v) for v in value) + "\n]"
    return json.dumps(value, separators=(",", ":"))
