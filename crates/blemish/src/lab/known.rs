//! What is known of a run: what its store holds, and what was published beside it and is not merged yet, as one.

use std::collections::HashMap;
use std::path::Path;

use super::parts::{Found, Part, Parts};
use super::plan::{FeatureSet, Plan};
use super::shard::DamagedPart;
use super::store::{Outcome, Store};
use crate::Error;

/// The results of a run, wherever they lie. Nothing is written.
pub(crate) struct Known<'p> {
    plan: &'p Plan,
    parts: Parts,
    store: Option<Store>,
    /// What the store holds: keys with a result, and whether it is one; `false` is a failure.
    stored: HashMap<String, bool>,
}

/// How far a feature set is. Counts are of experiments.
#[derive(Debug, Default)]
pub(crate) struct SetState {
    /// Without a result.
    pub(crate) missing: usize,
    /// Failed, and without a result elsewhere.
    pub(crate) failed: usize,
    /// Results that the store lacks, and failures among them.
    pub(crate) unmerged: usize,
    /// See `unmerged`.
    pub(crate) unmerged_failures: usize,
    /// Failures in the store that a published result will replace.
    pub(crate) mended: usize,
    /// Files that cannot be used, where something is missing.
    pub(crate) damaged: Vec<DamagedPart>,
    /// What was published, if it had to be read.
    part: Option<Part>,
}

impl<'p> Known<'p> {
    /// What is known of the run of `plan` in the folder `run`.
    ///
    /// # Errors
    /// If there is a store that cannot be read.
    pub(crate) fn open(plan: &'p Plan, run: &Path) -> Result<Known<'p>, Error> {
        let store = match Store::open(run) {
            Ok(store) => Some(store),
            Err(Error::NoRun { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut known = Known::of_parts(plan, run);
        known.stored = store.as_ref().map_or(Ok(HashMap::new()), Store::finished)?;
        known.store = store;
        Ok(known)
    }

    /// What was published alone.
    pub(crate) fn of_parts(plan: &'p Plan, run: &Path) -> Known<'p> {
        let parts = Parts::in_run(run, plan);
        parts.refresh();
        Known {
            plan,
            parts,
            store: None,
            stored: HashMap::new(),
        }
    }

    /// How far `set` is.
    ///
    /// # Errors
    /// [`Error::OtherPlan`] if there are results of another plan; if a file cannot be read.
    pub(crate) fn state(&self, set: &FeatureSet) -> Result<SetState, Error> {
        let mut state = SetState::default();
        let experiments = &self.plan.experiments[set.experiments.clone()];
        let stored = |key: &str| self.stored.get(key).copied();
        if experiments.iter().all(|e| stored(&e.key) == Some(true)) {
            return Ok(state);
        }
        let (part, damaged) = match self.parts.read(self.plan, set)? {
            Found::Part(part) => (Some(part), vec![]),
            Found::Nothing(files) => (None, files),
        };
        let mut published = part.iter().flat_map(Part::outcomes);
        for experiment in experiments {
            // A part has the plan's experiments in the plan's order.
            let published = published.next().map(|(_, outcome)| !outcome.is_failure());
            match (stored(&experiment.key), published) {
                (Some(true), _) => {}
                (None, None) => state.missing += 1,
                (Some(false), Some(true)) => state.mended += 1,
                (Some(false), _) => state.failed += 1,
                (None, Some(done)) => {
                    state.unmerged += 1;
                    state.unmerged_failures += usize::from(!done);
                    state.failed += usize::from(!done);
                }
            }
        }
        if state.missing > 0 {
            state.damaged = damaged;
        }
        drop(published);
        state.part = part;
        Ok(state)
    }

    /// All outcomes of `set` that there are; a result before a failure.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn outcomes(
        &self,
        set: &FeatureSet,
        state: SetState,
    ) -> Result<HashMap<String, Outcome>, Error> {
        let mut outcomes: HashMap<String, Outcome> = state
            .part
            .map(Part::into_outcomes)
            .into_iter()
            .flatten()
            .collect();
        let Some(store) = &self.store else {
            return Ok(outcomes);
        };
        for experiment in &self.plan.experiments[set.experiments.clone()] {
            let key = &experiment.key;
            if self.stored.contains_key(key)
                && outcomes.get(key).is_none_or(Outcome::is_failure)
                && let Some(outcome) = store.outcome(key)?
            {
                outcomes.insert(key.clone(), outcome);
            }
        }
        Ok(outcomes)
    }
}
