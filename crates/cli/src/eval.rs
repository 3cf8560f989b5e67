//! `blemish eval`: how well a model file finds the defects of a test set.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use blemish::Error;
use blemish::detectors::{BootstrapOptions, Interval};
use blemish::eval::{EvalConfig, EvaluatedImage, Evaluation, Scores, evaluate};
use blemish::inspector::{FitEvent, Inspection, Inspector, Samples, with_threads};
use blemish::report::{evaluation_page, write_page};
use clap::{Args, ValueEnum};

use crate::args::{seed, threads};
use crate::commands::plural;
use crate::fit::{Progress, own_weights};
use crate::output::{note, print};
use crate::run_args::{STOPPED, stop_on_signals};
use crate::tables::{table, trimmed};

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Model file that `blemish fit` wrote
    pub(crate) model: PathBuf,
    /// Images to test with: an object in the MVTec layout, a folder with good/ and one folder a defect, or
    /// a .csv of path,label[,mask][,split]
    pub(crate) data: PathBuf,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = EvalFormat::Table)]
    pub(crate) format: EvalFormat,
    /// HTML page to write besides: metrics, every image, and the worst ones with their maps and masks, in one
    /// file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// How many of the worst images of each kind to list
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) worst: usize,
    /// How often images are drawn anew for the intervals of 95 %, at least 20 times
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub(crate) resamples: u32,
    /// Seed of these draws
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Folder with weights files, for models without their own [default: that of `blemish weights`]
    #[arg(long, value_name = "FOLDER", env = "BLEMISH_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// Threads; the default is one for each core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvalFormat {
    /// Columns for a person
    Table,
    /// One object
    Json,
}

pub(crate) fn run(args: &EvalArgs) -> Result<ExitCode> {
    let samples = Samples::open(&args.data)?;
    if let Some(page) = &args.html {
        may_be_written(page)?;
    }
    let stop = stop_on_signals()?;
    let config = EvalConfig {
        bootstrap: BootstrapOptions {
            resamples: args.resamples as usize,
            seed: args.seed,
            ..BootstrapOptions::default()
        },
        ..EvalConfig::default()
    };
    let weights = args.weights.clone().or_else(own_weights);
    let evaluated = with_threads(args.threads, || -> Result<_, Error> {
        let inspector = Inspector::load(&args.model, weights.as_deref())?;
        let progress = Progress::new();
        let total = samples.test.len();
        let scores = Stoppable {
            inspector: &inspector,
            stop: &stop,
        };
        let evaluation = evaluate(&scores, &samples.test, &config, &|done| {
            let step = "test images";
            progress.on_event(&FitEvent::Progress { step, done, total });
        });
        progress.finish();
        let evaluation = evaluation?;
        let written = match &args.html {
            Some(path) => evaluation_page(&inspector, &samples, &evaluation, args.worst)
                .and_then(|html| write_page(path, &html)),
            None => Ok(()),
        };
        Ok((evaluation, written))
    });
    let (evaluation, written) = match evaluated {
        Err(Error::Stopped) => {
            note("stopped: nothing was evaluated");
            return Ok(ExitCode::from(STOPPED));
        }
        evaluated => evaluated?,
    };
    match args.format {
        EvalFormat::Table => print(text(&evaluation, args.worst).trim_end())?,
        EvalFormat::Json => print(serde_json::to_string_pretty(&evaluation)?)?,
    }
    // The numbers are there whatever becomes of the page.
    written?;
    if let Some(path) = &args.html {
        note(format!("wrote {}", path.display()));
    }
    Ok(
        if evaluation.failed.is_empty() && evaluation.failed_masks.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        },
    )
}

/// An inspector that can be stopped.
struct Stoppable<'a> {
    inspector: &'a Inspector,
    stop: &'a AtomicBool,
}

impl Scores for Stoppable<'_> {
    fn score_files(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(usize, Result<Inspection, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Scores::score_files(self.inspector, files, &mut |i, found| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            take(i, found)
        })
    }
}

/// Whether the page can be written, before anything is computed: not over something else.
fn may_be_written(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        anyhow::bail!("{}: there is no folder {}", path.display(), folder.display());
    }
    if !path.exists() {
        return Ok(());
    }
    let mut beginning = vec![];
    if path.is_file() {
        File::open(path)
            .and_then(|file| file.take(1024).read_to_end(&mut beginning))
            .with_context(|| path.display().to_string())?;
    }
    let text = String::from_utf8_lossy(&beginning).to_lowercase();
    if path.is_file() && (text.is_empty() || text.contains("name=\"generator\" content=\"blemish\"")) {
        return Ok(());
    }
    anyhow::bail!(
        "{} is there already and is no page of blemish: give another name, or remove it first",
        path.display()
    )
}

fn text(e: &Evaluation, worst: usize) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} good and {} defective image{}; {} good called defective, {} defective called good",
        e.good,
        e.defective,
        plural(e.defective),
        e.false_rejects,
        e.missed
    );
    let _ = writeln!(
        out,
        "\nIntervals of {:.0} % from {} resamples of the images",
        100.0 * e.confidence,
        e.resamples
    );
    let mut metrics = table(&["metric", "value", "low", "high"], &[1, 2, 3]);
    let overlap = format!("AUPRO to {}", e.aupro_limit);
    for (name, interval) in [
        ("image AUROC", Some(e.image_auroc)),
        ("image AP", Some(e.image_ap)),
        ("image F1-max", Some(e.image_f1_max)),
        ("pixel AUROC", e.pixel_auroc),
        ("pixel AP", e.pixel_ap),
        (&*overlap, e.aupro),
    ] {
        let cell =
            |of: fn(Interval) -> f64| interval.map_or_else(|| "-".to_owned(), |i| format!("{:.4}", of(i)));
        metrics.add_row([
            name.to_owned(),
            cell(|i| i.value),
            cell(|i| i.low),
            cell(|i| i.high),
        ]);
    }
    out.push_str(&trimmed(&metrics));
    if e.aupro.is_none() {
        let _ = writeln!(
            out,
            "no metrics of pixels: the method has no maps, or there are no masks"
        );
    }
    let (good, defective) = e.worst(worst);
    for (title, images) in [
        ("Good images with the highest scores", good),
        ("Defective images with the lowest scores", defective),
    ] {
        if !images.is_empty() {
            let _ = writeln!(out, "\n{title}");
            out.push_str(&images_table(&images));
        }
    }
    for (title, failed) in [
        ("Images that could not be scored", &e.failed),
        (
            "Images whose pixels are not counted, for want of their masks",
            &e.failed_masks,
        ),
    ] {
        if !failed.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for failed in failed {
            let _ = writeln!(out, " {}: {}", failed.image, failed.error);
        }
    }
    out
}

fn images_table(images: &[&EvaluatedImage]) -> String {
    let mut rows = table(&["image", "score", "p-value", "verdict"], &[1, 2]);
    for image in images {
        let wrong = image.is_called_defective != image.defect.is_some();
        let verdict = if image.is_called_defective {
            "defective"
        } else {
            "good"
        };
        rows.add_row([
            image.image.clone(),
            format!("{:.6}", image.score),
            format!("{:.4}", image.p_value),
            format!("{verdict}{}", if wrong { ", which is wrong" } else { "" }),
        ]);
    }
    trimmed(&rows)
}
