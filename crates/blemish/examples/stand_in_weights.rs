//! Writes weights files in the place of those that torchvision publishes for the study's networks: random numbers, which
//! take as long to compute with. For runs that are about time, memory and counts, where no network is at hand to fetch
//! the published files; results of such files mean nothing.
//!
//! ```sh
//! cargo run --release -p blemish --example stand_in_weights -- FOLDER
//! ```
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::PathBuf;

use blemish::backbones::{Architecture, Initialization, Weights};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("give the folder to write to")?
        .into();
    std::fs::create_dir_all(&folder)?;
    for architecture in [
        Architecture::Resnet18,
        Architecture::Resnet50,
        Architecture::VitBase16,
        Architecture::VitBase32,
    ] {
        let published = architecture.study_initializations().into_iter();
        for initialization in published.filter(|i| *i != Initialization::Random) {
            // Another seed than a run's usual one, so that the two initialisations differ.
            let weights = Weights::random_for(architecture, 1_000_003, architecture.study_layers())?;
            let file = folder.join(format!("{architecture}-{initialization}.safetensors"));
            weights.save(&file)?;
            println!("{}", file.display());
        }
    }
    Ok(())
}
