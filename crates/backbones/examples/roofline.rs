//! How near each part of a forward pass comes to what the processor can do, as a Markdown table:
//! `cargo run --release -p blemish-backbones --example roofline -- --batch 16 --threads 2`.
//!
//! The peak is that of the product's own loop on numbers that stay in the first caches, by all threads at
//! once, just before and just after each network; the least of several passes is what is printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::time::{Duration, Instant};

use blemish_backbones::{Architecture, Network, PackedRows, Profile, Weights};
use ndarray::{Array2, Array4};
use rayon::prelude::*;

/// GFLOP/s of the product's loop in each of `threads` threads, all at work: the most of many short turns.
fn peak(threads: usize) -> f64 {
    const DEPTH: usize = 64;
    let (rows, columns) = (112, 64);
    let matrix = |n: usize| Array2::from_shape_fn((n, DEPTH), |(i, k)| ((i * 7 + k * 3) % 5) as f32 - 2.0);
    let right = PackedRows::new(matrix(columns).view(), &vec![0.0; columns]);
    let rates: Vec<f64> = (0..threads)
        .into_par_iter()
        .map(|_| {
            let (left, mut out) = (matrix(rows), vec![0.0; rows * columns]);
            let (start, mut best) = (Instant::now(), Duration::MAX);
            let times = 200;
            while start.elapsed() < Duration::from_millis(300) {
                let turn = Instant::now();
                for _ in 0..times {
                    right.products(left.view(), 0..columns, &mut out);
                }
                best = best.min(turn.elapsed());
            }
            (2 * rows * DEPTH * columns * times) as f64 / best.as_secs_f64() / 1e9
        })
        .collect();
    rates.iter().sum::<f64>() / threads as f64
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: &str| {
        let found = arguments.iter().position(|a| a == name);
        found
            .and_then(|i| arguments.get(i + 1))
            .map_or(default.to_owned(), Clone::clone)
    };
    let (batch, threads) = (
        option("--batch", "16").parse()?,
        option("--threads", "2").parse()?,
    );
    let networks = option("--networks", "resnet18,resnet50,vit_base_16,vit_base_32");
    let images = Array4::from_shape_fn((batch, 3, 224, 224), |(i, c, y, x)| {
        ((i * 7 + c * 5 + y * 3 + x) % 17) as f32 / 8.0 - 1.0
    });
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!("| network | part | time | GFLOP/s a thread | of the peak |\n|---|---|--:|--:|--:|");
    for name in networks.split(',') {
        let architecture: Architecture = name.parse()?;
        let network = Network::new(
            architecture,
            &Weights::random(architecture, 0),
            architecture.study_layers(),
        )?;
        pool.install(|| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let before = peak(threads);
            let mut features = Vec::new();
            network.forward_into(images.view(), &mut features)?;
            drop(features);
            let mut best: Option<Profile> = None;
            let start = Instant::now();
            while best.is_none() || start.elapsed() < Duration::from_secs(4) {
                let (_, profile) = network.profile(images.view())?;
                if best.as_ref().is_none_or(|b| profile.total < b.total) {
                    best = Some(profile);
                }
            }
            let Some(best) = best else { return Ok(()) };
            let peak = before.max(peak(threads));
            let total = best.total.as_secs_f64();
            let line = |part: &str, seconds: f64, operations: u64| {
                let (mut rate, mut share) = (String::new(), String::new());
                if operations > 0 {
                    let achieved = operations as f64 / seconds / 1e9;
                    rate = format!("{achieved:.1}");
                    share = format!("{:.0} %", 100.0 * achieved / peak);
                }
                println!(
                    "| {architecture} | {part} | {:.0} % | {rate} | {share} |",
                    100.0 * seconds / total
                );
            };
            let (mut counted, mut operations) = (0.0, 0);
            for entry in &best.entries {
                line(entry.part, entry.time.as_secs_f64(), entry.operations);
                counted += entry.time.as_secs_f64();
                operations += entry.operations;
            }
            line("waiting and copying", (total - counted).max(0.0), 0);
            line(&format!("all, of a peak of {peak:.1}"), total, operations);
            Ok(())
        })?;
    }
    Ok(())
}
