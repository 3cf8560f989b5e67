//! The progress bar of a run; plain lines where standard error is no terminal.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use blemish::lab::{Event, Outcome, Plan};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::output::note;

/// Shows what is done, what is left and how long that will take.
pub(crate) struct RunProgress<'a> {
    plan: &'a Plan,
    bar: ProgressBar,
    terminal: bool,
    start: Instant,
    finished_before: Cell<usize>,
    images: Cell<usize>,
    images_of_tasks_before: Cell<usize>,
    images_of_task: Cell<usize>,
    done: Cell<usize>,
    failed: Cell<usize>,
    task: RefCell<String>,
    last_line: Cell<Option<Instant>>,
}

/// What an experiment costs, inner products included, in images that go through ResNet-18: measured on bottle, where 1337
/// images took 27 s and 426 experiments 16 s. Only the time left is made from it.
const IMAGES_AN_EXPERIMENT: f64 = 2.0;

/// How often a plain line is written to a log.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl<'a> RunProgress<'a> {
    pub(crate) fn new(plan: &'a Plan) -> RunProgress<'a> {
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
            bar,
            terminal,
            start: Instant::now(),
            finished_before: Cell::new(0),
            images: Cell::new(0),
            images_of_tasks_before: Cell::new(0),
            images_of_task: Cell::new(0),
            done: Cell::new(0),
            failed: Cell::new(0),
            task: RefCell::default(),
            last_line: Cell::new(None),
        }
    }

    pub(crate) fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Started {
                total,
                finished,
                images,
            } => {
                self.images.set(*images);
                self.finished_before.set(*finished);
                self.done.set(*finished);
                self.bar.set_position(*finished as u64);
                if *finished > 0 {
                    note(format!(
                        "resuming: {finished} of {total} experiments have a result already"
                    ));
                }
            }
            Event::Task { name } => {
                self.task.replace(name.clone());
                let before = self.images_of_tasks_before.get() + self.images_of_task.take();
                self.images_of_tasks_before.set(before);
                self.say("reading images");
            }
            Event::Images { done, total, .. } => {
                self.images_of_task.set(*done);
                self.say(&format!("features of {done}/{total} images"));
            }
            Event::Products { layer } => self.say(&format!("{layer}: inner products")),
            Event::Stored { experiment, outcome } => {
                self.done.set(self.done.get() + 1);
                if let Outcome::Failed { message, .. } = outcome {
                    self.failed.set(self.failed.get() + 1);
                    // The first few tell what is wrong; the rest is in the store.
                    if self.failed.get() <= 3 {
                        let text = format!("failed: {}: {message}", self.plan.describe(experiment));
                        self.bar.suspend(|| note(text));
                    }
                }
                self.bar.set_position(self.done.get() as u64);
                let layer = &self.plan.feature_sets[experiment.feature_set].layer;
                self.say(&format!("{layer}: {}", experiment.spec.model_name()));
            }
            _ => {}
        }
    }

    /// Time left, from the rate so far; `None` before there is one.
    fn left(&self) -> Option<Duration> {
        let images = self.images_of_tasks_before.get() + self.images_of_task.get();
        let experiments = self.done.get() - self.finished_before.get();
        let done = images as f64 + IMAGES_AN_EXPERIMENT * experiments as f64;
        let experiments = self.plan.experiments.len() - self.finished_before.get();
        let total = self.images.get() as f64 + IMAGES_AN_EXPERIMENT * experiments as f64;
        (done > 0.0).then(|| self.start.elapsed().mul_f64((total - done).max(0.0) / done))
    }

    fn say(&self, what: &str) {
        let left = self
            .left()
            .map_or_else(|| "?".to_owned(), |d| HumanDuration(d).to_string());
        let failures = match self.failed.get() {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        let task = self.task.borrow();
        if self.terminal {
            self.bar.set_prefix(left);
            self.bar.set_message(format!("{task} {what}{failures}"));
        } else if self.last_line.get().is_none_or(|t| t.elapsed() >= LINE_EVERY) {
            self.last_line.set(Some(Instant::now()));
            note(format!(
                "{}/{} experiments{failures}, {left} left: {task} {what}",
                self.done.get(),
                self.plan.experiments.len()
            ));
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
