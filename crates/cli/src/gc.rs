//! `blemish gc`: what a run does not need any more.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blemish::lab::{Bytes, Plan, RunFolder, collect_garbage};
use clap::Args;

use crate::commands::plural;
use crate::output::print;

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Run folder
    run: PathBuf,
    /// Remove all inner products that were kept; new settings of detectors then need the images again
    #[arg(long)]
    products: bool,
}

pub(crate) fn run(args: &GcArgs) -> Result<ExitCode> {
    let plan = Plan::recall(&args.run)?;
    // Nobody else may write meanwhile.
    let _folder = RunFolder::create_unchecked(&args.run, &plan)?;
    let removed = collect_garbage(&args.run, &plan, args.products)?;
    print(format!(
        "removed {} file{} ({}); {} of inner products are kept",
        removed.files,
        plural(removed.files),
        Bytes(removed.bytes),
        Bytes(removed.kept)
    ))?;
    Ok(ExitCode::SUCCESS)
}
