//! `blemish report` and `blemish import-published`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use blemish::lab::{Store, import_published};
use clap::Args;

use crate::output::{note, print};

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Run folder
    pub(crate) run: PathBuf,
    /// Folder to write to: report.html, tables/ and figures/ [default: RUN/report]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// A published table of results to set beside: CSV or gzipped CSV, with the columns of `blemish export`
    #[arg(long, value_name = "FILE")]
    pub(crate) published: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The table: CSV or gzipped CSV, with the columns of `blemish export`
    pub(crate) table: PathBuf,
    /// Run folder to make; new or empty
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
}

pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let output = args.output.clone().unwrap_or_else(|| args.run.join("report"));
    write(&args.run, &output, args.published.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// What a mean AUROC is by who chooses the setting, as the report has it.
pub(crate) fn print_choices(store: &Store) -> Result<()> {
    let (choices, basis) = blemish::report::choices(store)?;
    let mut text = String::from("Mean AUROC over objects, by who chooses the setting");
    for (name, mean, interval) in choices {
        let mean = mean.map_or_else(|| "-".to_owned(), |m| format!("{m:.3}"));
        let interval = interval.map_or_else(String::new, |(low, high)| format!(" ({low:.3} to {high:.3})"));
        text.push_str(&format!("\n  {name:<20}  {mean}{interval}"));
    }
    print(format!("{text}\n  {basis}"))
}

/// Makes the report and says where it is.
pub(crate) fn write(run: &Path, output: &Path, published: Option<&Path>) -> Result<()> {
    let store = Store::open(run)?;
    refuse_data_folder(&store, output)?;
    crate::cluster::tell_unmerged(run);
    let report = blemish::report::report(&store, published)?;
    let page = report.write(output)?;
    if !report.warnings.is_empty() {
        note(format!("{} warnings; the report has them", report.warnings.len()));
    }
    print(format!("wrote {}", page.display()))
}

/// Files among the images would be taken for objects and kinds of defects by the next run.
fn refuse_data_folder(store: &Store, output: &Path) -> Result<()> {
    let Some(output) = as_it_will_be(output) else {
        return Ok(());
    };
    let note = store.note("data")?.unwrap_or_default();
    let objects = note.as_object().into_iter().flatten();
    for folder in objects.filter_map(|(_, object)| object["folder"].as_str().map(Path::new)) {
        let data = folder.parent().unwrap_or(folder);
        if output.starts_with(folder) || output == data {
            anyhow::bail!(
                "{} is in the folder of images {}: give another --output, so that no run takes the report for images",
                output.display(),
                data.display()
            );
        }
    }
    Ok(())
}

/// The absolute path of a folder that need not be there yet; `None` where that cannot be said.
fn as_it_will_be(folder: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find(|a| a.exists())?;
    let rest = absolute.strip_prefix(there).ok()?;
    let real = there.canonicalize().ok()?;
    // Joining nothing would add a slash.
    Some(if rest.as_os_str().is_empty() {
        real
    } else {
        real.join(rest)
    })
}

pub(crate) fn import(args: &ImportArgs) -> Result<ExitCode> {
    let imported = import_published(&args.table, &args.out)?;
    print(format!(
        "imported {} experiments of {} feature sets into {}; {} have no AUROC\nNext: blemish report {}",
        imported.experiments,
        imported.feature_sets,
        args.out.display(),
        imported.failed,
        args.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
