//! Results that several processes published, put into the store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::folder::RunFolder;
use super::parts::{Found, Parts};
use super::plan::Plan;
use super::shard::DamagedPart;
use super::store::Outcome;
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
    parts.refresh();
    let mut summary = MergeSummary::default();
    let finished = folder.store().finished()?;
    let told = folder.store().task_stats()?;
    let told: HashSet<&str> = told.iter().map(|s| s.key.as_str()).collect();
    folder.store_mut().atomically(|store| {
        for (index, task) in plan.tasks.iter().enumerate() {
            if let Some(stats) = parts.stats(task).filter(|s| !told.contains(s.key.as_str())) {
                store.put_stats(&stats)?;
            }
            for set in &plan.feature_sets[task.feature_sets.clone()] {
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
                    match (finished.get(&key), &outcome) {
                        (None, _) | (Some(false), Outcome::Done { .. }) => {
                            store.put(&key, &outcome)?;
                            summary.merged += 1;
                        }
                        (Some(true), Outcome::Done { .. }) => differs |= !store.agrees(&key, &outcome)?,
                        (Some(_), Outcome::Failed { .. }) => {}
                    }
                }
                if differs {
                    summary.differences.push(parts.file(set));
                }
            }
        }
        Ok(())
    })?;
    folder.store().fold()?;
    let progress = folder.store().progress()?;
    summary.done = progress.done;
    summary.failed = progress.failed;
    summary.total = progress.total;
    Ok(summary)
}
