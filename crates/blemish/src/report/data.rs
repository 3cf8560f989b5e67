//! The rows of a run, arranged for questions: what has the same object, the same setting, the same pair.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::Error;
use crate::lab::{Row, Setting, Status, Store, StoredExperiment, TestImage};

/// One experiment.
#[derive(Clone, Debug)]
pub(crate) struct Experiment {
    /// Its number in the plan.
    pub(crate) ordinal: u64,
    /// Its key in the store.
    pub(crate) key: String,
    /// Index into [`RunData::objects`].
    pub(crate) object: usize,
    /// Index into [`RunData::recipes`].
    pub(crate) recipe: usize,
    /// As in a table of results.
    pub(crate) row: Row,
    /// Kind of failure.
    pub(crate) error_kind: Option<String>,
}

/// All of a run that a report tells, but for the scores.
#[derive(Debug)]
pub(crate) struct RunData {
    /// Object names in order.
    pub(crate) objects: Vec<String>,
    /// Distinct settings, in the order of [`Setting`].
    pub(crate) recipes: Vec<Setting>,
    /// Detectors in the order of the plan.
    pub(crate) models: Vec<String>,
    /// Experiments in the order of the plan.
    pub(crate) experiments: Vec<Experiment>,
    /// AUROC by recipe, then object.
    pub(crate) aurocs: Vec<Vec<Option<f64>>>,
    /// Experiment by recipe, then object: index into `experiments`.
    pub(crate) index: Vec<Vec<Option<usize>>>,
    /// Test images by object; none in imported runs.
    pub(crate) images: BTreeMap<String, Vec<TestImage>>,
    /// Weights by network, weights and layer: content hash, empty if unknown.
    pub(crate) weights: BTreeMap<(String, String, String), String>,
    /// What the run was planned for.
    pub(crate) identity: Value,
    /// What made the store.
    pub(crate) made_by: String,
    /// The note on data folders.
    pub(crate) data_note: Value,
    /// The note on sessions.
    pub(crate) sessions: Vec<Value>,
    /// Size of the store in bytes.
    pub(crate) size: u64,
}

impl RunData {
    /// Reads a store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn read(store: &Store) -> Result<RunData, Error> {
        let stored = store.experiments()?;
        let digests: HashMap<u64, String> = store
            .feature_sets()?
            .into_iter()
            .map(|set| (set.id, set.weights_digest))
            .collect();
        let mut weights = BTreeMap::new();
        for e in &stored {
            let name = (
                e.row.architecture.clone(),
                e.row.initialization.clone(),
                e.row.layer.clone(),
            );
            weights
                .entry(name)
                .or_insert_with(|| digests.get(&e.feature_set).cloned().unwrap_or_default());
        }
        let mut data = RunData::arrange(stored);
        data.weights = weights;
        data.images = store.test_images()?;
        data.identity = store.planned_for()?;
        data.made_by = store.made_by()?.unwrap_or_default();
        data.data_note = store.note("data")?.unwrap_or_default();
        data.sessions = match store.note("sessions")? {
            Some(Value::Array(sessions)) => sessions,
            _ => vec![],
        };
        data.size = store.size()?;
        Ok(data)
    }

    /// The rows of a published table that are of some objects.
    pub(crate) fn of_table(rows: Vec<(u64, Row)>, objects: &[String]) -> RunData {
        let rows = rows.into_iter().filter(|(_, row)| objects.contains(&row.object));
        RunData::arrange(
            rows.enumerate()
                .map(|(ordinal, (_, row))| StoredExperiment {
                    ordinal: ordinal as u64,
                    key: String::new(),
                    feature_set: 0,
                    row,
                    shared_time_s: None,
                    error_kind: None,
                })
                .collect(),
        )
    }

    fn arrange(stored: Vec<StoredExperiment>) -> RunData {
        let mut objects: Vec<String> = vec![];
        let mut models: Vec<String> = vec![];
        let mut recipes: BTreeMap<Setting, usize> = BTreeMap::new();
        for e in &stored {
            if !objects.contains(&e.row.object) {
                objects.push(e.row.object.clone());
            }
            if !models.contains(&e.row.model) {
                models.push(e.row.model.clone());
            }
            recipes.entry(Setting::of(&e.row)).or_default();
        }
        objects.sort();
        for (number, (_, id)) in recipes.iter_mut().enumerate() {
            *id = number;
        }
        let mut aurocs = vec![vec![None; objects.len()]; recipes.len()];
        let mut index = vec![vec![None; objects.len()]; recipes.len()];
        let experiments = stored
            .into_iter()
            .enumerate()
            .map(|(number, e)| {
                let object = objects
                    .iter()
                    .position(|o| *o == e.row.object)
                    .unwrap_or_default();
                let recipe = recipes.get(&Setting::of(&e.row)).copied().unwrap_or_default();
                aurocs[recipe][object] = e.row.auroc;
                index[recipe][object] = Some(number);
                Experiment {
                    ordinal: e.ordinal,
                    key: e.key,
                    object,
                    recipe,
                    row: e.row,
                    error_kind: e.error_kind,
                }
            })
            .collect();
        RunData {
            objects,
            recipes: recipes.into_keys().collect(),
            models,
            experiments,
            aurocs,
            index,
            images: BTreeMap::new(),
            weights: BTreeMap::new(),
            identity: Value::Null,
            made_by: String::new(),
            data_note: Value::Null,
            sessions: vec![],
            size: 0,
        }
    }

    /// Whether the run was imported from a table.
    pub(crate) fn imported(&self) -> bool {
        self.identity["published"].is_object()
    }

    /// Experiments with this status.
    pub(crate) fn count(&self, status: Status) -> usize {
        self.experiments.iter().filter(|e| e.row.status == status).count()
    }

    /// Experiments of one object.
    pub(crate) fn of_object(&self, object: usize) -> impl Iterator<Item = &Experiment> {
        self.experiments.iter().filter(move |e| e.object == object)
    }

    /// The best experiment of an object, the first of equals, and how many reach its AUROC.
    pub(crate) fn best_of(&self, object: usize) -> Option<(&Experiment, usize)> {
        let mut best: Option<(&Experiment, usize)> = None;
        for e in self.of_object(object) {
            let Some(auroc) = e.row.auroc else { continue };
            best = match best {
                Some((b, n)) if b.row.auroc == Some(auroc) => Some((b, n + 1)),
                Some((b, n)) if b.row.auroc > Some(auroc) => Some((b, n)),
                _ => Some((e, 1)),
            };
        }
        best
    }

    /// The experiment of a recipe on an object.
    pub(crate) fn experiment(&self, recipe: usize, object: usize) -> Option<&Experiment> {
        self.index[recipe][object].map(|i| &self.experiments[i])
    }

    /// Labels of the test images of an object.
    pub(crate) fn defective(&self, object: usize) -> Vec<bool> {
        let images = self.images.get(&self.objects[object]);
        let images = images.map(Vec::as_slice).unwrap_or_default();
        images.iter().map(|image| image.defect.is_some()).collect()
    }

    /// Pairs of experiments on the same object that differ in what `change` alters of the setting, as
    /// `(other, this)`.
    pub(crate) fn pairs(
        &self,
        change: impl Fn(&Setting) -> Option<Setting>,
    ) -> Vec<(&Experiment, &Experiment)> {
        let mut pairs = vec![];
        for (recipe, setting) in self.recipes.iter().enumerate() {
            let Some(other) = change(setting).and_then(|s| self.recipes.binary_search(&s).ok()) else {
                continue;
            };
            for object in 0..self.objects.len() {
                if let (Some(a), Some(b)) = (self.experiment(other, object), self.experiment(recipe, object))
                {
                    pairs.push((a, b));
                }
            }
        }
        pairs
    }

    /// The parameters of a setting's detector, as JSON.
    pub(crate) fn parameters(&self, recipe: usize) -> Value {
        serde_json::from_str(&self.recipes[recipe].hyperparameter).unwrap_or_default()
    }
}

/// A detector's setting as a person would write it.
pub(crate) fn parameters_in_words(hyperparameter: &str) -> String {
    let Ok(Value::Object(map)) = serde_json::from_str(hyperparameter) else {
        return hyperparameter.to_owned();
    };
    let parts: Vec<String> = map
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    match parts.is_empty() {
        true => "default".into(),
        false => parts.join(", "),
    }
}

/// A setting in words: network, weights, layer, training set, detector, parameters.
pub(crate) fn setting_in_words(s: &Setting) -> String {
    format!(
        "{} ({}) {}{}, {} ({})",
        s.architecture,
        s.initialization,
        s.layer,
        if s.augmented { ", augmented" } else { "" },
        s.model,
        parameters_in_words(&s.hyperparameter)
    )
}
