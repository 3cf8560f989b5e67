//! `blemish status`: how far a run is, from any shell.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use blemish::lab::{Bytes, RunStatus};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanDuration;

use crate::output::print;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Run folder
    run: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let status = RunStatus::read(&args.run)?;
    match args.format {
        Format::Text => print(text(&status, &args.run).trim_end())?,
        Format::Json => print(serde_json::to_string_pretty(&status)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let seconds = Duration::try_from_secs_f64(seconds.round())
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

fn text(status: &RunStatus, run: &Path) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let left = status.total - status.done - status.failed;
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} of {} experiments done, {} failed, {left} left",
        status.done, status.total, status.failed
    );
    match (&status.process, status.running) {
        (Some(p), true) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs());
            let ago = now.saturating_sub(p.updated);
            let _ = writeln!(
                out,
                "process {} works on {}: {}; {} left (told {ago} s ago)",
                p.process,
                p.task
                    .and_then(|t| status.tasks.get(t))
                    .map_or("the run", |t| t.name.as_str()),
                p.stage,
                p.left_s
                    .map_or("?".into(), |s| HumanDuration(Duration::from_secs_f64(s))
                        .to_string())
            );
        }
        (None, true) => out.push_str("a process works on it\n"),
        (_, false) if left > 0 => {
            let _ = writeln!(
                out,
                "no process holds the run folder: `blemish run {}` does what is left",
                run.display()
            );
        }
        _ => {}
    }
    if status.unmerged > 0 {
        let _ = writeln!(
            out,
            "{} of these are published and not merged yet: `blemish merge {}` puts them into the store",
            status.unmerged,
            run.display()
        );
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "task",
        "object, network, weights",
        "done",
        "failed",
        "of",
        "time",
        "predicted",
        "memory",
    ]);
    for right in [0, 2, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for t in &status.tasks {
        table.add_row([
            t.task.to_string(),
            t.name.clone(),
            t.done.to_string(),
            t.failed.to_string(),
            t.total.to_string(),
            if t.seconds > 0.0 {
                duration(t.seconds)
            } else {
                "-".into()
            },
            t.predicted_s.map_or("-".into(), duration),
            t.peak_memory.map_or("-".into(), |b| Bytes(b).to_string()),
        ]);
    }
    for line in table.to_string().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for failure in &status.failures {
        let _ = writeln!(out, "failed: {failure}");
    }
    out
}
