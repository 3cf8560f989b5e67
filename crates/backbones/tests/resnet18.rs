//! ResNet-18 against PyTorch, and what must not change a feature.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use blemish_backbones::{Architecture, BackbonesError, Network, Weights};
use common::{PREFIX, Raw, State, images, reload, state};
use ndarray::{Array2, Array4, Axis, concatenate, s};

const RESNET18: Architecture = Architecture::Resnet18;
const GOLDEN: &str = env!("CARGO_MANIFEST_DIR");

#[derive(serde::Deserialize)]
struct Case {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    varied: bool,
    images: usize,
    height: usize,
    width: usize,
    layers: BTreeMap<String, Tap>,
}

#[derive(serde::Deserialize)]
struct Tap {
    shape: [usize; 4],
    step: usize,
    values: Vec<f64>,
    sum: f64,
    largest: f64,
}

/// The batch normalisations of the golden script's `vary`.
fn vary(state: &mut State) {
    let norms: Vec<String> = state
        .keys()
        .filter_map(|k| k.strip_suffix(".running_var"))
        .map(str::to_owned)
        .collect();
    for (i, norm) in norms.iter().enumerate() {
        let parts: [(&str, f32, [usize; 2]); 4] = [
            ("weight", 0.75, [5, 3]),
            ("bias", -0.25, [7, 1]),
            ("running_mean", -0.25, [11, 2]),
            ("running_var", 0.5, [13, 5]),
        ];
        for (part, base, [a, b]) in parts {
            let name = format!("{norm}.{part}");
            let channels = state[&name].shape[0];
            let values: Vec<f32> = (0..channels)
                .map(|j| base + ((a * j + b * i) % 33) as f32 / 64.0)
                .collect();
            state.insert(name, Raw::f32(&[channels], &values));
        }
    }
}

/// Every layer against PyTorch. The contract is 1e-4 of a layer's largest value; f32 sums in another
/// order reach 1e-6, and ten times that is held.
fn agrees(weights: &Weights, case: &Case) {
    const TOLERANCE: f64 = 1e-5;
    let layers: Vec<&str> = case.layers.keys().map(String::as_str).collect();
    let network = Network::new(RESNET18, weights, &layers).unwrap();
    let features = network
        .forward(images(case.images, case.height, case.width).view())
        .unwrap();
    for ((layer, tap), matrix) in case.layers.iter().zip(&features) {
        let [n, height, width, channels] = tap.shape;
        let shape = network.tap_shape(layer, case.height, case.width).unwrap();
        assert_eq!(
            [matrix.nrows(), shape.height, shape.width, shape.channels],
            [n, height, width, channels]
        );
        assert_eq!(matrix.ncols(), shape.len());
        let flat = matrix.as_slice().unwrap();
        let sampled: Vec<f64> = flat.iter().step_by(tap.step).map(|v| f64::from(*v)).collect();
        assert_eq!(sampled.len(), tap.values.len());
        let worst = sampled
            .iter()
            .zip(&tap.values)
            .map(|(a, b)| (a - b).abs() / tap.largest)
            .fold(0.0, f64::max);
        let at = format!(
            "seed {} varied {} {layer} {}x{}",
            case.seed, case.varied, case.height, case.width
        );
        assert!(worst <= TOLERANCE, "{at}: {worst:e}");
        let largest = flat.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(
            (f64::from(largest) - tap.largest).abs() <= TOLERANCE * tap.largest,
            "{at}"
        );
        let sum: f64 = flat.iter().map(|v| f64::from(*v)).sum();
        assert!(
            (sum - tap.sum).abs() <= TOLERANCE * tap.sum.abs(),
            "{at}: sum {sum}, {}",
            tap.sum
        );
    }
}

#[test]
fn features_are_pytorchs() {
    let golden: Vec<Case> = blemish_testkit::golden(GOLDEN, "features.json");
    assert_eq!(golden.len(), 6);
    for case in &golden {
        let mut weights = Weights::random(RESNET18, case.seed);
        if case.varied {
            let mut state = state(&weights);
            vary(&mut state);
            weights = reload(&state);
        }
        agrees(&weights, case);
    }
}

#[test]
fn features_of_published_weights_are_pytorchs() {
    let Some(path) = blemish_testkit::data(PREFIX) else {
        return;
    };
    let golden: Vec<Case> = blemish_testkit::golden(GOLDEN, "published.json");
    assert_eq!(golden.len(), 3);
    for case in &golden {
        agrees(&Weights::load(&path).unwrap(), case);
    }
}

fn bits(features: &[Array2<f32>]) -> Vec<Vec<u32>> {
    features
        .iter()
        .map(|m| m.iter().map(|v| v.to_bits()).collect())
        .collect()
}

#[test]
fn bytes_do_not_depend_on_batches_or_threads() {
    let network = Network::new(RESNET18, &Weights::random(RESNET18, 3), RESNET18.layers()).unwrap();
    let images = images(5, 64, 80);
    let whole = network.forward(images.view()).unwrap();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let found = pool.install(|| network.forward(images.view()).unwrap());
        assert_eq!(bits(&whole), bits(&found), "{threads} threads");
    }
    for cut in 1..5 {
        let first = network.forward(images.slice(s![..cut, .., .., ..])).unwrap();
        let second = network.forward(images.slice(s![cut.., .., .., ..])).unwrap();
        let joined: Vec<_> = first
            .iter()
            .zip(&second)
            .map(|(a, b)| concatenate(Axis(0), &[a.view(), b.view()]).unwrap())
            .collect();
        assert_eq!(bits(&whole), bits(&joined), "cut at {cut}");
    }
}

/// Buffers are used again: neither the size before nor the depth may show.
#[test]
fn bytes_do_not_depend_on_what_was_computed_before() {
    let weights = Weights::random(RESNET18, 3);
    let used = Network::new(RESNET18, &weights, RESNET18.layers()).unwrap();
    for (height, width) in [(96, 33), (32, 32), (50, 120), (33, 96)] {
        let fresh = Network::new(RESNET18, &weights, RESNET18.layers()).unwrap();
        let images = images(1, height, width);
        let expected = bits(&fresh.forward(images.view()).unwrap());
        assert_eq!(
            expected,
            bits(&used.forward(images.view()).unwrap()),
            "{height}x{width}"
        );
    }
    let images = images(1, 40, 40);
    let all = used.forward(images.view()).unwrap();
    let taps = ["layer2", "layer1", "layer2"];
    let some = Network::new(RESNET18, &weights, &taps).unwrap();
    assert_eq!(some.taps(), taps);
    let found = some.forward(images.view()).unwrap();
    assert_eq!(
        bits(&found),
        bits(&[all[1].clone(), all[0].clone(), all[1].clone()]),
        "in the order given"
    );
}

#[test]
fn layout_of_the_view_does_not_matter() {
    let network = Network::new(RESNET18, &Weights::random(RESNET18, 3), &["layer1"]).unwrap();
    let images = images(2, 32, 48);
    let channels_last = images
        .view()
        .permuted_axes([0, 2, 3, 1])
        .as_standard_layout()
        .into_owned();
    let expected = bits(&network.forward(images.view()).unwrap());
    let found = network
        .forward(channels_last.view().permuted_axes([0, 3, 1, 2]))
        .unwrap();
    assert_eq!(expected, bits(&found));
}

#[test]
fn no_images_give_no_rows() {
    let network = Network::new(RESNET18, &Weights::random(RESNET18, 0), &["layer3"]).unwrap();
    let features = network.forward(Array4::zeros((0, 3, 64, 64)).view()).unwrap();
    assert_eq!(features[0].dim(), (0, 4 * 4 * 256));
}

#[test]
fn wrong_images_are_errors() {
    let network = Network::new(RESNET18, &Weights::random(RESNET18, 0), &["layer1"]).unwrap();
    let error = |images: Array4<f32>| network.forward(images.view()).unwrap_err();
    assert!(matches!(
        error(Array4::zeros((1, 1, 64, 64))),
        BackbonesError::Channels {
            found: 1,
            expected: 3
        }
    ));
    assert!(matches!(
        error(Array4::zeros((1, 64, 64, 3))),
        BackbonesError::Channels { found: 64, .. }
    ));
    assert!(matches!(
        error(Array4::zeros((1, 3, 31, 64))),
        BackbonesError::ImageSize { height: 31, .. }
    ));
    assert!(matches!(
        error(Array4::zeros((1, 3, 32, 2049))),
        BackbonesError::ImageSize { width: 2049, .. }
    ));
    assert!(matches!(
        error(Array4::zeros((0, 3, 0, 0))),
        BackbonesError::ImageSize { .. }
    ));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut images = Array4::zeros((3, 3, 32, 32));
        images[(2, 1, 31, 0)] = bad;
        assert!(matches!(error(images), BackbonesError::ImageValues { image: 2 }));
    }
    let huge = Array4::from_elem((1, 3, 32, 32), f32::MAX);
    assert!(matches!(
        error(huge),
        BackbonesError::FeatureValues {
            image: 0,
            layer: "layer1"
        }
    ));
    // And the network still works.
    network.forward(images(1, 32, 32).view()).unwrap();
}

#[test]
fn sides_of_up_to_2048_are_computed() {
    let network = Network::new(RESNET18, &Weights::random(RESNET18, 0), &["layer1"]).unwrap();
    let features = network.forward(images(1, 32, 2048).view()).unwrap();
    assert_eq!(features[0].dim(), (1, 8 * 512 * 64));
}

#[test]
fn wrong_layers_are_errors() {
    let weights = Weights::random(RESNET18, 0);
    let error = Network::new(RESNET18, &weights, &["layer1", "layer5"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "resnet18 has no layer \"layer5\"; known: layer1, layer2, layer3, layer4"
    );
    assert!(matches!(
        Network::new(RESNET18, &weights, &[]),
        Err(BackbonesError::NoTaps { .. })
    ));
    let network = Network::new(RESNET18, &weights, &["layer2"]).unwrap();
    assert!(matches!(
        network.tap_shape("layer1", 64, 64),
        Err(BackbonesError::NotComputed { .. })
    ));
    assert!(matches!(
        network.tap_shape("conv1", 64, 64),
        Err(BackbonesError::UnknownLayer { .. })
    ));
    assert!(matches!(
        network.tap_shape("layer2", 64, 8),
        Err(BackbonesError::ImageSize { .. })
    ));
}
