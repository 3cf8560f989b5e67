//! What a plan is made from: all that was read from folders and weights before anything runs, in a form that is kept
//! in `RUN/plan.json`, so that another process carries out the same plan without reading it all again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blemish_backbones::{Architecture, BackbonesError, Initialization, PublishedWeights, Weights};
use blemish_detectors::{DetectorSpec, further_grid, study_grid};
use blemish_images::{Content, Dataset, Object, Preset, ResizeMode, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::backbone::{Backbone, Layer, OnnxBackbone, load_onnx};
use super::config::{GridConfig, NetworkConfig};
use super::key::VERSIONS;
use crate::Error;
use crate::error::MissingWeights;
use crate::weights::load_for;

/// Version of the file.
const FORMAT: u32 = 1;

/// A network of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlannedNetwork {
    pub(crate) backbone: Backbone,
    /// The layers whose features are wanted, in the network's order.
    pub(crate) layers: Vec<Layer>,
}

/// What a plan is made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blueprint {
    /// Folder of images.
    pub(crate) data: PathBuf,
    /// Folder of weights.
    pub(crate) weights: Option<PathBuf>,
    /// Content of each object's images.
    pub(crate) fingerprints: BTreeMap<String, String>,
    /// By object and file the beginning of the file's hash, so that it can be told which one has changed; plans of earlier
    /// versions have none.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) networks: Vec<PlannedNetwork>,
    /// Values of the column `augmented`.
    pub(crate) augmented: Vec<bool>,
    /// What the augmented training set is made of.
    #[serde(with = "views")]
    pub(crate) views: Vec<View>,
    pub(crate) specs: Vec<DetectorSpec>,
    #[serde(with = "by_name")]
    pub(crate) resize: ResizeMode,
    pub(crate) seed: u64,
    pub(crate) left_out: Vec<String>,
}

/// The file `RUN/plan.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    pub(crate) format: u32,
    pub(crate) made_by: String,
    /// Versions of the parts that decide numbers.
    pub(crate) versions: Value,
    /// Hash of the whole plan.
    pub(crate) hash: String,
    pub(crate) blueprint: Blueprint,
    /// For readers: the tasks that the blueprint expands to.
    pub(crate) tasks: Vec<PlannedTask>,
}

/// A task, for readers of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlannedTask {
    pub(crate) key: String,
    pub(crate) object: String,
    pub(crate) architecture: String,
    pub(crate) initialization: String,
    pub(crate) experiments: usize,
}

impl PlanFile {
    pub(crate) fn path_in(folder: &Path) -> PathBuf {
        folder.join("plan.json")
    }

    pub(crate) fn new(hash: String, blueprint: Blueprint, tasks: Vec<PlannedTask>) -> PlanFile {
        PlanFile {
            format: FORMAT,
            made_by: concat!("blemish ", env!("CARGO_PKG_VERSION")).into(),
            versions: VERSIONS.to_json(),
            hash,
            blueprint,
            tasks,
        }
    }

    pub(crate) fn read(folder: &Path) -> Result<PlanFile, Error> {
        let path = PlanFile::path_in(folder);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoPlan {
                    folder: folder.into(),
                });
            }
            Err(e) => return Err(Error::io(&path, e)),
        };
        let damaged = |what: String| {
            Error::Config(format!(
                "{}: {what}: repeat the `blemish plan` command that made it",
                path.display()
            ))
        };
        // The version first: another one may have other fields.
        let value: Value =
            serde_json::from_str(&text).map_err(|e| damaged(format!("this is no plan ({e})")))?;
        if value["format"] != json!(FORMAT) || value["versions"] != VERSIONS.to_json() {
            let by = value["made_by"].as_str().unwrap_or("another program");
            return Err(damaged(format!("the plan was made by another version ({by})")));
        }
        serde_json::from_value(value).map_err(|e| damaged(format!("this is no plan ({e})")))
    }

    /// Writes the file: all of it or, whatever happens, none; an equal one is left alone.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        use std::io::Write;
        let path = PlanFile::path_in(folder);
        let io = |e| Error::io(&path, e);
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
        text.push('\n');
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        // Others read it, where a folder is shared.
        let mut file = super::export::new_file()
            .prefix(".plan")
            .tempfile_in(folder)
            .map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }
}

impl Blueprint {
    /// Reads the image folders and weights that `config` names.
    pub(crate) fn new(config: &GridConfig) -> Result<(Blueprint, Vec<Object>), Error> {
        let dataset = Dataset::open(&config.data, config.objects.as_deref())?;
        let (mut fingerprints, mut files) = (BTreeMap::new(), BTreeMap::new());
        for object in &dataset.objects {
            check_test_images(object)?;
        }
        let mut left_out = vec![];
        let selected = select(config, &mut left_out)?;
        // All that is missing, before minutes go into reading images.
        check_weights(config.weights.as_deref(), &selected)?;
        for object in &dataset.objects {
            let content = object.content()?;
            files.insert(object.name.clone(), short(content.files));
            fingerprints.insert(object.name.clone(), content.fingerprint);
        }
        let networks = selected
            .iter()
            .map(|chosen| describe(config, chosen))
            .collect::<Result<Vec<_>, Error>>()?;
        let specs = match &config.settings {
            Some(settings) => settings.clone(),
            None => study_grid()
                .into_iter()
                .chain(further_grid())
                .filter(|s| config.detectors.contains(&s.kind()))
                .collect(),
        };
        let blueprint = Blueprint {
            data: absolute(&config.data)?,
            weights: config.weights.as_deref().map(absolute).transpose()?,
            fingerprints,
            files,
            networks,
            augmented: config.augmented.values().to_vec(),
            views: config.views.clone(),
            specs,
            resize: config.resize,
            seed: config.seed,
            left_out,
        };
        Ok((blueprint, dataset.objects))
    }

    /// The objects as they are in the folder now.
    pub(crate) fn objects(&self) -> Result<Vec<Object>, Error> {
        let names: Vec<String> = self.fingerprints.keys().cloned().collect();
        Ok(Dataset::open(&self.data, Some(&names))?.objects)
    }

    /// The objects as they were when the plan was made; none if it was made by a version that did not write that down. Their
    /// paths are those below a folder of objects, whether it was one or an object itself: nothing is read by them.
    pub(crate) fn recorded_objects(&self) -> Option<Vec<Object>> {
        let object = |name: &String| {
            let files = self.files.get(name)?;
            Some(Object::of_files(name, &self.data.join(name), files.keys()))
        };
        self.fingerprints.keys().map(object).collect()
    }

    /// Which files of an object are not what they were, in words, given what there is now: `content` of them, or their
    /// names alone. Nothing where that is not known.
    pub(crate) fn changes(&self, object: &Object, content: Option<Content>) -> Vec<String> {
        let Some(before) = self.files.get(&object.name) else {
            return vec![];
        };
        let now = match content {
            Some(content) => short(content.files),
            None => {
                let files = object.files().unwrap_or_default();
                let names = files.into_iter().map(|(name, _)| name);
                // As far as is known they are as they were.
                names
                    .map(|name| (name.clone(), before.get(&name).cloned().unwrap_or_default()))
                    .collect()
            }
        };
        file_changes(before, &now)
    }

    /// What the results depend on, in a form that compares.
    pub(crate) fn identity(&self) -> Value {
        let mut weights = BTreeMap::new();
        for PlannedNetwork { backbone, layers } in &self.networks {
            let name = format!("{}/{}", backbone.architecture(), backbone.initialization());
            for layer in layers {
                weights.insert(format!("{name}/{}", layer.name), layer.digest.clone());
            }
        }
        let mut kinds = vec![];
        for spec in &self.specs {
            if !kinds.contains(&spec.kind()) {
                kinds.push(spec.kind());
            }
        }
        let usual: Vec<DetectorSpec> = study_grid()
            .into_iter()
            .chain(further_grid())
            .filter(|s| kinds.contains(&s.kind()))
            .collect();
        let mut identity = json!({
            "objects": self.fingerprints,
            "networks": self
                .networks
                .iter()
                .map(|n| n.backbone.identity(&n.layers))
                .collect::<Vec<_>>(),
            "augmented": self.augmented,
            "detectors": kinds.iter().map(|k| k.name()).collect::<Vec<_>>(),
            "resize": self.resize.to_string(),
            "seed": self.seed,
            "weights": weights,
            "versions": VERSIONS.to_json(),
        });
        // What is usual goes without saying, so that runs from before it could be chosen go on.
        if self.specs != usual {
            let settings = self.specs.iter();
            identity["settings"] = settings
                .map(|s| format!("{} {}", s.model_name(), s.hyperparameter_json()))
                .collect::<Vec<_>>()
                .into();
        }
        if self.views != View::ALL {
            identity["views"] = self.views.iter().map(|v| v.name()).collect::<Vec<_>>().into();
        }
        identity
    }

    /// Weights of a built-in network, as far as `layers` need them.
    pub(crate) fn weights(
        &self,
        architecture: Architecture,
        initialization: Initialization,
        layers: &[&str],
    ) -> Result<Weights, Error> {
        load_for(
            architecture,
            initialization,
            self.seed,
            layers,
            self.weights.as_deref(),
        )
    }
}

/// Which of some files differ, in words.
pub(crate) fn file_changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let changed = before.iter().filter_map(|(name, hash)| match now.get(name) {
        None => Some(format!("{name} is gone")),
        Some(found) if found != hash => Some(format!("{name} has changed")),
        Some(_) => None,
    });
    let new = now.keys().filter(|name| !before.contains_key(*name));
    changed.chain(new.map(|name| format!("{name} is new"))).collect()
}

/// Enough of each hash to tell files apart.
fn short(files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let cut = |hash: String| hash.chars().take(16).collect();
    files.into_iter().map(|(name, hash)| (name, cut(hash))).collect()
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|e| Error::io(path, e))
}

/// A network that was asked for, before its weights are read.
enum Chosen {
    Builtin {
        architecture: Architecture,
        initialization: Initialization,
        layers: Vec<String>,
    },
    Onnx(OnnxBackbone),
}

/// The networks that are asked for, in order.
fn select(config: &GridConfig, left_out: &mut Vec<String>) -> Result<Vec<Chosen>, Error> {
    let mut selected = vec![];
    let wanted = match (&config.networks, &config.onnx) {
        (Some(networks), _) => networks.clone(),
        (None, Some(onnx)) => vec![NetworkConfig::Onnx(onnx.clone())],
        (None, None) => {
            known_layers(&config.architectures, config.layers.as_deref())?;
            let builtin = |&architecture: &Architecture| NetworkConfig::Builtin {
                architecture,
                initializations: config.initializations.clone(),
                layers: config.layers.clone(),
            };
            config.architectures.iter().map(builtin).collect()
        }
    };
    for network in wanted {
        match network {
            NetworkConfig::Onnx(onnx) => selected.push(Chosen::Onnx(onnx)),
            NetworkConfig::Builtin {
                architecture,
                initializations: wanted,
                layers: names,
            } => {
                let layers = layers(architecture, names.as_deref())?;
                for initialization in initializations(config, architecture, wanted.as_deref(), left_out)? {
                    selected.push(Chosen::Builtin {
                        architecture,
                        initialization,
                        layers: layers.clone(),
                    });
                }
            }
        }
    }
    Ok(selected)
}

/// Whether there is a file for each network that needs one; if not, all that are missing.
fn check_weights(folder: Option<&Path>, selected: &[Chosen]) -> Result<(), Error> {
    let mut missing = vec![];
    for chosen in selected {
        let &Chosen::Builtin {
            architecture,
            initialization,
            ..
        } = chosen
        else {
            continue;
        };
        if initialization == Initialization::Random {
            continue;
        }
        match folder.map(|folder| Weights::find(folder, architecture, initialization)) {
            Some(Ok(_)) => continue,
            None | Some(Err(BackbonesError::NoWeights { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
        }
        missing.push(MissingWeights {
            name: format!("{architecture}-{initialization}"),
            published: PublishedWeights::of(architecture, initialization),
        });
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::MissingWeights {
        folder: folder.map(Path::to_owned),
        missing,
    })
}

/// What a plan needs to know of a network. Its weights are read and let go.
fn describe(config: &GridConfig, chosen: &Chosen) -> Result<PlannedNetwork, Error> {
    match chosen {
        Chosen::Onnx(onnx) => {
            let (_, layers) = load_onnx(onnx)?;
            let file = absolute(&onnx.file)?;
            let backbone = Backbone::Onnx(OnnxBackbone { file, ..onnx.clone() });
            Ok(PlannedNetwork { backbone, layers })
        }
        Chosen::Builtin {
            architecture,
            initialization,
            layers,
        } => {
            let (architecture, initialization) = (*architecture, *initialization);
            let names: Vec<&str> = layers.iter().map(String::as_str).collect();
            let weights = load_for(
                architecture,
                initialization,
                config.seed,
                &names,
                config.weights.as_deref(),
            )?;
            let crop = architecture.input(initialization).crop as usize;
            let known = |name: &&str| {
                Ok(Layer {
                    dimensions: architecture.layer_shape(name, crop, crop)?.len(),
                    digest: weights.digest(architecture, name)?,
                    name: (*name).to_owned(),
                })
            };
            Ok(PlannedNetwork {
                backbone: Backbone::Builtin {
                    architecture,
                    initialization,
                },
                layers: names.iter().map(known).collect::<Result<_, Error>>()?,
            })
        }
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
    wanted: Option<&[Initialization]>,
    left_out: &mut Vec<String>,
) -> Result<Vec<Initialization>, Error> {
    let Some(wanted) = wanted else {
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

/// Types that have a name and are read from one.
pub(crate) mod by_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: ToString, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.to_string())
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Views by name.
mod views {
    use blemish_images::View;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(views: &[View], to: S) -> Result<S::Ok, S::Error> {
        views.iter().map(|v| v.name()).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<View>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        let view = |name: &String| {
            View::ALL
                .into_iter()
                .find(|v| v.name() == name)
                .ok_or_else(|| D::Error::custom(format!("no view `{name}`")))
        };
        names.iter().map(view).collect()
    }
}

/// [`Preset`], field by field.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Preset")]
pub(crate) struct PresetFields {
    resize: u32,
    crop: u32,
    mean: [f32; 3],
    std: [f32; 3],
}
