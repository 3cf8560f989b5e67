//! The main job on real images: bottle of MVTec AD with ImageNet weights, beside the published table.

use std::collections::BTreeMap;

use crate::common::Bench;

#[test]
fn bottle_gives_the_published_aurocs() {
    let (Some(data), Some(weights), Some(published)) = (
        blemish_testkit::data("mvtec_ad"),
        blemish_testkit::data("weights"),
        blemish_testkit::data("published/results.csv.gz"),
    ) else {
        return;
    };
    let bench = Bench::new();
    let (data, weights, published) = (
        data.display().to_string(),
        weights.display().to_string(),
        published.display().to_string(),
    );
    bench.ok(&[
        "grid",
        &data,
        "--out",
        "run",
        "--objects",
        "bottle",
        "--initializations",
        "imagenet1k_v1",
        "--layers",
        "layer1,layer2,layer3",
        "--resize",
        "paper",
        "--weights",
        &weights,
    ]);
    let ours = table(bench.ok(&["export", "run", "-o", "-"]).as_bytes());
    assert_eq!(ours.len(), 426);
    let theirs = table(flate2::read::MultiGzDecoder::new(
        std::fs::File::open(published).unwrap(),
    ));

    let mut outside = vec![];
    for (key, auroc) in &ours {
        let Some(published) = theirs.get(key) else {
            panic!("{key:?} is not in the published table")
        };
        let (model, setting) = (key[5].as_str(), key[6].as_str());
        let setting: serde_json::Value = serde_json::from_str(setting).unwrap();
        // The study's own run differs in the order of training images, which moves an SVM that is
        // stopped before it converges, and in the rounding of sums, which moves neighbours that are
        // nearly as far. Forests and envelopes were not seeded there: `blemish compare` over several
        // seeds judges those. Density sums were wrong there (see docs/reproduction.md).
        let bound = match model {
            "LocalOutlierFactor" if setting["n_neighbors"].as_u64().unwrap() >= 8 => 0.003,
            "LocalOutlierFactor" => 0.008,
            "OneClassSVM" if setting["kernel"] == "rbf" => 0.003,
            "OneClassSVM" => 0.015,
            _ => continue,
        };
        if (auroc - published).abs() > bound {
            outside.push(format!(
                "{} {} {}: {auroc:.6} against {published:.6}, bound {bound}",
                key[1], key[4], key[6]
            ));
        }
    }
    // One row of 426 lies outside, and is no fault of this program: torchvision's features of the same images, scored
    // by scikit-learn 1.2.2, give the same 0.976190 (crates/blemish/tests/golden/bottle_lof.py).
    assert_eq!(
        outside,
        [r#"False layer2 {"n_neighbors": 56}: 0.976190 against 0.972222, bound 0.003"#]
    );
    // Every AUROC of the local outlier factor without augmentation is scikit-learn's, to all digits.
    let peer: BTreeMap<String, f64> = blemish_testkit::golden(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../blemish"),
        "bottle_lof.json",
    );
    assert_eq!(peer.len(), 3 * 14);
    for (key, auroc) in ours
        .iter()
        .filter(|(k, _)| k[1] == "False" && k[5] == "LocalOutlierFactor")
    {
        let setting: serde_json::Value = serde_json::from_str(&key[6]).unwrap();
        let peer = peer[&format!("{} {}", key[4], setting["n_neighbors"])];
        assert!((auroc - peer).abs() < 1e-9, "{key:?}: {auroc} against {peer}");
    }
    let text = bench.ok(&[
        "compare",
        "run",
        &blemish_testkit::data("published/results.csv.gz")
            .unwrap()
            .display()
            .to_string(),
    ]);
    assert!(text.starts_with("426 rows in both tables"), "{text}");
}

/// AUROC by (object, augmented, architecture, initialization, layer, model, hyperparameter).
fn table(reader: impl std::io::Read) -> BTreeMap<[String; 7], f64> {
    let mut csv = csv::Reader::from_reader(reader);
    let header = csv.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|h| h == name).unwrap();
    let names = [
        "object",
        "augmented",
        "architecture",
        "initialization",
        "layer",
        "model",
        "hyperparameter",
    ];
    let columns = names.map(at);
    let auroc = at("auroc");
    csv.records()
        .map(|r| r.unwrap())
        // The study's failures have none.
        .filter(|r| !r[auroc].is_empty())
        .map(|r| (columns.map(|c| r[c].to_owned()), r[auroc].parse().unwrap()))
        .collect()
}
