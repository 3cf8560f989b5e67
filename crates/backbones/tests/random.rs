//! Seeded random weights against PyTorch; see `golden/random_weights.py`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use blemish_backbones::{Architecture, Weights};

#[derive(serde::Deserialize)]
struct Golden {
    networks: Vec<Network>,
}

#[derive(serde::Deserialize)]
struct Network {
    architecture: String,
    constants: BTreeMap<String, f32>,
    draws: Vec<Draw>,
}

#[derive(serde::Deserialize)]
struct Draw {
    seed: u64,
    tensors: BTreeMap<String, Drawn>,
}

#[derive(serde::Deserialize)]
struct Drawn {
    shape: Vec<usize>,
    samples: Vec<f32>,
    sum: f64,
    sum_of_squares: f64,
    largest: f32,
}

/// "To 1e-6" means: of the tensor's largest value. PyTorch's logarithm, sine and cosine are f32
/// approximations, whose errors are of the size of the last bits of values near 1, so that a value near
/// 0 may differ by more of itself.
///
/// In a sum, such errors add up like those of chance, to sqrt(n) of them, and what they have in common
/// to n: 2e-9 standard deviations was measured over millions of values, and 1e-8 is held. One wrong
/// draw in the order, and a sum is off by sqrt(n) whole standard deviations.
#[test]
fn random_weights_are_pytorchs() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "random_weights.json");
    assert_eq!(golden.networks.len(), Architecture::ALL.len());
    for network in golden.networks {
        let architecture: Architecture = network.architecture.parse().unwrap();
        assert!(network.draws.len() >= 2);
        for draw in network.draws {
            let weights = Weights::random(architecture, draw.seed);
            let expected = network.constants.len() + draw.tensors.len();
            assert_eq!(weights.names().count(), expected, "{architecture}");
            for (name, constant) in &network.constants {
                let (_, values) = weights.get(name).unwrap();
                assert!(values.iter().all(|v| v == constant), "{architecture}, {name}");
            }
            for (name, drawn) in &draw.tensors {
                compare(
                    &format!("{architecture}, seed {}, {name}", draw.seed),
                    &weights,
                    name,
                    drawn,
                );
            }
        }
    }
}

fn compare(at: &str, weights: &Weights, name: &str, drawn: &Drawn) {
    let (shape, values) = weights.get(name).unwrap();
    assert_eq!(shape, drawn.shape, "{at}");
    let close = |found: f64, expected: f64, scale: f64| {
        assert!(
            (found - expected).abs() <= 1e-6 * scale,
            "{at}: {found} instead of {expected}"
        );
    };
    let (count, last) = (values.len() as f64, values.len() - 1);
    for (i, expected) in drawn.samples.iter().enumerate() {
        let found = values[i * last / (drawn.samples.len() - 1)];
        close(f64::from(found), f64::from(*expected), f64::from(drawn.largest));
    }
    let largest = values.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
    close(
        f64::from(largest),
        f64::from(drawn.largest),
        f64::from(drawn.largest),
    );
    let spread = (drawn.sum_of_squares / count).sqrt();
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    close(sum, drawn.sum, spread * (count.sqrt() + 0.01 * count));
    let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    close(squares, drawn.sum_of_squares, drawn.sum_of_squares);
}

/// The layers that are wanted have the tensors that they have among all; no others are there.
#[test]
fn a_part_is_the_part_of_the_whole() {
    for (architecture, layers) in [
        (Architecture::Resnet18, &["layer2", "layer1"][..]),
        (Architecture::Resnet50, &["layer1"]),
        (Architecture::VitBase32, &["layer0"]),
        (Architecture::Resnet18, &[]),
    ] {
        let whole = Weights::random(architecture, 5);
        let part = Weights::random_for(architecture, 5, layers).unwrap();
        let deepest = layers.iter().max();
        assert_eq!(part.layers(architecture).last(), deepest);
        if let Some(deepest) = deepest {
            let digest = |weights: &Weights| weights.digest(architecture, deepest).unwrap();
            assert_eq!(digest(&part), digest(&whole));
        }
        assert!(part.names().count() < whole.names().count());
        assert!(part.names().all(|name| part.get(name) == whole.get(name)));
    }
    assert!(Weights::random_for(Architecture::Resnet18, 5, &["layer5"]).is_err());
}

/// The same bytes with one thread and with several.
#[test]
fn threads_do_not_count() {
    let digest = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let weights = pool.install(|| Weights::random(Architecture::Resnet18, 1));
        weights.digest(Architecture::Resnet18, "layer4").unwrap()
    };
    assert_eq!(digest(1), digest(3));
}

#[test]
fn only_the_low_half_of_a_seed_counts_as_in_pytorch() {
    let digest = |seed| {
        let weights = Weights::random(Architecture::Resnet18, seed);
        weights.digest(Architecture::Resnet18, "layer4").unwrap()
    };
    assert_eq!(digest((1 << 33) + 5), digest(5));
    assert_ne!(digest(5), digest(6));
}
