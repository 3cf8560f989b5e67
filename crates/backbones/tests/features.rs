//! Every layer of all five networks against torchvision with the same weights: drawn from a seed, so
//! that no file of weights is needed, and published ones where they are there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use blemish_backbones::{Architecture, Initialization, Network, Weights};
use blemish_images::{Preprocess, Preset, ResizeMode, load_rgb};
use common::images;
use ndarray::{Array2, Array4, Axis};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// The contract is 1e-4 of a layer's largest value. f32 sums in another order, and photographs resized
/// by another library, reach 3e-6; a tenth of the contract is held.
const TOLERANCE: f64 = 1e-5;

#[derive(serde::Deserialize)]
struct Case {
    architecture: String,
    /// Of random weights.
    seed: Option<u64>,
    /// A file of weights in the test data.
    weights: Option<String>,
    /// Number, height and width of images by the formula.
    images: Option<[usize; 3]>,
    /// A photograph in the test data.
    photograph: Option<String>,
    taps: Vec<Tap>,
}

#[derive(serde::Deserialize)]
struct Tap {
    layer: String,
    /// Images, then height, width and channels of a residual network, tokens and width of a transformer.
    shape: Vec<usize>,
    step: usize,
    /// Every `step`-th value.
    values: Vec<f64>,
    sum: f64,
    /// Sum of absolute values.
    absolute: f64,
    /// Largest absolute value.
    largest: f64,
}

/// As `blemish` prepares it for these weights.
fn photograph(
    path: &std::path::Path,
    architecture: Architecture,
    initialization: Initialization,
) -> Array4<f32> {
    let input = architecture.input(initialization);
    let preset = Preset {
        resize: input.resize,
        crop: input.crop,
        mean: input.mean,
        std: input.std,
    };
    let mode = ResizeMode::Antialias;
    let image = load_rgb(path).unwrap();
    Preprocess { preset, mode }
        .apply(&image)
        .unwrap()
        .insert_axis(Axis(0))
}

/// The largest difference of a tap relative to its largest value, over samples, sums and that value.
fn difference(tap: &Tap, matrix: &Array2<f32>) -> f64 {
    let flat = matrix.as_slice().unwrap();
    assert_eq!(flat.len(), tap.shape.iter().product::<usize>());
    assert_eq!(matrix.nrows(), tap.shape[0]);
    let sampled: Vec<f64> = flat.iter().step_by(tap.step).map(|v| f64::from(*v)).collect();
    assert_eq!(sampled.len(), tap.values.len());
    assert!(sampled.len() > 100);
    let apart = sampled.iter().zip(&tap.values).map(|(a, b)| (a - b).abs());
    let largest = flat.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    let worst = apart.fold((largest - tap.largest).abs(), f64::max);
    let sum: f64 = flat.iter().map(|v| f64::from(*v)).sum();
    let absolute: f64 = flat.iter().map(|v| f64::from(v.abs())).sum();
    let sums = [sum - tap.sum, absolute - tap.absolute].map(|d| d.abs() / tap.absolute);
    // NaN must not be lost in a maximum.
    assert!(flat.iter().all(|v| v.is_finite()));
    sums.into_iter().fold(worst / tap.largest, f64::max)
}

fn agrees(name: &str) {
    let cases: Vec<Case> = blemish_testkit::golden(CRATE, "all_networks.json");
    let architecture: Architecture = name.parse().unwrap();
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| case.architecture == name)
        .collect();
    // Drawn and packed once: that takes longer than a forward pass.
    let mut random: Option<(u64, Network)> = None;
    let mut compared = 0;
    for case in &cases {
        let taps: Vec<&str> = case.taps.iter().map(|tap| tap.layer.as_str()).collect();
        let initialization = match case.weights {
            Some(_) => Initialization::Imagenet1kV1,
            None => Initialization::Random,
        };
        let images = match (&case.images, &case.photograph) {
            (Some([n, height, width]), None) => images(*n, *height, *width),
            (None, Some(file)) => match blemish_testkit::data(file) {
                Some(path) => photograph(&path, architecture, initialization),
                None => continue,
            },
            _ => panic!("images by the formula or a photograph"),
        };
        let published;
        let network = match (case.seed, &case.weights) {
            (Some(seed), None) => {
                assert_eq!(taps, architecture.layers(), "all layers");
                let draw = || {
                    let weights = Weights::random(architecture, seed);
                    (seed, Network::new(architecture, &weights, &taps).unwrap())
                };
                let (drawn, network) = random.get_or_insert_with(draw);
                assert_eq!(*drawn, seed);
                &*network
            }
            (None, Some(file)) => {
                let Some(path) = blemish_testkit::data(file) else {
                    continue;
                };
                published = Network::new(architecture, &Weights::load(&path).unwrap(), &taps).unwrap();
                &published
            }
            _ => panic!("a seed or a file of weights"),
        };
        let features = network.forward(images.view()).unwrap();
        let (_, _, height, width) = images.dim();
        for (tap, matrix) in case.taps.iter().zip(&features) {
            let shape = network.tap_shape(&tap.layer, height, width).unwrap();
            assert_eq!(shape.channels, *tap.shape.last().unwrap());
            if let [_, high, wide, _] = tap.shape[..] {
                assert_eq!([shape.height, shape.width], [high, wide]);
            }
            let at = difference(tap, matrix);
            assert!(
                at <= TOLERANCE,
                "{name} {:?} {}: {at:e} of the largest value, {:?}",
                images.dim(),
                tap.layer,
                case.photograph
            );
            compared += 1;
        }
    }
    assert!(compared >= architecture.layers().len());
}

#[test]
fn resnet18_is_torchvisions() {
    agrees("resnet18");
}

#[test]
fn resnet50_is_torchvisions() {
    agrees("resnet50");
}

#[test]
fn wide_resnet50_2_is_torchvisions() {
    agrees("wide_resnet50_2");
}

#[test]
fn vit_b_16_is_torchvisions() {
    agrees("vit_b_16");
}

#[test]
fn vit_b_32_is_torchvisions() {
    agrees("vit_b_32");
}

/// A table that lost a network would be silent otherwise.
#[test]
fn all_networks_and_kinds_of_images_are_in_the_table() {
    let cases: Vec<Case> = blemish_testkit::golden(CRATE, "all_networks.json");
    for architecture in Architecture::ALL {
        let of = |wanted: &dyn Fn(&Case) -> bool| {
            let same = |case: &&Case| case.architecture == architecture.constructor();
            cases.iter().filter(same).filter(|case| wanted(case)).count()
        };
        let residual = architecture.layers()[0] == "layer1";
        assert_eq!(of(&|case| case.images.is_some()), if residual { 4 } else { 1 });
        assert!(of(&|case| case.images.is_some_and(|[n, _, _]| n > 1)) > 0);
        assert_eq!(of(&|case| case.photograph.is_some() && case.seed.is_some()), 1);
    }
    assert_eq!(cases.iter().filter(|case| case.weights.is_some()).count(), 1);
}
