"""Makes pixels.json: metrics of pixels, by definition.

    ./regenerate.sh pixels        (scikit-learn 1.2.2 and scipy 1.11.4, compared with 1.9.1 and 1.17.1)

Maps and masks are by formula (`maps` below). Scores are multiples of 1/1024 that f32 holds exactly.

- `auroc`, `average_precision`: `roc_auc_score`, `average_precision_score` of all pixels of all maps;
- `aupro`: at each distinct score, descending, the false positive rate of all good pixels and the mean over connected
  regions (`scipy.ndimage.label`, 8-neighbourhood) of the part of each that scores as much or more; the area under
  these points, joined by lines after (0, 0), up to `limit`, where the line is cut, divided by `limit`.
- `regions`: how many connected regions each mask has.

anomalib 2.7.0 (`anomalib.metrics.aupro`) gives the same AUPRO for the drawn cases to 1e-7, in f32.

The last case has masks of the bottles of MVTec AD, seven of the 63, 900 x 900.
"""
import os
import pathlib

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from inputs import finish

U = np.uint64


def mix(seed, i, j):
    """`mix` of inputs.py for arrays."""
    z = (U(seed) << U(48)) ^ (i.astype(U) << U(24)) ^ j.astype(U)
    with np.errstate(over="ignore"):
        for _ in range(2):
            z = ((z ^ (z >> U(30))) + U(0x9E3779B97F4A7C15)) * U(0xBF58476D1CE4E5B9)
    return (z ^ (z >> U(31))) >> U(11)


def drawn_mask(seed, image, height, width):
    """Blocks of 5 x 4 pixels, one in six; every third image has none."""
    y, x = np.mgrid[:height, :width]
    return (mix(seed + 64 + image, y // 5, x // 4) % U(6) == 0) & (image % 3 != 0)


def real_masks():
    from PIL import Image

    folder = pathlib.Path(os.environ["BLEMISH_TEST_DATA"]) / "mvtec_ad/bottle/ground_truth"
    return [np.asarray(Image.open(f)) > 0 for f in sorted(folder.glob("*/*.png"))[::9]]


def case(name, seed, masks, levels, shift, limit):
    scores = []
    for image, mask in enumerate(masks):
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
        level = mix(seed + image, y, x) % U(levels) + mask * U(shift)
        scores.append((level.astype(np.float64) / 1024).astype(np.float32))
    regions, counts = [], []
    for score, mask in zip(scores, masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        counts.append(count)
        regions += [np.sort(score[labels == r]) for r in range(1, count + 1)]
    good = np.sort(np.concatenate([s[~m] for s, m in zip(scores, masks)]))
    thresholds = np.unique(np.concatenate([s.ravel() for s in scores]))[::-1]

    def share(ascending):
        """The part of the scores that are each threshold or more."""
        return 1 - np.searchsorted(ascending, thresholds, side="left") / len(ascending)

    rate = np.concatenate([[0], share(good)])
    overlap = np.concatenate([[0], np.mean([share(r) for r in regions], axis=0)])
    area = 0.0
    for x0, x1, y0, y1 in zip(rate, rate[1:], overlap, overlap[1:]):
        if x1 > limit:
            y1, x1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0), limit
        area += (x1 - x0) * (y0 + y1) / 2
        if x1 == limit:
            break
    all_scores = np.concatenate([s.ravel() for s in scores])
    labels = np.concatenate([m.ravel() for m in masks])
    return {
        "name": name,
        "seed": seed,
        "size": list(masks[0].shape),
        "images": len(masks),
        "levels": levels,
        "shift": shift,
        "limit": limit,
        "regions": counts,
        "auroc": float(roc_auc_score(labels, all_scores)),
        "average_precision": float(average_precision_score(labels, all_scores)),
        "aupro": float(area / limit),
    }


def drawn(name, seed, images, height, width, levels, shift, limit):
    masks = [drawn_mask(seed, i, height, width) for i in range(images)]
    return case(name, seed, masks, levels, shift, limit)


def main():
    cases = [
        drawn("many ties", 100, 6, 37, 53, 5, 2, 0.3),
        drawn("fewer ties", 200, 8, 60, 48, 300, 120, 0.3),
        drawn("hardly a tie", 300, 8, 60, 48, 2**20, 2**19, 0.3),
        drawn("to a low limit", 300, 8, 60, 48, 2**20, 2**19, 0.05),
        drawn("the whole curve", 200, 8, 60, 48, 300, 120, 1.0),
        drawn("a limit on a point of the curve", 400, 3, 20, 20, 2, 0, 0.5),
        drawn("all tied", 500, 3, 20, 20, 1, 0, 0.3),
        drawn("no skill", 600, 5, 40, 40, 1000, 0, 0.3),
        drawn("perfect", 700, 5, 40, 40, 1000, 1000, 0.3),
        case("real masks", 800, real_masks(), 400, 250, 0.3),
    ]
    finish(__file__, {"cases": cases}, 1e-12)


if __name__ == "__main__":
    main()
