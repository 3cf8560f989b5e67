//! `blemish eval`: how well a model file finds the defects of a test set.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blemish::detectors::{BootstrapOptions, Interval};
use blemish::eval::{EvalConfig, EvaluatedImage, Evaluation, evaluate};
use blemish::inspector::{FitEvent, Inspector, Samples, with_threads};
use clap::{Args, ValueEnum};

use crate::args::{seed, threads};
use crate::fit::{Progress, own_weights};
use crate::output::print;
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
    /// How many of the worst images of each kind to list
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) worst: usize,
    /// How often images are drawn anew for the intervals of 95 %
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
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
    let config = EvalConfig {
        bootstrap: BootstrapOptions {
            resamples: args.resamples as usize,
            seed: args.seed,
            ..BootstrapOptions::default()
        },
        ..EvalConfig::default()
    };
    let weights = args.weights.clone().or_else(own_weights);
    let evaluation = with_threads(args.threads, || -> Result<Evaluation, blemish::Error> {
        let inspector = Inspector::load(&args.model, weights.as_deref())?;
        let progress = Progress::new();
        let total = samples.test.len();
        let evaluation = evaluate(&inspector, &samples.test, &config, &|done| {
            let step = "test images";
            progress.on_event(&FitEvent::Progress { step, done, total });
        });
        progress.finish();
        evaluation
    })?;
    match args.format {
        EvalFormat::Table => print(text(&evaluation, args.worst).trim_end())?,
        EvalFormat::Json => print(serde_json::to_string_pretty(&evaluation)?)?,
    }
    Ok(if evaluation.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(e: &Evaluation, worst: usize) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} good and {} defective images; {} good ones called defective, {} defective ones called good",
        e.good, e.defective, e.false_rejects, e.missed
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
    if !e.failed.is_empty() {
        let _ = writeln!(out, "\nImages that could not be scored");
        for failed in &e.failed {
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
