//! How long weights take to be drawn and read: `cargo bench -p blemish-backbones --bench weights`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use blemish_backbones::{Architecture, Weights};

fn main() {
    divan::main();
}

#[divan::bench(args = Architecture::ALL, sample_count = 3)]
fn random(architecture: Architecture) -> Weights {
    Weights::random(architecture, 0)
}

/// Only what the study's layers need.
#[divan::bench(args = Architecture::ALL, sample_count = 3)]
fn random_for_the_study(architecture: Architecture) -> Weights {
    Weights::random_for(architecture, 0, architecture.study_layers()).unwrap()
}

#[divan::bench(args = Architecture::ALL, sample_count = 3)]
fn load(bencher: divan::Bencher<'_, '_>, architecture: Architecture) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    Weights::random(architecture, 0).save(&path).unwrap();
    bencher.bench(|| Weights::load_for(&path, architecture, architecture.study_layers()).unwrap());
}

/// Of the last layer, so of all tensors.
#[divan::bench(args = Architecture::ALL, sample_count = 3)]
fn digest(bencher: divan::Bencher<'_, '_>, architecture: Architecture) {
    let weights = Weights::random(architecture, 0);
    let last = architecture.layers().last().unwrap();
    bencher.bench(|| weights.digest(architecture, last).unwrap());
}
