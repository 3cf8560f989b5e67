//! What is left to do of a task.

use std::collections::HashMap;

use super::evaluate::{needs_products, needs_rows};
use super::kept::Kept;
use super::plan::{Experiment, FeatureSet, Plan, Task};
use super::schedule::TaskSize;

/// What is left to do of a layer of a task.
pub(crate) struct LayerWork<'a> {
    pub(crate) name: &'a str,
    /// Its feature sets that lack results, and the experiments that have none.
    pub(crate) pending: Vec<(&'a FeatureSet, Vec<Experiment>)>,
    /// All of its feature sets.
    pub(crate) sets: Vec<&'a FeatureSet>,
    pub(crate) needs_products: bool,
    pub(crate) needs_rows: bool,
    /// Whether there seem to be products to load.
    pub(crate) has_kept: bool,
}

impl LayerWork<'_> {
    pub(crate) fn experiments(&self) -> impl Iterator<Item = &Experiment> {
        self.pending.iter().flat_map(|(_, e)| e)
    }

    /// Training rows of its largest unfinished set.
    pub(crate) fn rows(&self) -> usize {
        self.pending
            .iter()
            .map(|(s, _)| s.train_samples)
            .max()
            .unwrap_or(0)
    }

    /// Whether the images must be looked at.
    pub(crate) fn needs_images(&self) -> bool {
        self.needs_rows || (self.needs_products && !self.has_kept)
    }
}

/// What is left to do of each layer of a task that is not finished.
pub(crate) fn work<'p>(
    plan: &'p Plan,
    task: &Task,
    finished: &HashMap<String, bool>,
    kept: &Kept,
) -> Vec<LayerWork<'p>> {
    let sets = &plan.feature_sets[task.feature_sets.clone()];
    let mut layers: Vec<LayerWork<'p>> = vec![];
    for of_layer in sets.chunk_by(|a, b| a.layer == b.layer) {
        let pending: Vec<(&FeatureSet, Vec<Experiment>)> = of_layer
            .iter()
            .map(|set| {
                let all = plan.experiments[set.experiments.clone()].iter();
                let left = all.filter(|e| !finished.contains_key(&e.key));
                (set, left.cloned().collect::<Vec<_>>())
            })
            .filter(|(_, left)| !left.is_empty())
            .collect();
        if pending.is_empty() {
            continue;
        }
        let all: Vec<&Experiment> = pending.iter().flat_map(|(_, e)| e).collect();
        let mut work = LayerWork {
            name: &of_layer[0].layer,
            needs_products: needs_products(&all),
            needs_rows: needs_rows(&all),
            has_kept: false,
            pending,
            sets: of_layer.iter().collect(),
        };
        work.has_kept = kept.has(&work.sets, work.rows());
        layers.push(work);
    }
    layers
}

/// What extraction is about, for the layers that need images.
pub(crate) fn size(plan: &Plan, task: &Task, layers: &[&LayerWork<'_>]) -> TaskSize {
    let object = &plan.objects[task.object];
    let augmented = layers.iter().any(|l| l.pending.iter().any(|(s, _)| s.augmented));
    TaskSize {
        layers: layers
            .iter()
            .map(|l| l.sets.first().map_or(0, |s| s.dimensions))
            .collect(),
        train: object.train.len(),
        views: if augmented { plan.views.len() } else { 1 },
        test: object.test.len(),
    }
}
