//! One side of `benches/peers/run.py`: a network that measures itself when told to.
//!
//! `cargo run --release -p blemish-backbones --example throughput -- NETWORK SEED THREADS [INSTRUCTION SET]`,
//! then lines on standard input, each answered by one line:
//! - `measure BATCH SECONDS`: forward passes for so long, at least two after one that is not counted;
//!   answers the median seconds of a pass;
//! - `dump BATCH FILE`: the features of all taps, one tap after the other, as little-endian f32;
//!   answers `done`.
#![allow(clippy::print_stdout, reason = "an example")]

use std::io::{BufRead, Write};
use std::time::Instant;

use blemish_backbones::{Architecture, InstructionSet, Network, Weights};
use ndarray::{Array2, Array4};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The images of the golden scripts: multiples of 1/64 in -2 to 2, from the index alone.
fn images(n: usize) -> Result<Array4<f32>, Error> {
    let values = (0..(n * 3 * 224 * 224) as u64)
        .map(|i| {
            let hashed = (i.wrapping_mul(2_654_435_761) % (1 << 32)) >> 16;
            (hashed % 257) as f32 / 64.0 - 2.0
        })
        .collect();
    Ok(Array4::from_shape_vec((n, 3, 224, 224), values)?)
}

fn measure(network: &Network, batch: usize, seconds: f64) -> Result<f64, Error> {
    let images = images(batch)?;
    let mut features: Vec<Array2<f32>> = Vec::new();
    network.forward_into(images.view(), &mut features)?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 2 || start.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        network.forward_into(images.view(), &mut features)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok((times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0)
}

fn dump(network: &Network, batch: usize, file: &str) -> Result<(), Error> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    for matrix in network.forward(images(batch)?.view())? {
        for value in &matrix {
            out.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seed, threads, set @ ..] = &arguments[..] else {
        return Err("NETWORK SEED THREADS [INSTRUCTION SET]".into());
    };
    let architecture: Architecture = name.parse()?;
    let set = match set {
        [set] => set.parse()?,
        _ => InstructionSet::best(),
    };
    let weights = Weights::random(architecture, seed.parse()?);
    let network = Network::with_instruction_set(architecture, &weights, architecture.study_layers(), set)?;
    drop(weights);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.parse()?)
        .build()?;
    println!("ready {set}");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["measure", batch, seconds] => {
                let (batch, seconds) = (batch.parse()?, seconds.parse()?);
                let median = pool.install(|| measure(&network, batch, seconds))?;
                println!("{median}");
            }
            ["dump", batch, file] => {
                let batch = batch.parse()?;
                pool.install(|| dump(&network, batch, file))?;
                println!("done");
            }
            _ => return Err(format!("{line:?} is neither measure nor dump").into()),
        }
    }
    Ok(())
}
