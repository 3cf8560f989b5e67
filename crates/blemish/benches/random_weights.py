"""AUROCs with random weights over some seeds, beside the published ones: medians by network, layer and detector.

    for seed in 0 1 2 3 4; do
        blemish grid mvtec_ad --objects bottle --out seed$seed --seed $seed --initializations random --augmented true \\
            --architectures resnet18,resnet50,vit_base_16,vit_base_32 --resize paper
        blemish export seed$seed --format csv -o seed$seed.csv
    done
    python3 random_weights.py results.csv.gz seed*.csv

The published table is one draw of weights for each network. Its rows without augmentation are left out: training and test
features come from two networks there.
"""
import collections
import csv
import gzip
import json
import statistics
import sys


def aurocs(path):
    """AUROCs by network, layer and detector."""
    found = collections.defaultdict(list)
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as file:
        for row in csv.DictReader(file):
            if row["augmented"].lower() != "true" or row["initialization"] != "random" or not row["auroc"]:
                continue
            model, setting = row["model"], json.loads(row["hyperparameter"])
            if model == "OneClassSVM":
                model += ", rbf" if setting["kernel"] == "rbf" else ", others"
            found[row["object"], row["architecture"], row["layer"], model].append(float(row["auroc"]))
    return found


def main():
    published, runs = aurocs(sys.argv[1]), [aurocs(path) for path in sys.argv[2:]]
    within = total = 0
    print("| object | network | layer | detector | median of seeds | medians of each seed | published median |")
    print("|---|---|---|---|--:|---|--:|")
    for key in sorted(set(published).intersection(*runs)):
        ours = statistics.median(value for run in runs for value in run[key])
        theirs = statistics.median(published[key])
        each = [statistics.median(run[key]) for run in runs]
        print(f"| {' | '.join(key)} | {ours:.3f} | {min(each):.3f} to {max(each):.3f} | {theirs:.3f} |")
        if key[3] in ("LocalOutlierFactor", "OneClassSVM, rbf"):
            total += 1
            within += abs(ours - theirs) <= 0.05
    print(f"\n{within} of {total} medians of LocalOutlierFactor and OneClassSVM, rbf, within 0.05")


if __name__ == "__main__":
    main()
