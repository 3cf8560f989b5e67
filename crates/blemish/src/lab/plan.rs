//! From a configuration to a list of experiments with keys, before anything runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blemish_backbones::{Architecture, Initialization, Network, Weights};
use blemish_detectors::{DetectorKind, DetectorSpec, further_grid, study_grid};
use blemish_images::{Dataset, Object, ResizeMode, View};
use serde_json::{Value, json};

use super::backbone::{Backbone, Features, Layer, LoadedOnnx, load_onnx};
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
    onnx: Option<LoadedOnnx>,
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
            check_test_images(object)?;
            fingerprints.insert(object.name.clone(), object.fingerprint()?);
        }

        let mut weights = BTreeMap::new();
        let mut networks = vec![];
        let mut left_out = vec![];
        let mut weights_identity = BTreeMap::new();
        let mut onnx = None;
        if let Some(backbone) = &config.onnx {
            let (loaded, layers) = load_onnx(backbone)?;
            onnx = Some(loaded);
            networks.push((Backbone::Onnx(backbone.clone()), layers));
        } else {
            known_layers(&config.architectures, config.layers.as_deref())?;
            for &architecture in &config.architectures {
                let layers = layers(architecture, config.layers.as_deref())?;
                for initialization in initializations(config, architecture, &mut left_out)? {
                    let loaded = load_weights(config, architecture, initialization, &layers)?;
                    let crop = architecture.input(initialization).crop as usize;
                    let known = |name: &String| {
                        Ok(Layer {
                            dimensions: architecture.layer_shape(name, crop, crop)?.len(),
                            digest: loaded.digest(architecture, name)?,
                            name: name.clone(),
                        })
                    };
                    let known = layers.iter().map(known).collect::<Result<Vec<_>, Error>>()?;
                    weights.insert((architecture, initialization), loaded);
                    let backbone = Backbone::Builtin {
                        architecture,
                        initialization,
                    };
                    networks.push((backbone, known));
                }
            }
        }
        for (backbone, layers) in &networks {
            let name = format!("{}/{}", backbone.architecture(), backbone.initialization());
            for layer in layers {
                weights_identity.insert(format!("{name}/{}", layer.name), layer.digest.clone());
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
                .map(|(backbone, layers)| backbone.identity(layers))
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
            onnx,
        };
        for object in 0..plan.objects.len() {
            let fingerprint = &fingerprints[&plan.objects[object].name];
            for (backbone, layers) in &networks {
                plan.add_task(config, object, fingerprint, backbone, layers, &specs);
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
        backbone: &Backbone,
        layers: &[Layer],
        specs: &[DetectorSpec],
    ) {
        let originals = self.objects[object].train.len();
        let input = backbone.preprocess(config.resize).preset;
        let first_set = self.feature_sets.len();
        for layer in layers {
            let dimensions = layer.dimensions;
            for &augmented in config.augmented.values() {
                let train_samples = originals * if augmented { View::ALL.len() } else { 1 };
                let mut content = json!({
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
                    "architecture": backbone.content(),
                    "weights": layer.digest,
                    "layer": layer.name,
                    "versions": VERSIONS.to_json(),
                });
                if let Backbone::Onnx(_) = backbone {
                    content["runtime"] = ONNX_RUNTIME.into();
                }
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
                    layer: layer.name.clone(),
                    augmented,
                    train_samples,
                    dimensions,
                    weights_digest: layer.digest.clone(),
                    experiments: first..self.experiments.len(),
                });
            }
        }
        self.tasks.push(Task {
            object,
            backbone: backbone.clone(),
            feature_sets: first_set..self.feature_sets.len(),
        });
    }

    /// The network of a task, for `layers`.
    pub(crate) fn features(&self, task: &Task, layers: &[&str]) -> Result<Features, Error> {
        match &task.backbone {
            Backbone::Builtin {
                architecture,
                initialization,
            } => {
                let weights = &self.weights[&(*architecture, *initialization)];
                let network = Network::new(*architecture, weights, layers)?;
                Ok(Features::Builtin(Box::new(network)))
            }
            Backbone::Onnx(_) => Features::onnx(self.onnx.as_ref(), layers),
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
/// Every result is an AUROC, which needs both kinds of test images: better to say so now than after the features.
fn check_test_images(object: &Object) -> Result<(), Error> {
    let defective = object.test.iter().filter(|image| image.is_defective()).count();
    let missing = match defective {
        0 => "defective test images (test/DEFECT)",
        n if n == object.test.len() => "good test images (test/good)",
        _ => return Ok(()),
    };
    Err(Error::Config(format!(
        "{} has no {missing}, and an AUROC needs good and defective ones: add some, or leave the object out by --objects",
        object.folder.display()
    )))
}

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
