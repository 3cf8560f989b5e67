//! A part of a plan, computed by one of several processes that share nothing but the run folder.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::folder::RunFolder;
use super::known::Known;
use super::parts::{Part, Parts, Published};
use super::plan::{FeatureSet, Plan, Task};
use super::run::{Event, RunOptions, run};
use super::store::Outcome;
use crate::Error;
use crate::error::is_transient_kind;

/// A file of results that cannot be used, and why: it counts as missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPart {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What a call of [`run_shard`] did.
#[derive(Clone, Debug, Default)]
pub struct ShardSummary {
    /// Feature sets of the tasks that were chosen.
    pub feature_sets: usize,
    /// Those that had results before.
    pub found: usize,
    /// Those whose results this call published.
    pub published: usize,
    /// Those that somebody else published meanwhile, with the same results.
    pub second: usize,
    /// Those that have no results now: it was stopped, or what failed may succeed another time.
    pub unfinished: usize,
    /// Experiments computed by this call.
    pub computed: usize,
    /// Experiments whose published result is a failure.
    pub failed: usize,
    /// What failed and may succeed another time or elsewhere: nothing of it was published.
    pub transient: Vec<String>,
    /// Files with results that differ from those that were published before.
    pub differences: Vec<PathBuf>,
    /// Files that could not be used.
    pub damaged: Vec<DamagedPart>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// Computes those of `options.tasks` that have no results in the run folder `run`, stored or published, and publishes the results of each
/// feature set as soon as they are complete, in `RUN/parts`. Nothing else is written there but inner products that are
/// kept ([`Keep`](super::Keep)): any number of processes may do this at a time.
///
/// With `options.retry_failed` failed experiments are computed again. A feature set is published whole: when this is
/// stopped, the results of the one at hand are lost.
///
/// # Errors
/// [`Error::OtherPlan`] if there are results of another plan; if results cannot be written, or the images or weights
/// cannot be found.
pub fn run_shard(
    plan: &Plan,
    run_folder: &Path,
    options: &RunOptions,
    on_event: &dyn Fn(Event<'_>),
) -> Result<ShardSummary, Error> {
    let publisher = Publisher {
        plan,
        parts: Parts::in_run(run_folder, plan),
        options,
        incomplete: RefCell::default(),
        current: Cell::new(None),
        summary: RefCell::default(),
        error: RefCell::default(),
    };
    let tasks = options.chosen(plan)?;
    // Networks of one object share its prepared images. Before each object, results that came meanwhile are found.
    for group in tasks.chunk_by(|a, b| plan.tasks[*a].object == plan.tasks[*b].object) {
        publisher.tasks(group, run_folder, on_event)?;
        if publisher.summary.borrow().stopped {
            break;
        }
    }
    let mut summary = publisher.summary.into_inner();
    summary.unfinished = summary.feature_sets - summary.found - summary.published - summary.second;
    Ok(summary)
}

struct Publisher<'a> {
    plan: &'a Plan,
    parts: Parts,
    options: &'a RunOptions,
    /// Outcomes of feature sets that are not published yet, by index.
    incomplete: RefCell<BTreeMap<usize, HashMap<String, Outcome>>>,
    /// The feature set whose results come in.
    current: Cell<Option<usize>>,
    summary: RefCell<ShardSummary>,
    /// The first error of publishing: events cannot return it.
    error: RefCell<Option<Error>>,
}

impl Publisher<'_> {
    fn tasks(&self, tasks: &[usize], run_folder: &Path, on_event: &dyn Fn(Event<'_>)) -> Result<(), Error> {
        let plan = self.plan;
        let sets: Vec<usize> = tasks
            .iter()
            .flat_map(|task| plan.tasks[*task].feature_sets.clone())
            .collect();
        self.summary.borrow_mut().feature_sets += sets.len();
        // What one process computed and stored in the run folder need not be computed again. A store that cannot be read
        // from here, as it may be while another machine writes to it, only costs time.
        let known = Known::open(plan, run_folder).unwrap_or_else(|_| Known::of_parts(plan, run_folder));
        let retry = self.options.retry_failed;
        let mut there = vec![];
        let mut unfinished = 0;
        for i in sets {
            let set = &plan.feature_sets[i];
            let state = known.state(set)?;
            self.summary
                .borrow_mut()
                .damaged
                .extend(state.damaged.iter().cloned());
            let (missing, failed) = (state.missing, state.failed);
            let mut outcomes = known.outcomes(set, state)?;
            if missing > 0 || (failed > 0 && retry) {
                unfinished += 1;
                // A failure that is not to be tried again is a result; but not what another attempt may not meet.
                outcomes.retain(|_, outcome| match outcome {
                    Outcome::Done { .. } => true,
                    Outcome::Failed { kind, .. } => !retry && !is_transient_kind(kind),
                });
                self.incomplete.borrow_mut().insert(i, outcomes.clone());
            } else {
                let mut summary = self.summary.borrow_mut();
                summary.found += 1;
                summary.failed += failed;
            }
            there.extend(outcomes);
        }
        if unfinished == 0 {
            return Ok(());
        }
        let mut folder = RunFolder::in_memory(run_folder, plan)?;
        folder.store_mut().atomically(|store| {
            for (key, outcome) in &there {
                store.put(key, outcome)?;
            }
            Ok(())
        })?;
        let stop = self.options.stop.clone().unwrap_or_default();
        let options = RunOptions {
            tasks: Some(tasks.to_vec()),
            // What is to be computed again was left out above.
            retry_failed: false,
            stop: Some(stop.clone()),
            ..self.options.clone()
        };
        let ended = run(plan, &mut folder, &options, &|event| {
            match &event {
                Event::Stored { experiment, outcome } => {
                    if self.current.replace(Some(experiment.feature_set)) != Some(experiment.feature_set) {
                        self.publish();
                    }
                    let mut incomplete = self.incomplete.borrow_mut();
                    let set = incomplete.entry(experiment.feature_set).or_default();
                    set.insert(experiment.key.clone(), (*outcome).clone());
                }
                Event::TaskEnded { stats } if stats.complete => {
                    self.publish();
                    self.keep(self.parts.publish_stats(&plan.tasks[stats.task], stats));
                }
                _ => self.publish(),
            }
            if self.error.borrow().is_some() {
                // Computing more would be for nothing.
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            on_event(event);
        });
        self.publish();
        self.incomplete.borrow_mut().clear();
        self.current.set(None);
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let ended = ended?;
        let mut summary = self.summary.borrow_mut();
        summary.computed += ended.computed;
        summary.stopped |= ended.stopped;
        Ok(())
    }

    /// Publishes the feature sets that are complete.
    fn publish(&self) {
        let mut incomplete = self.incomplete.borrow_mut();
        let mut complete = vec![];
        for (&i, outcomes) in incomplete.iter() {
            if let Some(part) = Part::new(self.plan, &self.plan.feature_sets[i], outcomes) {
                complete.push((i, part));
            }
        }
        for (i, part) in complete {
            let set = &self.plan.feature_sets[i];
            let outcomes = incomplete.remove(&i).unwrap_or_default();
            let mut summary = self.summary.borrow_mut();
            if let Some(message) = transient(self.plan, set, &outcomes) {
                if !summary.transient.contains(&message) {
                    summary.transient.push(message);
                }
                continue;
            }
            match self.parts.publish(self.plan, set, &part) {
                Ok(published) => {
                    summary.failed += part.failed();
                    match published {
                        Published::First => summary.published += 1,
                        Published::Same => summary.second += 1,
                        Published::Different(path) => {
                            summary.second += 1;
                            summary.differences.push(path);
                        }
                    }
                }
                Err(error) => {
                    self.keep(Err(error));
                    return;
                }
            }
        }
    }

    /// Keeps the first error.
    fn keep(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.error.borrow_mut().get_or_insert(error);
        }
    }
}

/// The first failure, in the plan's order, that another attempt may not meet.
fn transient(plan: &Plan, set: &FeatureSet, outcomes: &HashMap<String, Outcome>) -> Option<String> {
    plan.experiments[set.experiments.clone()]
        .iter()
        .find_map(|e| match outcomes.get(&e.key) {
            Some(Outcome::Failed { kind, message }) if is_transient_kind(kind) => Some(message.clone()),
            _ => None,
        })
}

/// How far a task is, by what is stored and what processes published.
#[derive(Clone, Debug, Default)]
pub struct TaskState {
    /// Index into [`Plan::tasks`].
    pub task: usize,
    /// Its feature sets.
    pub feature_sets: usize,
    /// Those that lack results.
    pub missing: usize,
    /// Experiments whose result is a failure.
    pub failed: usize,
    /// Experiments with an outcome that is not in the store yet ([`merge`](super::merge)).
    pub unmerged: usize,
    /// Failures among those.
    pub unmerged_failures: usize,
    /// Failures in the store that a published result will replace.
    pub mended: usize,
    /// Files that cannot be used.
    pub damaged: Vec<DamagedPart>,
}

/// How far each of `tasks` is.
///
/// # Errors
/// As [`run_shard`], if files cannot be read or are of another plan.
pub fn task_states(
    plan: &Plan,
    run_folder: &Path,
    tasks: impl IntoIterator<Item = usize>,
) -> Result<Vec<TaskState>, Error> {
    let known = Known::open(plan, run_folder)?;
    tasks
        .into_iter()
        .map(|task| {
            let sets = &plan.feature_sets[plan.tasks[task].feature_sets.clone()];
            let mut of_task = TaskState {
                task,
                feature_sets: sets.len(),
                ..TaskState::default()
            };
            for set in sets {
                let state = known.state(set)?;
                of_task.missing += usize::from(state.missing > 0);
                of_task.failed += state.failed;
                of_task.unmerged += state.unmerged;
                of_task.unmerged_failures += state.unmerged_failures;
                of_task.mended += state.mended;
                of_task.damaged.extend(state.damaged);
            }
            Ok(of_task)
        })
        .collect()
}

impl Plan {
    /// The tasks of shard `shard` of `shards`, counted from 0: each task is in one of them, and what they cost is
    /// about equal. The same for whoever asks.
    pub fn shard(&self, shard: usize, shards: usize) -> Vec<usize> {
        let mut tasks: Vec<(u64, usize)> = self
            .tasks
            .iter()
            .enumerate()
            .map(|(i, t)| (self.cost(t), i))
            .collect();
        // The costliest first, each to the shard that has least to do.
        tasks.sort_by_key(|(cost, i)| (std::cmp::Reverse(*cost), *i));
        let mut load = vec![0u64; shards];
        let mut own = vec![];
        for (cost, task) in tasks {
            let least = load.iter().enumerate().min_by_key(|(i, load)| (**load, *i));
            let Some((to, _)) = least else { break };
            load[to] += cost.max(1);
            if to == shard {
                own.push(task);
            }
        }
        own.sort_unstable();
        own
    }

    /// What a task costs, about, in multiplications of the network: the images are most of it.
    fn cost(&self, task: &Task) -> u64 {
        use super::backbone::Backbone;
        use blemish_backbones::Architecture;
        let train = &self.feature_sets[task.feature_sets.clone()];
        let train = train.iter().map(|s| s.train_samples).max().unwrap_or(0);
        let images = train + self.objects[task.object].test.len();
        // Gigaflops an image at 224 x 224 pixels, of four blocks of the transformers.
        let image = match &task.backbone {
            Backbone::Builtin { architecture, .. } => match architecture {
                Architecture::Resnet18 => 4,
                Architecture::Resnet50 => 8,
                Architecture::WideResnet50_2 => 23,
                Architecture::VitBase16 => 12,
                Architecture::VitBase32 => 3,
            },
            Backbone::Onnx(_) => 10,
        };
        // Products and detectors cost as much as a few images for each experiment.
        let experiments = self.task_experiments(task).len();
        (images * image + 8 * experiments) as u64
    }
}
