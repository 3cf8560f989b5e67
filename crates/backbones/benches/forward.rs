//! Images per second: `cargo bench -p blemish-backbones`.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use blemish_backbones::{Architecture, Network, Weights};
use divan::counter::ItemsCount;
use ndarray::Array4;

fn main() {
    divan::main();
}

/// The study's four layers of each network at 224 x 224, by batch and threads.
#[divan::bench(
    args = Architecture::ALL,
    consts = [1, 16],
    sample_count = 5,
    sample_size = 1
)]
fn forward<const BATCH: usize>(bencher: divan::Bencher<'_, '_>, architecture: Architecture) {
    let weights = Weights::random(architecture, 0);
    let network = Network::new(architecture, &weights, architecture.study_layers()).unwrap();
    let images = Array4::from_shape_fn((BATCH, 3, 224, 224), |(i, c, y, x)| {
        ((i * 7 + c * 5 + y * 3 + x) % 17) as f32 / 8.0 - 1.0
    });
    let mut features = Vec::new();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| network.forward_into(images.view(), &mut features).unwrap());
}

/// Drawing the weights from a seed.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn random_weights() -> Weights {
    Weights::random(Architecture::Resnet18, 0)
}
