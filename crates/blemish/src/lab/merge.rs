//! Results that several processes published, put into the store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::folder::RunFolder;
use super::parts::{Found, Parts};
use super::plan::Plan;
use super::run::Event;
use super::shard::DamagedPart;
use super::store::{Outcome, Store};
use crate::Error;

/// What a call of [`merge`] did.
#[derive(Clone, Debug, Default)]
pub struct MergeSummary {
    /// Results put into the store by this call.
    pub merged: usize,
    /// Experiments with a result, now.
    pub done: usize,
    /// Failed experiments, now.
    pub failed: usize,
    /// Experiments in the plan.
    pub total: usize,
    /// Tasks that lack results, by index into [`Plan::tasks`].
    pub missing: Vec<usize>,
    /// Files that cannot be used.
    pub damaged: Vec<DamagedPart>,
    /// Files whose results differ from those that stay: something computed other numbers from the same input.
    pub differences: Vec<PathBuf>,
}

impl MergeSummary {
    /// Says so, where results were merged.
    pub(crate) fn tell(&self, on_event: &dyn Fn(Event<'_>)) {
        if self.merged > 0 {
            on_event(Event::Merged { summary: self });
        }
    }
}

/// Puts all results that were published in the run folder `run` ([`run_shard`](super::run_shard)) into its store: all
/// of them or, if there is an error, none.
///
/// It goes by the keys of the plan and never lists a folder. What the store has stays, but that a failure gives way to
/// a result. Done again it changes nothing.
///
/// # Errors
/// [`Error::OtherPlan`] if there are results of another plan; if files cannot be read or the store cannot be written.
pub fn merge(plan: &Plan, run: &Path, folder: &mut RunFolder) -> Result<MergeSummary, Error> {
    let parts = Parts::in_run(run, plan);
    let summary = take(plan, &parts, folder.store_mut(), 0..plan.tasks.len(), Take::All)?;
    folder.store().fold()?;
    Ok(summary)
}

/// As [`merge`], but what the store has is not compared with what was published: for whoever goes on with a run.
///
/// # Errors
/// As [`merge`].
pub fn take_over(plan: &Plan, folder: &mut RunFolder) -> Result<MergeSummary, Error> {
    take_over_tasks(plan, folder, 0..plan.tasks.len(), true)
}

/// As [`take_over`], of some tasks; with or without `failures`.
pub(crate) fn take_over_tasks(
    plan: &Plan,
    folder: &mut RunFolder,
    tasks: impl IntoIterator<Item = usize>,
    failures: bool,
) -> Result<MergeSummary, Error> {
    let parts = Parts::in_run(folder.path(), plan);
    if !folder.is_stored() || !parts.exist() {
        return Ok(MergeSummary::default());
    }
    take(
        plan,
        &parts,
        folder.store_mut(),
        tasks,
        Take::Lacking { failures },
    )
}

/// What is taken.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Take {
    /// All that was published; it is compared with what the store has.
    All,
    /// What the store lacks.
    Lacking {
        /// Failures too.
        failures: bool,
    },
}

/// Puts what was published of `tasks` into `store`: all of it or, if there is an error, nothing.
pub(crate) fn take(
    plan: &Plan,
    parts: &Parts,
    store: &mut Store,
    tasks: impl IntoIterator<Item = usize>,
    what: Take,
) -> Result<MergeSummary, Error> {
    parts.refresh();
    let mut summary = MergeSummary::default();
    let finished = store.finished()?;
    let told = store.task_stats()?;
    let told: HashSet<&str> = told.iter().map(|s| s.key.as_str()).collect();
    store.atomically(|store| {
        for index in tasks {
            let task = &plan.tasks[index];
            let mut taken = what == Take::All;
            for set in &plan.feature_sets[task.feature_sets.clone()] {
                let mut experiments = plan.experiments[set.experiments.clone()].iter();
                if what != Take::All && experiments.all(|e| finished.get(&e.key) == Some(&true)) {
                    continue;
                }
                summary.differences.extend(parts.difference(set));
                let part = match parts.read(plan, set)? {
                    Found::Part(part) => part,
                    Found::Nothing(damaged) => {
                        summary.damaged.extend(damaged);
                        let mut experiments = plan.experiments[set.experiments.clone()].iter();
                        let lacking = experiments.any(|e| !finished.contains_key(&e.key));
                        if lacking && summary.missing.last() != Some(&index) {
                            summary.missing.push(index);
                        }
                        continue;
                    }
                };
                let mut differs = false;
                for (key, outcome) in part.into_outcomes() {
                    if outcome.is_failure() && what == (Take::Lacking { failures: false }) {
                        continue;
                    }
                    match (finished.get(&key), &outcome) {
                        (None, _) | (Some(false), Outcome::Done { .. }) => {
                            store.put(&key, &outcome)?;
                            summary.merged += 1;
                            taken = true;
                        }
                        (Some(true), Outcome::Done { .. }) => differs |= !store.agrees(&key, &outcome)?,
                        (Some(_), Outcome::Failed { .. }) => {}
                    }
                }
                if differs {
                    summary.differences.push(parts.file(set));
                }
            }
            if taken && let Some(stats) = parts.stats(task).filter(|s| !told.contains(s.key.as_str())) {
                store.put_stats(&stats)?;
            }
        }
        Ok(())
    })?;
    let progress = store.progress()?;
    summary.done = progress.done;
    summary.failed = progress.failed;
    summary.total = progress.total;
    Ok(summary)
}
