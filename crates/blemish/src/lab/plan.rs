//! From a configuration to a list of experiments with keys, before anything runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blemish_backbones::{Architecture, Initialization, Weights};
use blemish_detectors::{DetectorKind, DetectorSpec, further_grid, study_grid};
use blemish_images::{Dataset, Object, Preprocess, Preset, ResizeMode, View};
use serde_json::{Value, json};

use super::config::GridConfig;
use super::key::{VERSIONS, derive_seed, key};
use crate::Error;

/// One forward pass over the images of one object: all layers and both training sets come out of it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Index into [`Plan::objects`].
    pub object: usize,
    /// The network.
    pub architecture: Architecture,
    /// Its weights.
    pub initialization: Initialization,
    /// Indices into [`Plan::feature_sets`].
    pub feature_sets: std::ops::Range<usize>,
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
    weights: BTreeMap<(Architecture, Initialization), Weights>,
    /// Of the weights by layer: computed once, since they take hundreds of megabytes to their end.
    digests: BTreeMap<(Architecture, Initialization, String), String>,
}

/// Preprocessing of a network's input, as its weights' authors did it.
pub(crate) fn preprocess(
    architecture: Architecture,
    initialization: Initialization,
    mode: ResizeMode,
) -> Preprocess {
    let input = architecture.input(initialization);
    Preprocess {
        preset: Preset {
            resize: input.resize,
            crop: input.crop,
            mean: input.mean,
            std: input.std,
        },
        mode,
    }
}

impl Plan {
    /// Reads the image folders and weights that `config` names and lists the experiments.
    ///
    /// # Errors
    /// Whatever would make the run impossible: folders, objects, layers or weights that are not
    /// there, a selection without experiments.
    pub fn new(config: &GridConfig) -> Result<Plan, Error> {
        let dataset = Dataset::open(&config.data, config.objects.as_deref())?;
        let mut fingerprints = BTreeMap::new();
        for object in &dataset.objects {
            fingerprints.insert(object.name.clone(), object.fingerprint()?);
        }

        let mut weights = BTreeMap::new();
        let mut networks = vec![];
        let mut left_out = vec![];
        let mut weights_identity = BTreeMap::new();
        let mut digests = BTreeMap::new();
        known_layers(&config.architectures, config.layers.as_deref())?;
        for &architecture in &config.architectures {
            let layers = layers(architecture, config.layers.as_deref())?;
            for initialization in initializations(config, architecture, &mut left_out)? {
                let loaded = load_weights(config, architecture, initialization, &layers)?;
                for layer in &layers {
                    let digest = loaded.digest(architecture, layer)?;
                    let name = format!("{architecture}/{initialization}/{layer}");
                    weights_identity.insert(name, digest.clone());
                    digests.insert((architecture, initialization, layer.clone()), digest);
                }
                weights.insert((architecture, initialization), loaded);
                networks.push((architecture, initialization, layers.clone()));
            }
        }
        let kinds: Vec<DetectorKind> = config.detectors.clone();
        let specs: Vec<DetectorSpec> = study_grid()
            .into_iter()
            .chain(further_grid())
            .filter(|s| kinds.contains(&s.kind()))
            .collect();

        let names = |list: Vec<String>| Value::from(list);
        let identity = json!({
            "objects": fingerprints,
            "networks": networks
                .iter()
                .map(|(architecture, initialization, layers)| {
                    json!([architecture.to_string(), initialization.to_string(), layers])
                })
                .collect::<Vec<_>>(),
            "augmented": config.augmented.values(),
            "detectors": names(kinds.iter().map(|k| k.name().to_owned()).collect()),
            "resize": config.resize.to_string(),
            "seed": config.seed,
            "weights": weights_identity,
            "versions": VERSIONS.to_json(),
        });

        let mut plan = Plan {
            identity,
            objects: dataset.objects,
            tasks: vec![],
            feature_sets: vec![],
            experiments: vec![],
            left_out,
            resize: config.resize,
            weights,
            digests,
        };
        for object in 0..plan.objects.len() {
            let fingerprint = &fingerprints[&plan.objects[object].name];
            for (architecture, initialization, layers) in &networks {
                let network = (*architecture, *initialization);
                plan.add_task(config, object, fingerprint, network, layers, &specs)?;
            }
        }
        if plan.experiments.is_empty() {
            return Err(Error::Config("the selection holds no experiment".into()));
        }
        Ok(plan)
    }

    fn add_task(
        &mut self,
        config: &GridConfig,
        object: usize,
        fingerprint: &str,
        network: (Architecture, Initialization),
        layers: &[String],
        specs: &[DetectorSpec],
    ) -> Result<(), Error> {
        let (architecture, initialization) = network;
        let originals = self.objects[object].train.len();
        let input = architecture.input(initialization);
        let first_set = self.feature_sets.len();
        for layer in layers {
            let weights_digest = self.digests[&(architecture, initialization, layer.clone())].clone();
            let crop = input.crop as usize;
            let dimensions = architecture.layer_shape(layer, crop, crop)?.len();
            for &augmented in config.augmented.values() {
                let train_samples = originals * if augmented { View::ALL.len() } else { 1 };
                let content = json!({
                    "object": self.objects[object].name,
                    "images": fingerprint,
                    "augmented": augmented,
                    "preprocessing": {
                        "resize": input.resize,
                        "crop": input.crop,
                        "mean": input.mean,
                        "std": input.std,
                        "mode": config.resize.to_string(),
                    },
                    "architecture": architecture.to_string(),
                    "weights": weights_digest,
                    "layer": layer,
                    "versions": VERSIONS.to_json(),
                });
                let set_key = key(&content);
                let first = self.experiments.len();
                for spec in specs {
                    self.experiments.push(experiment(
                        spec,
                        &set_key,
                        self.feature_sets.len(),
                        config.seed,
                        dimensions,
                        train_samples,
                    ));
                }
                self.feature_sets.push(FeatureSet {
                    key: set_key,
                    task: self.tasks.len(),
                    layer: layer.clone(),
                    augmented,
                    train_samples,
                    dimensions,
                    weights_digest: weights_digest.clone(),
                    experiments: first..self.experiments.len(),
                });
            }
        }
        self.tasks.push(Task {
            object,
            architecture,
            initialization,
            feature_sets: first_set..self.feature_sets.len(),
        });
        Ok(())
    }

    /// The weights of a task's network.
    pub(crate) fn weights(&self, task: &Task) -> &Weights {
        &self.weights[&(task.architecture, task.initialization)]
    }

    /// Where an experiment stands, in words: for messages.
    pub fn describe(&self, experiment: &Experiment) -> String {
        let set = &self.feature_sets[experiment.feature_set];
        let task = &self.tasks[set.task];
        format!(
            "{} {} {} {} {} {} {}",
            self.objects[task.object].name,
            if set.augmented { "augmented" } else { "originals" },
            task.architecture,
            task.initialization,
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

/// Whether some network has each of the wanted layers.
fn known_layers(architectures: &[Architecture], wanted: Option<&[String]>) -> Result<(), Error> {
    for layer in wanted.unwrap_or_default() {
        if !architectures.iter().any(|a| a.layer(layer).is_ok()) {
            let known: Vec<String> = architectures
                .iter()
                .map(|a| format!("{a} has {}", a.layers().join(", ")))
                .collect();
            return Err(Error::Config(format!("no layer `{layer}`: {}", known.join("; "))));
        }
    }
    Ok(())
}

/// The layers of `architecture` among `wanted`, by their canonical names and in the network's order,
/// whatever order they were named in.
fn layers(architecture: Architecture, wanted: Option<&[String]>) -> Result<Vec<String>, Error> {
    let names = |layers: &[&str]| layers.iter().map(|s| (*s).to_owned()).collect();
    let Some(wanted) = wanted else {
        return Ok(names(architecture.study_layers()));
    };
    let wanted: Vec<&str> = wanted.iter().filter_map(|w| architecture.layer(w).ok()).collect();
    let mut layers = architecture.layers().to_vec();
    layers.retain(|layer| wanted.contains(layer));
    if layers.is_empty() {
        return Err(Error::Config(format!(
            "none of the named layers is one of {architecture}, which has {}",
            architecture.layers().join(", ")
        )));
    }
    Ok(names(&layers))
}

/// The initialisations of `architecture` that are asked for and can be had.
fn initializations(
    config: &GridConfig,
    architecture: Architecture,
    left_out: &mut Vec<String>,
) -> Result<Vec<Initialization>, Error> {
    let Some(wanted) = &config.initializations else {
        return Ok(architecture.study_initializations().to_vec());
    };
    let names: Vec<&str> = architecture.initializations().iter().map(|i| i.name()).collect();
    let known = names.join(", ");
    let mut found = vec![];
    for &initialization in wanted {
        let own = |folder: &PathBuf| Weights::find(folder, architecture, initialization).is_ok();
        if architecture.initializations().contains(&initialization)
            || config.weights.as_ref().is_some_and(own)
        {
            found.push(initialization);
        } else {
            left_out.push(format!(
                "{architecture} has no published {initialization} weights, so that it is computed without; \
                 it has {known}"
            ));
        }
    }
    if found.is_empty() {
        let wanted: Vec<&str> = wanted.iter().map(|i| i.name()).collect();
        return Err(Error::Config(format!(
            "{architecture} has none of {}: choose from {known}",
            wanted.join(", ")
        )));
    }
    Ok(found)
}

fn load_weights(
    config: &GridConfig,
    architecture: Architecture,
    initialization: Initialization,
    layers: &[String],
) -> Result<Weights, Error> {
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    if initialization == Initialization::Random {
        return Ok(Weights::random_for(architecture, config.seed, &layers)?);
    }
    let Some(folder) = &config.weights else {
        return Err(Error::NoWeightsFolder {
            architecture: architecture.to_string(),
            initialization: initialization.to_string(),
        });
    };
    let file = Weights::find(folder, architecture, initialization)?;
    Ok(Weights::load_for(&file, architecture, &layers)?)
}
