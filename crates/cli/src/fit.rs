//! `blemish fit`: from good images to a model file.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use blemish::Error;
use blemish::backbones::{Architecture, Initialization};
use blemish::detectors::auroc;
use blemish::inspector::{FitConfig, FitEvent, Inspector, Method, Samples, Tiling, with_threads};
use blemish::weights::default_folder;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{seed, threads};
use crate::commands::plural;
use crate::output::{Usage, note, print};
use crate::run_args::{STOPPED, stop_on_signals};

#[derive(Debug, Args)]
pub(crate) struct FitArgs {
    /// Good images: a folder of them, an object in the MVTec layout, or a .csv of path,label[,mask][,split]
    #[arg(value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// Model file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How defects are found: auto (tries several on held-out good images and synthetic defects),
    /// memory-bank, padim, patch-lof, patch-mahalanobis; without a map: lof, knn, mahalanobis, svm,
    /// kernel-density, isolation-forest, elliptic-envelope
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) method: Choose,
    /// The network: resnet18, resnet50, wide_resnet50_2, vit_base_16, vit_base_32
    #[arg(long, default_value = "resnet18", value_name = "NAME")]
    pub(crate) backbone: Architecture,
    /// Its weights: imagenet1k_v1, imagenet1k_v2, random [default: the newest published]
    #[arg(long, value_name = "NAME")]
    pub(crate) initialization: Option<Initialization>,
    /// Its layers [default: layer2,layer3]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) layers: Option<Vec<String>>,
    /// Folder with weights files [default: that of `blemish weights`]
    #[arg(long, value_name = "FOLDER", env = "BLEMISH_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// Write the network's weights into the model file, so that it needs no other
    #[arg(long)]
    pub(crate) embed_weights: bool,
    /// The part of good images that may be rejected
    #[arg(long, default_value_t = 0.01, value_name = "RATE", value_parser = rate)]
    pub(crate) false_reject_rate: f64,
    /// Shorter side of the network's input in pixels, 32 to 2048: the whole image is resized to it [default: 384; with
    /// --tile that of the first image, and at most 16384]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(32..=16384))]
    pub(crate) size: Option<u32>,
    /// Cut images into square tiles of so many pixels, a multiple of 32 from 64 to 2048: for small defects in
    /// large images. --size resizes them before that; patches, maps and scores are of the whole image
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(64..=2048))]
    pub(crate) tile: Option<u32>,
    /// Pixels that neighbouring tiles share at least, up to half of a tile; there they are blended [default: 0]
    #[arg(long, value_name = "PIXELS", requires = "tile", value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) tile_overlap: Option<u32>,
    /// Memory that the fit may use, such as 4G or 800M [default: 1500M]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
    /// Patches that are kept [default: 4096]
    #[arg(long, value_name = "N", value_parser = rows)]
    pub(crate) bank: Option<usize>,
    /// Patches among which they are chosen [default: 65536]
    #[arg(long, value_name = "N", value_parser = rows)]
    pub(crate) candidates: Option<usize>,
    /// Seed of what is drawn at random
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Threads; the default is one for each core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
}

impl FitArgs {
    /// The arguments as meant.
    pub(crate) fn config(&self) -> FitConfig {
        let mut config = FitConfig::new();
        if let Choose::One(method) = self.method {
            config.method = method;
        }
        config.architecture = self.backbone;
        config.initialization = self.initialization;
        config.layers = self.layers.clone();
        config.weights = self.weights.clone().or_else(own_weights);
        config.size = self.size;
        config.tiling = self.tile.map(|size| Tiling {
            size,
            overlap: self.tile_overlap.unwrap_or(0),
        });
        config.false_reject_rate = self.false_reject_rate;
        config.memory = self.memory;
        config.bank = self.bank;
        config.candidates = self.candidates;
        config.seed = self.seed;
        config
    }
}

/// The folder of `blemish weights`, if there is one.
pub(crate) fn own_weights() -> Option<PathBuf> {
    default_folder().ok().filter(|folder| folder.is_dir())
}

pub(crate) fn run(args: &FitArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let mut config = args.config();
    // Mistakes that no single argument shows.
    if let Err(error) = config.check() {
        return Err(Usage(error.to_string()).into());
    }
    let stop = stop_on_signals()?;
    config.stop = Some(stop.clone());
    let samples = Samples::open(&args.data)?;
    if args.output.is_dir() {
        anyhow::bail!(
            "{} is a folder: give the name of a file, such as part.blemish",
            args.output.display()
        );
    }
    // Not after the fit.
    Inspector::may_be_written(&args.output)?;
    if let Some(folder) = args.output.parent()
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        anyhow::bail!(
            "{}: there is no folder {}",
            args.output.display(),
            folder.display()
        );
    }
    let good = samples.train.len();
    note(format!("{}: {good} good image{}", samples.name, plural(good)));
    let fitted = with_threads(args.threads, || {
        let progress = Progress::new();
        let on_event = |event: &FitEvent<'_>| progress.on_event(event);
        let config = match args.method {
            Choose::Auto => {
                let choice = Inspector::choose(&samples, &config, &on_event)?;
                on_event(&FitEvent::Note(&choice.in_words()));
                choice.config
            }
            Choose::One(_) => config,
        };
        let inspector = Inspector::fit(&samples, &config, &on_event)?;
        progress.finish();
        if let Some(text) = tested(&inspector, &samples, &stop)? {
            note(text);
        }
        Ok::<_, anyhow::Error>(inspector)
    });
    let inspector = match fitted {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped)) => {
            note("stopped: no model was written");
            return Ok(ExitCode::from(STOPPED));
        }
        fitted => fitted?,
    };
    let size = inspector.save_sized(&args.output, args.embed_weights)?;
    print(inspector.in_words())?;
    print(inspector.calibration().in_words())?;
    print(format!(
        "wrote {} ({:.1} MB{}) after {:.1} s",
        args.output.display(),
        size as f64 / 1e6,
        if args.embed_weights {
            ", with the network's weights"
        } else {
            ""
        },
        start.elapsed().as_secs_f64()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A method, or the choice of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choose {
    Auto,
    One(Method),
}

impl std::str::FromStr for Choose {
    type Err = Error;
    fn from_str(name: &str) -> Result<Choose, Error> {
        if name == "auto" {
            return Ok(Choose::Auto);
        }
        name.parse().map(Choose::One).map_err(|error| match error {
            Error::Config(text) => Error::Config(text.replace("there are ", "there are auto, ")),
            error => error,
        })
    }
}

/// How well the test images are told apart, if there are good and defective ones.
fn tested(inspector: &Inspector, samples: &Samples, stop: &AtomicBool) -> Result<Option<String>> {
    let files: Vec<PathBuf> = samples.test.iter().map(|file| file.path.clone()).collect();
    let (mut scores, mut labels) = (vec![], vec![]);
    let (mut rejected, mut missed) = (0, 0);
    inspector.score_files(&files, false, &mut |i, found| -> Result<()> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped.into());
        }
        // The model needs none of the test images: one that is broken must not cost it.
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                note(format!("left out of the test: {error}"));
                return Ok(());
            }
        };
        let defective = samples.test[i].is_defective();
        scores.push(found.score);
        labels.push(defective);
        rejected += usize::from(found.is_defective && !defective);
        missed += usize::from(!found.is_defective && defective);
        Ok(())
    })?;
    if !labels.contains(&true) || !labels.contains(&false) {
        return Ok(None);
    }
    let defective = labels.iter().filter(|l| **l).count();
    Ok(Some(format!(
        "test images: image AUROC {:.4}; at the threshold {rejected} of {} good ones are rejected and {missed} of \
         {defective} defective ones missed",
        auroc(&scores, &labels)?,
        labels.len() - defective,
    )))
}

/// How often a plain line is written to a log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar for each step; plain lines where standard error is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    step: Cell<&'static str>,
    last_line: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {elapsed}, {eta} left") {
            bar.set_style(style);
        }
        Progress {
            bar,
            terminal,
            step: Cell::new(""),
            last_line: Cell::new(Instant::now()),
        }
    }

    pub(crate) fn on_event(&self, event: &FitEvent<'_>) {
        match event {
            FitEvent::Planned(plan) => note(plan.in_words()),
            FitEvent::Note(text) => {
                if self.terminal {
                    self.bar.suspend(|| note(text));
                } else {
                    note(text);
                }
            }
            FitEvent::Progress { step, done, total } => {
                if self.step.replace(step) != *step {
                    self.bar.reset();
                    self.bar.set_message(*step);
                }
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
                if !self.terminal && self.last_line.get().elapsed() >= LINE_EVERY {
                    self.last_line.set(Instant::now());
                    note(format!("{step}: {done}/{total}"));
                }
            }
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A number of patches.
fn rows(text: &str) -> Result<usize, String> {
    let rows = text.parse().ok().filter(|rows| (2..=50_000_000).contains(rows));
    rows.ok_or_else(|| "give a whole number from 2 to 50000000".into())
}

/// A part of good images that may be rejected.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-6..1.0).contains(rate));
    rate.ok_or_else(|| {
        "give a number from 0.000001 to below 1, such as 0.01 for one good image in a hundred".into()
    })
}

/// 4G, 1.5G, 800M, 500000k or a number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no amount of memory: give a number and k, M or G, such as 4G");
    let plain = text.trim().trim_end_matches(['b', 'B']).trim_end_matches('i');
    let (number, factor) = match plain.char_indices().last() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1e3),
        Some((at, 'm' | 'M')) => (&plain[..at], 1e6),
        Some((at, 'g' | 'G')) => (&plain[..at], 1e9),
        Some((at, 't' | 'T')) => (&plain[..at], 1e12),
        _ => (plain, 1.0),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let bytes = number * factor;
    if bytes.is_finite() && (1.0..1e15).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory_are_read() {
        for (text, expected) in [
            ("4G", 4_000_000_000),
            ("1.5GB", 1_500_000_000),
            ("800 M", 800_000_000),
            ("2GiB", 2_000_000_000),
            ("77", 77),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "G", "-4G", "four", "1e99G", "0"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
