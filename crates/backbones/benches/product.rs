//! GFLOP/s of the matrix product, the loop that decides the speed of everything:
//! `cargo bench -p blemish-backbones --bench product`. One thread; shapes as they occur. A harmless
//! change there can cost a factor of five: compare before and after.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::time::Instant;

use blemish_backbones::{Architecture, InstructionSet, Network, Weights};
use ndarray::Array4;

/// The products of a network are measured where they are: in its forward pass.
fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        for (architecture, taps) in [
            (Architecture::Resnet18, &["layer4"][..]),
            (Architecture::Resnet50, &["layer4"]),
            (Architecture::VitBase32, &["layer1"]),
        ] {
            let weights = Weights::random(architecture, 0);
            for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
                let network = Network::with_instruction_set(architecture, &weights, taps, set).unwrap();
                let images = Array4::from_shape_fn((4, 3, 224, 224), |(i, c, y, x)| {
                    ((i * 7 + c * 5 + y * 3 + x) % 17) as f32 / 8.0 - 1.0
                });
                network.forward(images.view()).unwrap();
                let start = Instant::now();
                // The least of several: what the machine can, not what it was doing besides.
                let mut best: Option<blemish_backbones::Profile> = None;
                while start.elapsed().as_secs_f64() < 2.0 {
                    let (_, profile) = network.profile(images.view()).unwrap();
                    if best.as_ref().is_none_or(|b| profile.total < b.total) {
                        best = Some(profile);
                    }
                }
                for entry in best.unwrap().entries.iter().filter(|e| e.operations > 0) {
                    let rate = entry.operations as f64 / entry.time.as_secs_f64() / 1e9;
                    println!(
                        "{architecture:<12} {set:<7} {:<24} {rate:6.1} GFLOP/s",
                        entry.part
                    );
                }
            }
        }
    });
}
