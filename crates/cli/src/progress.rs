//! The progress bar of a run; plain lines where standard error is no terminal.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use blemish::lab::{Bytes, Event, Outcome, Plan, TaskPrediction, TaskStats, Tracker};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::cluster::tell_merged;
use crate::output::note;
use crate::status::duration;

/// Shows what is done, what is left and how long that will take.
pub(crate) struct RunProgress<'a> {
    plan: &'a Plan,
    predictions: &'a [TaskPrediction],
    bar: ProgressBar,
    terminal: bool,
    tracker: RefCell<Tracker>,
    task: RefCell<String>,
    ended: RefCell<Vec<TaskStats>>,
    last_line: Cell<Option<Instant>>,
}

/// How often a plain line is written to a log.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How many failures are told one by one.
const FAILURES: usize = 3;

impl<'a> RunProgress<'a> {
    /// `run` is the folder in which others can read how far it is.
    pub(crate) fn new(
        plan: &'a Plan,
        predictions: &'a [TaskPrediction],
        run: Option<&Path>,
    ) -> RunProgress<'a> {
        let bar = ProgressBar::new(plan.experiments.len() as u64);
        let style = ProgressStyle::with_template(
            "{bar:30} {pos}/{len} experiments, {elapsed} so far, {prefix} left  {wide_msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix("?");
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        RunProgress {
            plan,
            predictions,
            bar,
            terminal,
            tracker: Tracker::new(plan, predictions, run).into(),
            task: RefCell::default(),
            ended: RefCell::default(),
            last_line: Cell::new(None),
        }
    }

    pub(crate) fn on_event(&self, event: &Event<'_>) {
        self.tracker.borrow_mut().on_event(event);
        match event {
            Event::Merged { summary } => {
                self.bar.suspend(|| tell_merged(summary));
                let length = self.bar.length().unwrap_or(0);
                self.bar
                    .set_position((self.bar.position() + summary.merged as u64).min(length));
                return;
            }
            Event::Started { total, finished, .. } => {
                self.bar.set_length(*total as u64);
                self.bar.set_position(*finished as u64);
                if *finished > 0 {
                    note(format!(
                        "resuming: {finished} of {total} experiments have a result already"
                    ));
                }
                return;
            }
            Event::Task { index, name, .. } => {
                let text = format!("task {} of {}, {name}", index + 1, self.plan.tasks.len());
                self.task.replace(text);
            }
            Event::TaskEnded { stats } => {
                self.ended.borrow_mut().push((*stats).clone());
                return;
            }
            Event::Stored { experiment, outcome } => {
                let failed = self.tracker.borrow().heartbeat().failed;
                // The first few tell what is wrong; the rest is in the store.
                if let Outcome::Failed { message, .. } = outcome
                    && failed <= FAILURES
                {
                    let text = format!("failed: {}: {message}", self.plan.describe(experiment));
                    self.bar.suspend(|| note(text));
                }
                self.bar.inc(1);
            }
            _ => {}
        }
        self.say();
    }

    fn say(&self) {
        let tracker = self.tracker.borrow();
        let now = tracker.heartbeat();
        let left = now.left_s.map_or_else(
            || "?".to_owned(),
            |s| HumanDuration(Duration::from_secs_f64(s)).to_string(),
        );
        let failures = match now.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        let task = self.task.borrow();
        let [done, of] = now.of_task;
        let text = format!("{task} ({done}/{of}): {}", now.stage);
        if self.terminal {
            self.bar.set_prefix(left);
            self.bar.set_message(format!("{text}{failures}"));
        } else if self.last_line.get().is_none_or(|t| t.elapsed() >= LINE_EVERY) {
            self.last_line.set(Some(Instant::now()));
            note(format!(
                "{}/{} experiments{failures}, {left} left: {text}",
                now.done, now.total
            ));
        }
    }

    pub(crate) fn finish(&self) {
        self.tracker.borrow_mut().finish();
        self.bar.finish_and_clear();
    }

    /// Says where the time went and, if this machine was `known` beforehand, how that compares with what was predicted.
    pub(crate) fn compare(&self, known: bool) {
        let ended = self.ended.borrow();
        let sum = |of: fn(&TaskStats) -> f64| ended.iter().map(of).sum::<f64>();
        if ended.is_empty() {
            return;
        }
        let peak = ended.iter().filter_map(|s| s.peak_memory).max();
        let memory = peak.map_or(String::new(), |b| format!(", at most {} of memory", Bytes(b)));
        note(format!(
            "weights {}, decoding {}, preprocessing {}, network {}, rows {}, inner products {}, detectors {}{memory}",
            duration(sum(|s| s.load_s)),
            duration(sum(|s| s.decode_s)),
            duration(sum(|s| s.preprocess_s)),
            duration(sum(|s| s.forward_s)),
            duration(sum(|s| s.rows_s)),
            duration(sum(|s| s.products_s)),
            duration(sum(|s| s.detectors_s)),
        ));
        if !known || ended.iter().any(|s| !s.complete) {
            return;
        }
        let of = |task: usize| self.predictions.iter().find(|p| p.task == task);
        let predicted: Vec<_> = ended.iter().filter_map(|s| of(s.task)).collect();
        let seconds: f64 = predicted.iter().map(|p| p.seconds()).sum();
        let memory = predicted.iter().map(|p| p.prediction.memory).max().unwrap_or(0);
        note(format!(
            "predicted {} and at most {} of memory; it took {}{}",
            duration(seconds),
            Bytes(memory),
            duration(sum(|s| s.seconds)),
            peak.map_or(String::new(), |b| format!(" and {}", Bytes(b))),
        ));
    }
}
