//! From files to features to densities on real photographs, beside torchvision and plain f64 sums.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use blemish::backbones::{Architecture, Initialization, Network, Weights};
use blemish::detectors::{DetectorSpec, InnerProducts, NeighborTable, OneClassSvm, Pca, study_grid};
use blemish::images::{Preprocess, Preset, ResizeMode, load_rgb};
use ndarray::{Array2, Array4, Axis};
use serde::Deserialize;

fn preprocess(mode: ResizeMode) -> Preprocess {
    let input = Architecture::Resnet18.input(Initialization::Imagenet1kV1);
    Preprocess {
        preset: Preset {
            resize: input.resize,
            crop: input.crop,
            mean: input.mean,
            std: input.std,
        },
        mode,
    }
}

fn network(weights: &Path, taps: &[&str]) -> Network {
    let file = Weights::find(weights, Architecture::Resnet18, Initialization::Imagenet1kV1).unwrap();
    Network::new(Architecture::Resnet18, &Weights::load(&file).unwrap(), taps).unwrap()
}

fn features(network: &Network, prepare: &Preprocess, files: &[std::path::PathBuf]) -> Vec<Array2<f32>> {
    let tensors: Vec<_> = files
        .iter()
        .map(|f| prepare.apply(&load_rgb(f).unwrap()).unwrap())
        .collect();
    let views: Vec<_> = tensors.iter().map(|t| t.view()).collect();
    let batch: Array4<f32> = ndarray::stack(Axis(0), &views).unwrap();
    network.forward(batch.view()).unwrap()
}

/// How much scores may differ, of the largest one: features differ by some 1e-6 of the largest, as networks add up in
/// another order.
const FEATURES: f64 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    image: String,
    mode: String,
    layer: String,
    dimensions: usize,
    largest: f64,
    norm: f64,
    at: Vec<usize>,
    values: Vec<f64>,
}

#[test]
fn photographs_give_torchvisions_features() {
    let (Some(bottle), Some(weights)) = (
        blemish_testkit::data("mvtec_ad/bottle"),
        blemish_testkit::data("weights"),
    ) else {
        return;
    };
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "bottle_features.json");
    let taps = ["layer1", "layer2", "layer3"];
    let network = network(&weights, &taps);
    assert_eq!(golden.cases.len(), 12);
    for case in golden.cases {
        let prepare = preprocess(case.mode.parse().unwrap());
        let rows = features(&network, &prepare, &[bottle.join(&case.image)]);
        let tap = taps.iter().position(|t| *t == case.layer).unwrap();
        let row = rows[tap].row(0);
        assert_eq!(row.len(), case.dimensions);
        let worst = case
            .at
            .iter()
            .zip(&case.values)
            .map(|(&i, v)| (f64::from(row[i]) - v).abs())
            .fold(0.0, f64::max);
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let name = format!("{} {} {}", case.image, case.mode, case.layer);
        assert!(
            worst <= 1e-4 * case.largest,
            "{name}: {worst} of {}",
            case.largest
        );
        assert!(
            (norm - case.norm).abs() <= 1e-5 * case.norm,
            "{name}: {norm} {}",
            case.norm
        );
    }
}

/// Log of the sum of exponentials, from nothing but the definition.
fn log_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.iter().map(|t| (t - largest).exp()).sum::<f64>().ln()
}

/// Features of `layer3` of 96 good photographs to fit on (more than 80, where scikit-learn's sums of densities begin to be
/// wrong), and of six good and six defective ones; `None` where they are absent.
fn some_of_bottle() -> Option<(Array2<f32>, Array2<f32>)> {
    let bottle = blemish_testkit::data("mvtec_ad/bottle")?;
    let weights = blemish_testkit::data("weights")?;
    let files = |folder: &str, n: usize| -> Vec<_> {
        (0..n)
            .map(|i| bottle.join(folder).join(format!("{i:03}.png")))
            .collect()
    };
    let network = network(&weights, &["layer3"]);
    let prepare = preprocess(ResizeMode::Paper);
    let train = features(&network, &prepare, &files("train/good", 96)).remove(0);
    let mut test_files = files("test/good", 6);
    test_files.extend(files("test/contamination", 6));
    let test = features(&network, &prepare, &test_files).remove(0);
    Some((train, test))
}

#[test]
fn densities_of_real_features_are_exact() {
    let Some((train, test)) = some_of_bottle() else {
        return;
    };
    let (n, d) = train.dim();

    let products = InnerProducts::from_rows(&[train.view()], test.view()).unwrap();
    // Distances and sums in f64 from the rows themselves.
    let distances: Vec<Vec<f64>> = test
        .outer_iter()
        .map(|q| {
            train
                .outer_iter()
                .map(|t| {
                    let sum: f64 = q
                        .iter()
                        .zip(t)
                        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                        .sum();
                    sum.sqrt()
                })
                .collect()
        })
        .collect();
    let mut checked = 0;
    for spec in study_grid() {
        let DetectorSpec::KernelDensity(density) = &spec else {
            continue;
        };
        let setting: serde_json::Value = serde_json::from_str(&spec.hyperparameter_json()).unwrap();
        let (n_, d_) = (n as f64, d as f64);
        let h = match setting["bandwidth"].as_str() {
            Some("scott") => n_.powf(-1.0 / (d_ + 4.0)),
            Some("silverman") => (n_ * (d_ + 2.0) / 4.0).powf(-1.0 / (d_ + 4.0)),
            _ => setting["bandwidth"].as_f64().unwrap(),
        };
        let (log_kernel, log_norm): (fn(f64) -> f64, f64) = match setting["kernel"].as_str().unwrap() {
            "gaussian" => (|u| -0.5 * u * u, -0.5 * d_ * (2.0 * std::f64::consts::PI).ln()),
            // Surface of the unit sphere times the integral of r^(d-1) exp(-r); Stirling's series, as
            // d is large and no gamma function should be shared with the code under test.
            "exponential" => (
                |u| -u,
                -((2.0f64).ln() + 0.5 * d_ * std::f64::consts::PI.ln() - stirling(0.5 * d_) + stirling(d_)),
            ),
            _ => continue,
        };
        let scores = density
            .fit(products.view())
            .unwrap()
            .score(products.view())
            .unwrap();
        for (score, distances) in scores.iter().zip(&distances) {
            let terms: Vec<f64> = distances.iter().map(|r| log_kernel(r / h)).collect();
            let truth = log_sum_exp(&terms) + log_norm - d_ * h.ln() - n_.ln();
            // Relative: in 50,176 dimensions a log density is of the order of 1e5.
            assert!(
                (-score - truth).abs() <= 1e-9 * truth.abs().max(1.0),
                "{setting}: {} {truth}",
                -score
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 8 * 12);
}

/// A setting by the name that the golden file has for it, with the study's limit of iterations or without.
fn named(spec: DetectorSpec, name: &str) -> Option<DetectorSpec> {
    let setting: serde_json::Value = serde_json::from_str(&spec.hyperparameter_json()).unwrap();
    let value = |key: &str| {
        setting[key]
            .as_str()
            .map_or(setting[key].to_string(), str::to_owned)
    };
    match spec {
        DetectorSpec::OneClassSvm(svm) => {
            let kernel = match setting.get("degree") {
                Some(degree) => format!("poly {degree}"),
                None => value("kernel"),
            };
            let free = OneClassSvm {
                max_iter: None,
                ..svm
            };
            [("1000", svm), ("-1", free)]
                .into_iter()
                .find(|(limit, _)| name == format!("OneClassSVM {kernel} {limit}"))
                .map(|(_, svm)| svm.into())
        }
        DetectorSpec::LocalOutlierFactor(_) => {
            (name == format!("LocalOutlierFactor {}", value("n_neighbors"))).then_some(spec)
        }
        DetectorSpec::KernelDensity(_) => {
            (name == format!("KernelDensity {} {}", value("kernel"), value("bandwidth"))).then_some(spec)
        }
        _ => None,
    }
}

#[test]
fn photographs_give_the_scores_of_torchvision_and_scikit_learn() {
    let Some((train, test)) = some_of_bottle() else {
        return;
    };
    let products = InnerProducts::from_rows(&[train.view()], test.view()).unwrap();
    let view = products.view();

    let mut golden: BTreeMap<String, Vec<Option<f64>>> =
        blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "bottle_detectors.json");
    let variances = golden.remove("PCA variances").unwrap();
    let found = Pca::fit(view).unwrap();
    for (found, expected) in found.explained_variance().iter().zip(variances) {
        let error = (found / expected.unwrap() - 1.0).abs();
        assert!(error < FEATURES, "variance {found}: {error:.1e}");
    }
    assert_eq!(golden.len(), 20 + 14 + 20);
    for (name, expected) in golden {
        let spec = study_grid().into_iter().find_map(|s| named(s, &name));
        let scores = match spec.unwrap_or_else(|| panic!("no setting {name}")) {
            DetectorSpec::OneClassSvm(svm) => svm.fit(view).unwrap().score(view),
            DetectorSpec::KernelDensity(density) => density.fit(view).unwrap().score(view),
            DetectorSpec::LocalOutlierFactor(lof) => {
                let table = NeighborTable::new(view, lof.n_neighbors).unwrap();
                lof.fit(&table).unwrap().score(&table)
            }
            _ => unreachable!(),
        }
        .unwrap();
        // A power of an inner product errs by as many times what the product errs.
        let degree = name
            .strip_prefix("OneClassSVM poly ")
            .and_then(|rest| rest.split(' ').next());
        let tolerance = FEATURES * degree.map_or(1.0, |d| d.parse().unwrap());
        let largest = expected.iter().flatten().fold(0.0_f64, |a, b| a.max(b.abs()));
        for (found, expected) in scores.iter().zip(&expected) {
            match expected {
                Some(expected) => {
                    let error = (found - expected).abs() / largest;
                    assert!(error < tolerance, "{name}: {found}, not {expected}: {error:.1e}");
                }
                None => assert_eq!(*found, f64::INFINITY, "{name}"),
            }
        }
    }
}

/// ln Gamma(x) for large x.
fn stirling(x: f64) -> f64 {
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + 1.0 / (12.0 * x)
        - 1.0 / (360.0 * x.powi(3))
}
