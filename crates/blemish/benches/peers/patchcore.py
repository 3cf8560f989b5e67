"""PatchCore by anomalib beside `blemish fit` and `blemish eval`, on the CPU.

    pip install -r crates/blemish/benches/peers/requirements.txt
    python3 crates/blemish/benches/peers/patchcore.py --data mvtec_ad/bottle --bank 1024 \
        --weights weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors --blemish target/release/blemish

Both take the whole image, resized to --size with antialiasing and normalised as for ImageNet, the same weights of
ResNet-18, layer2 and layer3, and keep --bank patches. anomalib's model is used directly, without its engine, so that
no network connection and no other work is timed: `PatchcoreModel`, its coreset among all patches (ours chooses among
65536), its map generator; images are decoded and resized by torchvision in --threads processes, so that both use the
processor to the same degree. Its maps are enlarged to the images' size, bilinear, before pixels are counted, as ours
are.

Prints a Markdown table: image AUROC, pixel AUROC, AUPRO to 0.3 (both by the script's own sort over all pixels for
anomalib, by `blemish eval` for ours), seconds of the fit from files to a model, images a second from files to scores
(anomalib's with maps at --size in memory; ours with the start of the program, and again with maps written as PNG files
of the images' size), and the largest memory of the process (of anomalib without the processes that decode and without
the enlarged maps). It takes some five minutes, most of them for anomalib's coreset; that grows with --bank.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import warnings


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="object in the MVTec layout")
    parser.add_argument("--weights", type=pathlib.Path, required=True, help="safetensors with torchvision's names")
    parser.add_argument("--blemish", type=pathlib.Path, help="the program; without it anomalib alone runs")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--bank", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=["anomalib", "blemish"], help="run this one, print its JSON")
    return parser.parse_args()


def files(data):
    """Training images; test images with their masks, None where they are good."""
    train = sorted((data / "train/good").glob("*.png"))
    test = []
    for kind in sorted((data / "test").iterdir()):
        for image in sorted(kind.glob("*.png")):
            good = kind.name == "good"
            test.append((image, None if good else data / "ground_truth" / kind.name / f"{image.stem}_mask.png"))
    return train, test


def anomalib(args):
    import numpy as np
    import safetensors.torch
    import torch
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from sklearn.metrics import roc_auc_score
    from torchvision.io import ImageReadMode, read_image
    from torchvision.transforms.v2 import functional as F

    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    train, test = files(args.data)

    class Images(torch.utils.data.Dataset):
        def __init__(self, paths):
            self.paths = paths

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, i):
            image = F.to_dtype(read_image(str(self.paths[i]), ImageReadMode.RGB), torch.float32, scale=True)
            image = F.resize(image, [args.size, args.size], antialias=True)
            return F.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    def batches(paths):
        return torch.utils.data.DataLoader(Images(paths), batch_size=args.batch, num_workers=args.threads)

    start = time.perf_counter()
    model = PatchcoreModel(layers=["layer2", "layer3"], backbone="resnet18", pre_trained=False)
    weights = safetensors.torch.load_file(args.weights)
    missing, _ = model.feature_extractor.feature_extractor.load_state_dict(weights, strict=False)
    assert not [name for name in missing if not name.endswith("num_batches_tracked")], missing
    model.train()
    model.feature_extractor.eval()
    with torch.no_grad():
        for batch in batches(train):
            model(batch)
        patches = sum(len(e) for e in model.embedding_store)
        model.subsample_embedding(args.bank / patches)
    fit = time.perf_counter() - start

    model.eval()
    scores, maps = [], []
    start = time.perf_counter()
    with torch.no_grad():
        for batch in batches([image for image, _ in test]):
            found = model(batch)
            scores += found.pred_score.flatten().tolist()
            maps.append(found.anomaly_map)
    rate = len(test) / (time.perf_counter() - start)

    labels = [mask is not None for _, mask in test]
    truth = np.stack([
        np.zeros(read_image(str(image)).shape[1:], bool) if mask is None else read_image(str(mask))[0].numpy() > 0
        for image, mask in test
    ])
    maps = torch.nn.functional.interpolate(torch.cat(maps).float(), truth.shape[1:], mode="bilinear")[:, 0].numpy()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    auroc, aupro = pixels(maps, truth)
    return {
        "image_auroc": roc_auc_score(labels, scores),
        "pixel_auroc": auroc,
        "aupro": aupro,
        "fit_s": fit,
        "images_s": rate,
        "peak_mb": (peak - maps.nbytes / 1024) / 1000,
    }


def pixels(maps, truth, limit=0.3):
    """AUROC and AUPRO of all pixels, by one sort."""
    import numpy as np
    from scipy import ndimage

    regions, weights = 0, np.zeros(truth.shape, np.float32)
    for mask, weight in zip(truth, weights):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += count
        areas = np.bincount(labels.ravel())
        weight[mask] = 1 / areas[labels[mask]]
    order = np.argsort(maps, axis=None)[::-1]
    hit = truth.ravel()[order]
    rate = np.cumsum(~hit, dtype=np.float64) / (~hit).sum()
    recall = np.cumsum(hit, dtype=np.float64) / hit.sum()
    overlap = np.cumsum(weights.ravel()[order], dtype=np.float64) / regions
    del order
    auroc = np.trapezoid(recall, rate)
    end = np.searchsorted(rate, limit, side="right")
    return float(auroc), float(np.trapezoid(overlap[:end], rate[:end]) / limit)


def ours(args):
    """Times of whole processes, reading the weights and writing and reading the model included."""
    weights = str(args.weights.resolve().parent)
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "part.blemish")
        common = ["--weights", weights, "--threads", str(args.threads)]

        def run(*arguments):
            start = time.perf_counter()
            done = subprocess.run([args.blemish, *map(str, arguments), *common], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(done.stderr)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            return time.perf_counter() - start, done.stdout, peak

        fit, _, peak_fit = run(
            "fit", args.data, "-o", model, "--method", "memory-bank", "--size", args.size, "--bank", args.bank
        )
        test = files(args.data)[1]
        maps = os.path.join(folder, "maps")
        score, _, peak = run("score", model, *[image for image, _ in test])
        drawn, _, _ = run("score", model, "--maps", maps, *[image for image, _ in test])
        _, metrics, _ = run("eval", model, args.data, "--format", "json")
    metrics = json.loads(metrics)
    value = lambda key: metrics[key]["value"]
    return {
        "image_auroc": value("image_auroc"),
        "pixel_auroc": value("pixel_auroc"),
        "aupro": value("aupro"),
        "fit_s": fit,
        "images_s": len(test) / score,
        "drawn_s": len(test) / drawn,
        "peak_mb": max(peak_fit, peak) / 1000,
    }


def main():
    args = parse()
    if args.only:
        print(json.dumps(anomalib(args) if args.only == "anomalib" else ours(args)))
        return
    rows = {}
    for name in ["anomalib"] + (["blemish"] if args.blemish else []):
        # A process of its own, so that memory is that of one.
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--only", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(done.stderr)
        rows[name] = json.loads(done.stdout.splitlines()[-1])
    print(f"{args.data.name}, {args.size} x {args.size}, {args.bank} patches, {args.threads} threads\n")
    print("| | image AUROC | pixel AUROC | AUPRO | fit | images/s | images/s, maps written | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for name, r in rows.items():
        print(
            f"| {name} | {r['image_auroc']:.4f} | {r['pixel_auroc']:.4f} | {r['aupro']:.4f} | {r['fit_s']:.1f} s "
            f"| {r['images_s']:.1f} | {'%.1f' % r['drawn_s'] if 'drawn_s' in r else ''} | {r['peak_mb']:.0f} MB |"
        )


if __name__ == "__main__":
    main()
