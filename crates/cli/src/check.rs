//! `blemish check`: what is wrong with images before anything is learned from them.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blemish::check::{CheckConfig, CheckReport, CheckedObject, Severity, check};
use blemish::inspector::{FitEvent, with_threads};
use clap::{Args, ValueEnum};

use crate::args::{seed, threads};
use crate::commands::plural;
use crate::fit::{Progress, own_weights};
use crate::output::print;

/// Files that are named below a finding.
const NAMED: usize = 6;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A data set or an object in the MVTec layout, a folder of good images, or a .csv of
    /// path,label[,mask][,split]
    pub(crate) data: PathBuf,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub(crate) format: CheckFormat,
    /// Do not look for good images that are unlike the others, which takes the time of a fit
    #[arg(long)]
    pub(crate) quick: bool,
    /// Folder with weights files; without ResNet-18's there, random weights serve [default: that of
    /// `blemish weights`]
    #[arg(long, value_name = "FOLDER", env = "BLEMISH_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// Seed of what is drawn at random
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Threads; the default is one for each core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// Lines for a person
    Text,
    /// One object
    Json,
}

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let config = CheckConfig {
        suspects: !args.quick,
        weights: args.weights.clone().or_else(own_weights),
        seed: args.seed,
    };
    let report = with_threads(args.threads, || {
        let progress = Progress::new();
        let report = check(&args.data, &config, &|event| {
            progress.on_event(&FitEvent::Progress {
                step: event.step,
                done: event.done,
                total: event.total,
            });
        });
        progress.finish();
        report
    })?;
    let errors = report.count(Severity::Error);
    match args.format {
        CheckFormat::Text => print(text(&report).trim_end())?,
        CheckFormat::Json => {
            let mut json = serde_json::to_value(&report)?;
            json["errors"] = errors.into();
            json["warnings"] = report.count(Severity::Warning).into();
            print(serde_json::to_string_pretty(&json)?)?;
        }
    }
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(report: &CheckReport) -> String {
    let mut out = String::new();
    for object in &report.objects {
        object_text(&mut out, object);
    }
    let count = |severity, what| {
        let n = report.count(severity);
        format!("{n} {what}{}", plural(n))
    };
    let _ = writeln!(
        out,
        "{}, {}",
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning")
    );
    out
}

fn object_text(out: &mut String, object: &CheckedObject) {
    let _ = writeln!(
        out,
        "{}: {} good images to learn from; to test with {} good and {} defective, {} with a mask",
        object.name, object.train, object.test_good, object.test_defective, object.masks
    );
    for finding in &object.findings {
        let _ = writeln!(out, "  {}: {}", finding.severity, finding.message);
        // A single file is in the message of an error already.
        if finding.files.len() == 1 && finding.message.contains(&finding.files[0]) {
            continue;
        }
        for file in finding.files.iter().take(NAMED) {
            let _ = writeln!(out, "    {file}");
        }
        if finding.files.len() > NAMED {
            let more = finding.files.len() - NAMED;
            let _ = writeln!(out, "    and {more} more: see --format json");
        }
    }
    let _ = writeln!(out);
}
