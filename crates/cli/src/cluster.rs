//! `blemish run`, `missing` and `merge`: a plan on many machines, with a shared folder between them and nothing else.

use std::cell::Cell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use blemish::lab::{
    self, DamagedPart, Event, MergeSummary, Plan, RunFolder, RunOptions, RunStatus, ShardSummary, Store,
    Summary, TaskState, task_states,
};
use clap::Args;

use crate::commands::plural;
use crate::output::{self, note, print};
use crate::run_args::{RunArgs, STOPPED};
use crate::tables;

/// The exit code of what another attempt will not change.
pub(crate) const PERMANENT: u8 = 65;
/// The exit code of what is worth another attempt.
pub(crate) const AGAIN: u8 = STOPPED;

#[derive(Debug, Args)]
pub(crate) struct RunCommandArgs {
    /// Run folder with a plan
    pub(crate) run: PathBuf,
    /// Only these tasks of the plan, counted from 0, as in 3 or 3,5-9; their results go to RUN/parts
    #[arg(long, value_name = "LIST", value_parser = task_list, conflicts_with = "shard")]
    task: Option<TaskList>,
    /// Only the tasks of shard I of N, counted from 0, as in 0/4; their results go to RUN/parts
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,
    #[command(flatten)]
    pub(crate) options: RunArgs,
}

/// Tasks, ascending.
#[derive(Clone, Debug, PartialEq)]
struct TaskList(Vec<usize>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Shard {
    index: usize,
    of: usize,
}

/// More than any plan has tasks; keeps a slip of the finger from filling memory.
const MOST: usize = 1_000_000;

fn task_list(text: &str) -> Result<TaskList, String> {
    let number = |text: &str| match text.parse::<usize>() {
        Ok(n) if n < MOST => Ok(n),
        _ => Err(format!(
            "`{text}` is no task: give numbers and ranges, as in 3,5-9"
        )),
    };
    let mut tasks = vec![];
    for item in text.split(',') {
        match item.split_once('-') {
            None => tasks.push(number(item)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("`{item}` runs backwards"));
                }
                tasks.extend(first..=last);
            }
        }
    }
    tasks.sort_unstable();
    tasks.dedup();
    Ok(TaskList(tasks))
}

fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').map(|(i, n)| (i.parse(), n.parse()));
    match numbers {
        Some((Ok(index), Ok(of))) if index < of && of < MOST => Ok(Shard { index, of }),
        Some((Ok(index), Ok(of))) if 0 < of && of < MOST => Err(format!(
            "there is no shard {index} of {of}: they are 0/{of} to {}/{of}",
            of - 1
        )),
        _ => Err("give a shard and the number of shards, as in 0/4".into()),
    }
}

impl RunCommandArgs {
    /// The tasks that were chosen; `None` where none were.
    fn chosen(&self, plan: &Plan) -> Option<Vec<usize>> {
        match (&self.task, self.shard) {
            (Some(TaskList(tasks)), _) => Some(tasks.clone()),
            (None, Some(shard)) => Some(plan.shard(shard.index, shard.of)),
            (None, None) => None,
        }
    }

    /// Whether this is one of several processes.
    pub(crate) fn is_shard(&self) -> bool {
        self.task.is_some() || self.shard.is_some()
    }
}

/// Runs the chosen tasks and publishes their results. Errors become exit codes, for an engine to act on.
pub(crate) fn run(args: &RunCommandArgs) -> ExitCode {
    exit_code(run_chosen(args))
}

fn run_chosen(args: &RunCommandArgs) -> Result<ExitCode> {
    let plan = Plan::open(&args.run)?;
    let mut options = RunOptions {
        tasks: args.chosen(&plan),
        ..args.options.options()?
    };
    // Rows that do not fit into memory belong on a disk of this machine.
    if options.scratch.is_none() {
        options.scratch = std::env::var_os("TMPDIR")
            .map(PathBuf::from)
            .filter(|f| f.is_dir());
    }
    let progress = Progress::new(&plan);
    let start = Instant::now();
    let summary = lab::run_shard(&plan, &args.run, &options, &|event| progress.on_event(&event))?;
    let mut text = format!(
        "{} feature set{}: {} had results, {} published in {:.1} s",
        summary.feature_sets,
        plural(summary.feature_sets),
        summary.found,
        summary.published,
        start.elapsed().as_secs_f64(),
    );
    for (count, what) in [
        (summary.second, "published by somebody else meanwhile"),
        (summary.unfinished, "without results"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    note(text);
    tell_damaged(&summary.damaged);
    tell_differences(&summary.differences);
    for message in summary.transient.iter().take(3) {
        note(format!("worth another try: {message}"));
    }
    if summary.failed > 0 {
        note(format!(
            "{} experiment{} failed: the same command with --retry-failed computes them again",
            summary.failed,
            plural(summary.failed)
        ));
    }
    if summary.stopped {
        note("stopped: the same command goes on");
    }
    Ok(outcome(&summary))
}

fn outcome(summary: &ShardSummary) -> ExitCode {
    if summary.stopped || summary.unfinished > 0 {
        ExitCode::from(AGAIN)
    } else if summary.failed > 0 || !summary.differences.is_empty() {
        ExitCode::from(PERMANENT)
    } else {
        ExitCode::SUCCESS
    }
}

/// The exit code of `result`, whose error is printed here.
pub(crate) fn exit_code(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            let ours = error.downcast_ref::<blemish::Error>();
            ExitCode::from(match ours {
                Some(error) if error.is_transient() => AGAIN,
                _ => PERMANENT,
            })
        }
    }
}

fn tell_damaged(damaged: &[DamagedPart]) {
    for part in damaged {
        note(format!(
            "{}: {}; it counts as missing",
            part.path.display(),
            part.reason
        ));
    }
}

fn tell_differences(differences: &[PathBuf]) {
    for path in differences {
        note(format!(
            "difference: {} holds other results than those that were there first and stay; \
             the same input should give the same numbers on every machine",
            path.display()
        ));
    }
}

/// What was taken over from other processes, if anything was.
pub(crate) fn tell_merged(summary: &MergeSummary) {
    tell_damaged(&summary.damaged);
    tell_differences(&summary.differences);
    if summary.merged > 0 {
        note(format!(
            "{} result{} of other processes taken over from the folder parts",
            summary.merged,
            plural(summary.merged)
        ));
    }
}

/// Says that tables are without what is not merged yet, where there is some.
pub(crate) fn tell_unmerged(run: &Path) {
    // A courtesy: what stands in the way of reading the run is met by whoever reads it.
    let unmerged = RunStatus::read(run).map_or(0, |status| status.unmerged);
    if unmerged > 0 {
        note(format!(
            "{unmerged} result{} not merged yet, and not in this: `blemish merge {}` adds them",
            if unmerged == 1 { " is" } else { "s are" },
            run.display()
        ));
    }
}

/// Lines for a log.
struct Progress<'a> {
    plan: &'a Plan,
    last: Cell<Option<Instant>>,
}

const LINE_EVERY: Duration = Duration::from_secs(30);

impl<'a> Progress<'a> {
    fn new(plan: &'a Plan) -> Progress<'a> {
        Progress {
            plan,
            last: Cell::new(None),
        }
    }

    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Task { name, .. } => {
                self.last.set(Some(Instant::now()));
                note(format!("task {name}"));
            }
            Event::Images { done, total, .. } => self.say(|| format!("features of {done}/{total} images")),
            Event::Products { layer } => self.say(|| format!("{layer}: inner products")),
            Event::Stored { experiment, .. } => self.say(|| self.plan.describe(experiment)),
            _ => {}
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.last.get().is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last.set(Some(Instant::now()));
            note(format!("  {}", what()));
        }
    }
}

/// How missing tasks are written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum MissingFormat {
    /// As in 0,3-5, for `sbatch --array` and `blemish run --task`
    Ranges,
    /// One number a line
    Lines,
    /// One object a task, with what is missing of it
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct MissingArgs {
    /// Run folder with a plan
    run: PathBuf,
    /// How they are written; with nothing missing, `ranges` and `lines` print nothing
    #[arg(long, value_enum, default_value = "lines")]
    format: MissingFormat,
    /// Tasks with failed experiments as well, for `blemish run --retry-failed`
    #[arg(long)]
    failed: bool,
}

pub(crate) fn missing(args: &MissingArgs) -> Result<ExitCode> {
    let plan = Plan::recall(&args.run)?;
    let mut states = task_states(&plan, &args.run, 0..plan.tasks.len())?;
    states.retain(|s| s.missing > 0 || (args.failed && s.failed > 0));
    for state in &states {
        tell_damaged(&state.damaged);
    }
    let tasks: Vec<usize> = states.iter().map(|s| s.task).collect();
    match args.format {
        MissingFormat::Json => print(json(&plan, &states))?,
        _ if tasks.is_empty() => {}
        MissingFormat::Ranges => print(ranges(&tasks))?,
        MissingFormat::Lines => {
            let lines: Vec<String> = tasks.iter().map(usize::to_string).collect();
            print(lines.join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ascending numbers as in 0,3-5.
pub(crate) fn ranges(tasks: &[usize]) -> String {
    let mut text = String::new();
    for run in tasks.chunk_by(|a, b| a + 1 == *b) {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = match run {
            [one] => write!(text, "{comma}{one}"),
            [first, .., last] => write!(text, "{comma}{first}-{last}"),
            [] => Ok(()),
        };
    }
    text
}

fn json(plan: &Plan, states: &[TaskState]) -> String {
    let tasks: Vec<serde_json::Value> = states
        .iter()
        .map(|s| {
            serde_json::json!({
                "task": s.task,
                "name": plan.task_name(&plan.tasks[s.task]),
                "feature_sets": s.feature_sets,
                "missing": s.missing,
                "failed": s.failed,
                "unmerged": s.unmerged + s.mended,
            })
        })
        .collect();
    serde_json::to_string_pretty(&tasks).unwrap_or_default()
}

pub(crate) fn merge(run: &Path) -> Result<ExitCode> {
    let plan = Plan::recall(run)?;
    let mut folder = RunFolder::create_unchecked(run, &plan)?;
    let merged = lab::merge(&plan, run, &mut folder)?;
    tell_damaged(&merged.damaged);
    tell_differences(&merged.differences);
    note(format!(
        "{} results merged: {} of {} experiments done, {} failed",
        merged.merged, merged.done, merged.total, merged.failed
    ));
    drop(folder);
    if merged.done + merged.failed > 0 {
        print(tables::summary(&Summary::new(&Store::open(run)?.rows()?)))?;
    }
    if !merged.missing.is_empty() {
        note(format!("tasks without results: {}", ranges(&merged.missing)));
        return Ok(ExitCode::from(AGAIN));
    }
    Ok(if merged.failed > 0 || !merged.differences.is_empty() {
        ExitCode::from(PERMANENT)
    } else {
        ExitCode::SUCCESS
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tasks() {
        let list = |text| task_list(text).map(|l| l.0);
        assert_eq!(list("3"), Ok(vec![3]));
        assert_eq!(list("5-7,3,6"), Ok(vec![3, 5, 6, 7]));
        for wrong in ["", ",", "3,", "a", "-1", "5-3", "1-", "0-99999999999", "1:2"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ranges(&[0, 3, 4, 5, 9]), "0,3-5,9");
        assert_eq!(ranges(&[]), "");
        assert_eq!(list(&ranges(&[0, 1, 7])), Ok(vec![0, 1, 7]));
    }

    #[test]
    fn shards_are_counted_from_0() {
        assert_eq!(shard("0/4"), Ok(Shard { index: 0, of: 4 }));
        assert!(shard("4/4").unwrap_err().contains("0/4 to 3/4"));
        for wrong in ["", "1", "/", "0/0", "-1/4", "1/x", "0/99999999999"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
