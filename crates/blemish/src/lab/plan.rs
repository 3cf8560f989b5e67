//! From a configuration to a list of experiments with keys, before anything runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use blemish_backbones::Network;
use blemish_detectors::DetectorSpec;
use blemish_images::{Object, ResizeMode, View};
use serde_json::{Value, json};

use super::backbone::{Backbone, Features};
use super::blueprint::{Blueprint, PlanFile, PlannedNetwork, PlannedTask, file_changes};
use super::config::GridConfig;
use super::key::{ONNX_RUNTIME, VERSIONS, derive_seed, key};
use crate::Error;

/// One forward pass over the images of one object: all layers and both training sets come out of it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Index into [`Plan::objects`].
    pub object: usize,
    /// What computes its features.
    pub backbone: Backbone,
    /// Indices into [`Plan::feature_sets`].
    pub feature_sets: std::ops::Range<usize>,
    /// Content key: that of its experiments, in order.
    pub key: String,
}

/// The features of one layer for one training set.
#[derive(Clone, Debug)]
pub struct FeatureSet {
    /// Content key.
    pub key: String,
    /// Index into [`Plan::tasks`].
    pub task: usize,
    /// Layer name.
    pub layer: String,
    /// Whether the five other views of each training image are used.
    pub augmented: bool,
    /// Number of training rows.
    pub train_samples: usize,
    /// Number of features a row.
    pub dimensions: usize,
    /// Content hash of the weights that the layer depends on.
    pub weights_digest: String,
    /// Indices into [`Plan::experiments`].
    pub experiments: std::ops::Range<usize>,
}

/// One detector setting on one feature set.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Content key.
    pub key: String,
    /// Index into [`Plan::feature_sets`].
    pub feature_set: usize,
    /// The detector and its setting.
    pub spec: DetectorSpec,
    /// Number of features that the detector sees: fewer than the layer has after a reduction.
    pub dimensions: usize,
    /// Seed for detectors that draw random numbers; other detectors ignore it.
    pub seed: u64,
}

/// A frozen, ordered list of experiments and what is needed to compute them.
#[derive(Debug)]
pub struct Plan {
    /// What the results depend on, in a form that compares: selection, fingerprints, versions.
    pub identity: Value,
    /// The objects, by name.
    pub objects: Vec<Object>,
    /// The forward passes, in order.
    pub tasks: Vec<Task>,
    /// The feature sets, in order.
    pub feature_sets: Vec<FeatureSet>,
    /// The experiments, in order.
    pub experiments: Vec<Experiment>,
    /// What was named but is not there to be computed, in words.
    pub left_out: Vec<String>,
    /// How images are resized.
    pub resize: ResizeMode,
    /// Views of a training image in the augmented set, the original first.
    pub views: Vec<View>,
    /// Hash of the whole: equal plans have the same tasks, experiments and versions, in the same order.
    pub hash: String,
    blueprint: Blueprint,
    /// Objects whose images are known to be those of the plan.
    verified: Mutex<BTreeSet<usize>>,
}

impl Plan {
    /// Reads the image folders and weights that `config` names and lists the experiments.
    ///
    /// # Errors
    /// Whatever would make the run impossible: folders, objects, layers or weights that are not
    /// there, a selection without experiments.
    pub fn new(config: &GridConfig) -> Result<Plan, Error> {
        let (blueprint, objects) = Blueprint::new(config)?;
        let plan = Plan::expand(blueprint, objects)?;
        // Their fingerprints were computed just now.
        let all = (0..plan.objects.len()).collect();
        Ok(Plan {
            verified: Mutex::new(all),
            ..plan
        })
    }

    /// The plan that was frozen in the run folder `run`, by [`RunFolder::create_or_resume`](super::RunFolder).
    ///
    /// Images are listed, not read: what changed since is found when a task begins.
    ///
    /// # Errors
    /// [`Error::NoPlan`] if there is none; if it was made by another version of this program, or if the data folder
    /// is not what it was.
    pub fn open(run: &Path) -> Result<Plan, Error> {
        let file = PlanFile::read(run)?;
        let objects = file.blueprint.objects()?;
        let plan = Plan::expand(file.blueprint, objects)?;
        if plan.hash != file.hash {
            let changes = |object: &Object| {
                let changes = plan.blueprint.changes(object, None).into_iter();
                changes
                    .map(|change| format!("{}/{change}", object.name))
                    .collect::<Vec<_>>()
            };
            return Err(Error::Changed {
                path: plan.blueprint.data.clone(),
                changes: plan.objects.iter().flat_map(changes).collect(),
            });
        }
        Ok(plan)
    }

    /// As [`open`](Self::open), but by what the file says alone: the data folder may be gone or have grown since. For
    /// whoever asks what was computed, or puts it together, and computes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open), without those of the data folder.
    pub fn recall(run: &Path) -> Result<Plan, Error> {
        let file = PlanFile::read(run)?;
        let Some(objects) = file.blueprint.recorded_objects() else {
            return Plan::open(run);
        };
        let plan = Plan::expand(file.blueprint, objects)?;
        if plan.hash == file.hash {
            Ok(plan)
        } else {
            Plan::open(run)
        }
    }

    /// Writes the plan to `run`, for [`open`](Plan::open).
    pub(crate) fn save(&self, run: &Path) -> Result<(), Error> {
        let planned = |task: &Task| PlannedTask {
            key: task.key.clone(),
            object: self.objects[task.object].name.clone(),
            architecture: task.backbone.architecture(),
            initialization: task.backbone.initialization(),
            experiments: self.task_experiments(task).len(),
        };
        let tasks = self.tasks.iter().map(planned).collect();
        PlanFile::new(self.hash.clone(), self.blueprint.clone(), tasks).write(run)
    }

    fn expand(blueprint: Blueprint, objects: Vec<Object>) -> Result<Plan, Error> {
        let mut plan = Plan {
            identity: blueprint.identity(),
            objects,
            tasks: vec![],
            feature_sets: vec![],
            experiments: vec![],
            left_out: blueprint.left_out.clone(),
            resize: blueprint.resize,
            views: blueprint.views.clone(),
            hash: String::new(),
            blueprint,
            verified: Mutex::default(),
        };
        for object in 0..plan.objects.len() {
            for network in 0..plan.blueprint.networks.len() {
                plan.add_task(object, network);
            }
        }
        if plan.experiments.is_empty() {
            return Err(Error::Config("the selection holds no experiment".into()));
        }
        let images: Vec<[usize; 2]> = plan
            .objects
            .iter()
            .map(|o| [o.train.len(), o.test.len()])
            .collect();
        let tasks: Vec<&str> = plan.tasks.iter().map(|t| t.key.as_str()).collect();
        plan.hash = key(&json!({"tasks": tasks, "images": images, "versions": VERSIONS.to_json()}));
        Ok(plan)
    }

    /// Which files of an object differ between this plan and the one in the folder `run`, in words, as far as is known.
    pub(crate) fn changes_since(&self, run: &Path, object: &str) -> Vec<String> {
        let Ok(before) = PlanFile::read(run) else {
            return vec![];
        };
        match (
            before.blueprint.files.get(object),
            self.blueprint.files.get(object),
        ) {
            (Some(before), Some(now)) => file_changes(before, now),
            _ => vec![],
        }
    }

    /// The experiments of a task, in order.
    pub fn task_experiments(&self, task: &Task) -> &[Experiment] {
        let sets = &self.feature_sets[task.feature_sets.clone()];
        let start = sets.first().map_or(0, |s| s.experiments.start);
        let end = sets.last().map_or(start, |s| s.experiments.end);
        &self.experiments[start..end]
    }

    /// A task in words: object, network, weights.
    pub fn task_name(&self, task: &Task) -> String {
        format!(
            "{} {} {}",
            self.objects[task.object].name,
            task.backbone.architecture(),
            task.backbone.initialization()
        )
    }

    /// Whether the images of an object are still those that the plan was made for; read once in a process.
    pub(crate) fn check_images(&self, object: usize) -> Result<(), Error> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.contains(&object) {
            return Ok(());
        }
        let own = &self.objects[object];
        let found = own.content()?;
        if self.blueprint.fingerprints.get(&own.name) != Some(&found.fingerprint) {
            return Err(Error::Changed {
                path: own.folder.clone(),
                changes: self.blueprint.changes(own, Some(found)),
            });
        }
        verified.insert(object);
        Ok(())
    }

    fn add_task(&mut self, object: usize, network: usize) {
        let blueprint = self.blueprint.clone();
        let PlannedNetwork { backbone, layers } = &blueprint.networks[network];
        let fingerprint = &blueprint.fingerprints[&self.objects[object].name];
        let originals = self.objects[object].train.len();
        let input = backbone.preprocess(blueprint.resize).preset;
        let first_set = self.feature_sets.len();
        for layer in layers {
            let dimensions = layer.dimensions;
            for &augmented in &blueprint.augmented {
                let train_samples = originals * if augmented { blueprint.views.len() } else { 1 };
                let mut content = json!({
                    "object": self.objects[object].name,
                    "images": fingerprint,
                    "augmented": augmented,
                    "preprocessing": {
                        "resize": input.resize,
                        "crop": input.crop,
                        "mean": input.mean,
                        "std": input.std,
                        "mode": blueprint.resize.to_string(),
                    },
                    "architecture": backbone.content(),
                    "weights": layer.digest,
                    "layer": layer.name,
                    "versions": VERSIONS.to_json(),
                });
                if let Backbone::Onnx(_) = backbone {
                    content["runtime"] = ONNX_RUNTIME.into();
                }
                if augmented && blueprint.views != View::ALL {
                    content["views"] = blueprint
                        .views
                        .iter()
                        .map(|v| v.name())
                        .collect::<Vec<_>>()
                        .into();
                }
                let set_key = key(&content);
                let first = self.experiments.len();
                for spec in &blueprint.specs {
                    self.experiments.push(experiment(
                        spec,
                        &set_key,
                        self.feature_sets.len(),
                        blueprint.seed,
                        dimensions,
                        train_samples,
                    ));
                }
                self.feature_sets.push(FeatureSet {
                    key: set_key,
                    task: self.tasks.len(),
                    layer: layer.name.clone(),
                    augmented,
                    train_samples,
                    dimensions,
                    weights_digest: layer.digest.clone(),
                    experiments: first..self.experiments.len(),
                });
            }
        }
        let mut task = Task {
            object,
            backbone: backbone.clone(),
            feature_sets: first_set..self.feature_sets.len(),
            key: String::new(),
        };
        let keys = self.task_experiments(&task).iter().map(|e| e.key.as_str());
        task.key = key(&keys.collect::<Vec<_>>().into());
        self.tasks.push(task);
    }

    /// The network of a task, for `layers`. Its weights are read here, and must be those of the plan.
    pub(crate) fn features(&self, task: &Task, layers: &[&str]) -> Result<Features, Error> {
        let sets = &self.feature_sets[task.feature_sets.clone()];
        let digest = |layer: &&str| {
            let set = sets.iter().find(|s| s.layer == *layer);
            set.map_or("", |s| s.weights_digest.as_str())
        };
        match &task.backbone {
            Backbone::Builtin {
                architecture,
                initialization,
            } => {
                let weights = self.blueprint.weights(*architecture, *initialization, layers)?;
                // The last layer depends on all that those before it depend on.
                if let Some(last) = layers.last()
                    && weights.digest(*architecture, last)? != digest(last)
                {
                    let folder = self.blueprint.weights.as_deref();
                    return Err(Error::changed(folder.unwrap_or(Path::new("random weights"))));
                }
                let network = Network::new(*architecture, &weights, layers)?;
                Ok(Features::Builtin(Box::new(network)))
            }
            Backbone::Onnx(onnx) => {
                let digests: Vec<&str> = layers.iter().map(digest).collect();
                Features::onnx(onnx, layers, &digests)
            }
        }
    }

    /// Where an experiment stands, in words: for messages.
    pub fn describe(&self, experiment: &Experiment) -> String {
        let set = &self.feature_sets[experiment.feature_set];
        let task = &self.tasks[set.task];
        format!(
            "{} {} {} {} {} {} {}",
            self.objects[task.object].name,
            if set.augmented { "augmented" } else { "originals" },
            task.backbone.architecture(),
            task.backbone.initialization(),
            set.layer,
            experiment.spec.model_name(),
            experiment.spec.hyperparameter_json(),
        )
    }
}

fn experiment(
    spec: &DetectorSpec,
    set_key: &str,
    feature_set: usize,
    seed: u64,
    dimensions: usize,
    train_samples: usize,
) -> Experiment {
    let model = spec.model_name();
    let setting = spec.hyperparameter_json();
    // A forest's trees are shared by all sizes, so its seed must not depend on the size.
    let (seed, dimensions, random) = match spec {
        DetectorSpec::IsolationForest(_) => (derive_seed(set_key, model, seed), dimensions, true),
        DetectorSpec::EllipticEnvelope { components, .. } => (
            derive_seed(set_key, &format!("{model} {setting}"), seed),
            components
                .unwrap_or(dimensions)
                .min(dimensions)
                .min(train_samples),
            true,
        ),
        _ => (0, dimensions, false),
    };
    let content = json!({
        "features": set_key,
        "model": model,
        "hyperparameter": setting,
        // A seed that changes nothing must not change the key either.
        "seed": if random { Value::from(seed) } else { Value::Null },
    });
    Experiment {
        key: key(&content),
        feature_set,
        spec: *spec,
        dimensions,
        seed,
    }
}
