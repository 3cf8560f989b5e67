//! Images per second of a network, and where the time goes:
//! `cargo run --release -p blemish-backbones --example features -- resnet50 --batch 16 --threads 2`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::time::{Duration, Instant};

use blemish_backbones::{Architecture, InstructionSet, Network, Weights};
use ndarray::Array4;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: &str| {
        arguments
            .iter()
            .position(|a| a == name)
            .and_then(|i| arguments.get(i + 1).cloned())
            .unwrap_or_else(|| default.to_owned())
    };
    let architecture: Architecture = match arguments.first() {
        Some(name) => name.parse()?,
        None => {
            return Err("name a network; options: --batch N,N --threads N --set NAME --weights FILE".into());
        }
    };
    let threads = option("--threads", "2").parse()?;
    let set = option("--set", InstructionSet::best().name()).parse()?;
    let weights = match option("--weights", "") {
        file if file.is_empty() => Weights::random(architecture, 0),
        file => Weights::load(file.as_ref())?,
    };
    let start = Instant::now();
    let network = Network::with_instruction_set(architecture, &weights, architecture.study_layers(), set)?;
    drop(weights);
    println!(
        "{architecture}, {set}, {threads} threads; packed in {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    for batch in option("--batch", "1,16").split(',') {
        let batch: usize = batch.parse()?;
        let images = Array4::from_shape_fn((batch, 3, 224, 224), |(i, c, y, x)| {
            ((i * 7 + c * 5 + y * 3 + x) % 17) as f32 / 8.0 - 1.0
        });
        pool.install(|| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut features = Vec::new();
            for _ in 0..2 {
                network.forward_into(images.view(), &mut features)?;
            }
            let mut times = Vec::new();
            let start = Instant::now();
            while times.len() < 5 || (start.elapsed() < Duration::from_secs(2) && times.len() < 60) {
                let start = Instant::now();
                network.forward_into(images.view(), &mut features)?;
                times.push(start.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            let rate = |seconds: f64| batch as f64 / seconds;
            println!(
                "batch {batch}: {:.1} images/s (best {:.1})",
                rate(times[times.len() / 2]),
                rate(times[0])
            );
            if arguments.iter().any(|a| a == "--profile") {
                print!("{}", network.profile(images.view())?.1);
            }
            Ok(())
        })?;
    }
    Ok(())
}
