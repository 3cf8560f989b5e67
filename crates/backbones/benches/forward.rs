//! Images per second: `cargo bench -p blemish-backbones`.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use blemish_backbones::{Architecture, Network, Weights};
use divan::counter::ItemsCount;
use ndarray::Array4;

fn main() {
    divan::main();
}

/// All four layers of ResNet-18 at 224 x 224, by batch and threads.
#[divan::bench(args = [(1, 1), (1, 2), (16, 1), (16, 2)], sample_count = 10, sample_size = 1)]
fn resnet18(bencher: divan::Bencher<'_, '_>, (batch, threads): (usize, usize)) {
    let architecture = Architecture::Resnet18;
    let weights = Weights::random(architecture, 0);
    let network = Network::new(architecture, &weights, architecture.layers()).unwrap();
    let images = Array4::from_shape_fn((batch, 3, 224, 224), |(i, c, y, x)| {
        ((i * 7 + c * 5 + y * 3 + x) % 17) as f32 / 8.0 - 1.0
    });
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    bencher
        .counter(ItemsCount::new(batch))
        .bench_local(|| pool.install(|| network.forward(images.view()).unwrap()));
}

/// Drawing the weights from a seed.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn random_weights() -> Weights {
    Weights::random(Architecture::Resnet18, 0)
}
