//! How far a run is, for its own progress bar and for other processes: `RUN/status.json`, rewritten every second or so.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::folder::RunFolder;
use super::parts::FOLDER;
use super::plan::Plan;
use super::predict::TaskPrediction;
use super::run::Event;
use super::shard::{TaskState, task_states};
use super::stats::TaskStats;
use super::store::{Outcome, Store};
use crate::Error;

/// What a running process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Its id.
    pub process: u32,
    /// When it began, and when it wrote this, in seconds since 1970.
    pub started: u64,
    /// See `started`.
    pub updated: u64,
    /// The task that it computes, by index.
    pub task: Option<usize>,
    /// What it does with it, in words.
    pub stage: String,
    /// Experiments of the task that have an outcome, and all that are to be computed.
    pub of_task: [usize; 2],
    /// Experiments with an outcome, failures among them, and all that were chosen.
    pub done: usize,
    /// See `done`.
    pub failed: usize,
    /// See `done`.
    pub total: usize,
    /// Seconds that are left, by the rates measured so far; `None` before there are any.
    pub left_s: Option<f64>,
}

fn path_in(run: &Path) -> PathBuf {
    run.join("status.json")
}

/// Follows the events of a run: what is done, how fast, and how long the rest will take.
///
/// The work of a task is what was predicted for it. What tasks took is compared with that, for each network by itself
/// where one of its tasks has ended, and the rest is expected to go as that did.
#[derive(Debug)]
pub struct Tracker {
    /// Predicted seconds and network of each task.
    predicted: BTreeMap<usize, ([f64; 3], String)>,
    /// Seconds spent, and seconds predicted for the same, by network.
    measured: BTreeMap<String, (f64, f64)>,
    heartbeat: Heartbeat,
    start: Instant,
    task_start: Instant,
    /// Part of the task's predicted seconds that is done.
    part: f64,
    pending: Vec<usize>,
    run: Option<PathBuf>,
    written: Option<Instant>,
}

const WRITE_EVERY: Duration = Duration::from_secs(1);

impl Tracker {
    /// For tasks with these predictions. `run` is where `status.json` is written, if anywhere.
    pub fn new(plan: &Plan, predictions: &[TaskPrediction], run: Option<&Path>) -> Tracker {
        let predicted = predictions
            .iter()
            .filter(|p| p.finished < p.experiments)
            .map(|p| (p.task, (p.stages_s, plan.tasks[p.task].backbone.architecture())));
        let predicted: BTreeMap<_, _> = predicted.collect();
        let pending = predicted.keys().copied().collect();
        let now = Instant::now();
        Tracker {
            predicted,
            measured: BTreeMap::new(),
            heartbeat: Heartbeat {
                process: std::process::id(),
                started: seconds_since_1970(),
                ..Heartbeat::default()
            },
            start: now,
            task_start: now,
            part: 0.0,
            pending,
            run: run.map(Path::to_owned),
            written: None,
        }
    }

    /// What is known now.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Takes note of an event.
    pub fn on_event(&mut self, event: &Event<'_>) {
        match event {
            // Before the start it is among what is finished then.
            Event::Merged { summary } => {
                let done = self.heartbeat.done + summary.merged;
                self.heartbeat.done = done.min(self.heartbeat.total);
            }
            Event::Started { total, finished, .. } => {
                self.heartbeat.total = *total;
                self.heartbeat.done = *finished;
            }
            Event::Task {
                index, experiments, ..
            } => {
                self.heartbeat.task = Some(*index);
                self.heartbeat.of_task = [0, *experiments];
                self.heartbeat.stage = "reading images".into();
                self.pending.retain(|task| task != index);
                self.task_start = Instant::now();
                self.part = 0.0;
            }
            Event::Images { done, total, .. } => {
                self.heartbeat.stage = format!("features of {done}/{total} images");
                let [features, ..] = self.stages();
                self.part = features * *done as f64 / (*total).max(1) as f64;
            }
            Event::Products { layer } => self.heartbeat.stage = format!("{layer}: inner products"),
            Event::Stored { experiment, outcome } => {
                self.heartbeat.done += 1;
                self.heartbeat.of_task[0] += 1;
                if matches!(outcome, Outcome::Failed { .. }) {
                    self.heartbeat.failed += 1;
                }
                self.heartbeat.stage = experiment.spec.model_name().into();
                let [features, products, detectors] = self.stages();
                let [done, of] = self.heartbeat.of_task;
                self.part = features + (products + detectors) * done as f64 / of.max(1) as f64;
            }
            Event::TaskEnded { stats } => {
                if stats.complete
                    && stats.failed == 0
                    && let Some((stages, network)) = self.predicted.get(&stats.task)
                {
                    let (spent, expected) = self.measured.entry(network.clone()).or_default();
                    *spent += stats.seconds;
                    *expected += stages.iter().sum::<f64>();
                }
                self.heartbeat.task = None;
            }
        }
        self.heartbeat.left_s = self.left();
        self.write(false);
    }

    /// Writes the last state, and that nothing is being computed any more.
    pub fn finish(&mut self) {
        self.heartbeat.task = None;
        self.heartbeat.stage = "ended".into();
        self.write(true);
    }

    fn stages(&self) -> [f64; 3] {
        let task = self.heartbeat.task.and_then(|task| self.predicted.get(&task));
        task.map_or([0.0; 3], |(stages, _)| *stages)
    }

    /// Seconds that are left.
    fn left(&self) -> Option<f64> {
        let of_task = self.heartbeat.task.and_then(|task| self.predicted.get(&task));
        let current: f64 = of_task.map_or(0.0, |(stages, _)| stages.iter().sum());
        let spent_now = self.task_start.elapsed().as_secs_f64();
        let (mut spent, mut expected) = (0.0, 0.0);
        for (s, e) in self.measured.values() {
            spent += s;
            expected += e;
        }
        // The task under way counts once enough of it is done to tell.
        if self.heartbeat.task.is_some() && self.part > 0.02 * current && spent_now > 1.0 {
            spent += spent_now;
            expected += self.part;
        }
        if expected <= 0.0 {
            return None;
        }
        let overall = spent / expected;
        let factor = |network: &String| match self.measured.get(network) {
            Some((spent, expected)) if *expected > 0.0 => spent / expected,
            _ => overall,
        };
        let rest: f64 = self
            .pending
            .iter()
            .filter_map(|task| self.predicted.get(task))
            .map(|(stages, network)| stages.iter().sum::<f64>() * factor(network))
            .sum();
        let here = of_task.map_or(0.0, |(_, network)| {
            (current - self.part).max(0.0) * factor(network)
        });
        Some(rest + here)
    }

    /// A courtesy to others: what cannot be written is no error.
    fn write(&mut self, now: bool) {
        let Some(run) = &self.run else {
            return;
        };
        if !now && self.written.is_some_and(|t| t.elapsed() < WRITE_EVERY) {
            return;
        }
        self.written = Some(Instant::now());
        self.heartbeat.updated = seconds_since_1970();
        let path = path_in(run);
        let partial = run.join(".status.json");
        if let Ok(text) = serde_json::to_string(&self.heartbeat) {
            let _ = std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, &path));
        }
    }
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}

/// A task in the status of a run.
#[derive(Clone, Debug, Serialize)]
pub struct TaskStatus {
    /// Index in the plan.
    pub task: usize,
    /// Object, network, weights.
    pub name: String,
    /// Experiments.
    pub total: usize,
    /// With a result.
    pub done: usize,
    /// Failed.
    pub failed: usize,
    /// Of those done and failed: published by other processes and not merged into the store yet.
    pub unmerged: usize,
    /// Seconds that were spent on it.
    pub seconds: f64,
    /// Seconds that were expected when it was planned, where that is known.
    pub predicted_s: Option<f64>,
    /// The most memory that it took, in bytes.
    pub peak_memory: Option<u64>,
}

/// How far a run is.
#[derive(Clone, Debug, Serialize)]
pub struct RunStatus {
    /// Experiments.
    pub total: usize,
    /// With a result.
    pub done: usize,
    /// Failed.
    pub failed: usize,
    /// Of those done and failed: published by other processes and not merged into the store yet
    /// ([`merge`](super::merge)).
    pub unmerged: usize,
    /// Whether a process works on it now.
    pub running: bool,
    /// What that process says, or said last.
    pub process: Option<Heartbeat>,
    /// By task, in the plan's order.
    pub tasks: Vec<TaskStatus>,
    /// The latest failures, in words, at most five.
    pub failures: Vec<String>,
}

impl RunStatus {
    /// Reads the status of a run, whether or not it is going on; nothing is written.
    ///
    /// # Errors
    /// [`Error::NoRun`] if there is none, or if SQLite fails.
    pub fn read(run: &Path) -> Result<RunStatus, Error> {
        let store = Store::open(run)?;
        let stats = store.task_stats()?;
        let mut seconds: HashMap<&str, (f64, Option<u64>)> = HashMap::new();
        for TaskStats {
            key,
            seconds: s,
            peak_memory,
            ..
        } in &stats
        {
            let entry = seconds.entry(key).or_default();
            entry.0 += s;
            entry.1 = entry.1.max(*peak_memory);
        }
        let counts = store.task_counts()?;
        let keys = task_keys(run);
        let unmerged = unmerged(run);
        let predictions = store.predictions()?;
        let tasks: Vec<TaskStatus> = counts
            .iter()
            .enumerate()
            .map(|(task, c)| {
                let key = keys.get(task).map(String::as_str);
                let of = key.and_then(|key| seconds.get(key)).copied().unwrap_or_default();
                let beside = unmerged.get(task).cloned().unwrap_or_default();
                TaskStatus {
                    task,
                    name: c.name.clone(),
                    total: c.total,
                    done: c.done + beside.unmerged - beside.unmerged_failures + beside.mended,
                    failed: c.failed + beside.unmerged_failures - beside.mended.min(c.failed),
                    unmerged: beside.unmerged + beside.mended,
                    seconds: of.0,
                    predicted_s: predictions
                        .iter()
                        .find(|p| p.task == task)
                        .map(TaskPrediction::seconds),
                    peak_memory: of.1,
                }
            })
            .collect();
        let text = std::fs::read_to_string(path_in(run)).ok();
        Ok(RunStatus {
            total: tasks.iter().map(|t| t.total).sum(),
            done: tasks.iter().map(|t| t.done).sum(),
            failed: tasks.iter().map(|t| t.failed).sum(),
            unmerged: tasks.iter().map(|t| t.unmerged).sum(),
            running: RunFolder::is_busy(run),
            process: text.and_then(|text| serde_json::from_str(&text).ok()),
            failures: store.latest_failures(5)?,
            tasks,
        })
    }
}

/// What was published of each task and is not merged yet; nothing where no plan says what to look for.
fn unmerged(run: &Path) -> Vec<TaskState> {
    if !run.join(FOLDER).is_dir() {
        return vec![];
    }
    let plan = Plan::recall(run);
    plan.and_then(|plan| task_states(&plan, run, 0..plan.tasks.len()))
        .unwrap_or_default()
}

/// Keys of the tasks by `plan.json`; none where it is not there.
fn task_keys(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("plan.json")).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let tasks = value["tasks"].as_array().into_iter().flatten();
    tasks
        .map(|t| t["key"].as_str().unwrap_or_default().to_owned())
        .collect()
}
