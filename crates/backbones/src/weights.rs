//! Named tensors: from a file or from a seed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::architecture::Architecture;
use crate::description::{Stage, TensorSpec};
use crate::error::BackbonesError;
use crate::random;
use crate::tensors::TensorFile;

/// A network's weights: tensors by name, as in PyTorch's state dict.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Where they come from, as error messages say it.
    origin: String,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    F32(Vec<f32>),
    /// Of a type that no network reads, such as the counters of a batch normalisation.
    Other(String),
}

impl Weights {
    /// Reads all tensors of a file: safetensors, or a state dict that PyTorch saved (`.pth`, `.pt`) in
    /// its present zip format or in the one before version 1.6. The format is told by the content.
    ///
    /// Nothing in a file is executed. Tensors of F32, F16 and BF16 become f32, exactly; those of F64
    /// are rounded; those of other types are an error only where a network needs them. Of a training
    /// checkpoint the state dict under `state_dict` or `model` is read, and `module.` before all names
    /// is left out.
    ///
    /// # Errors
    /// [`BackbonesError::Read`], [`BackbonesError::Format`], [`BackbonesError::Pytorch`].
    pub fn load(path: &Path) -> Result<Weights, BackbonesError> {
        Self::from_file(path, |_| true)
    }

    /// As [`load`](Self::load), but only the tensors that `layers` of `architecture` depend on, which
    /// saves the time and the memory of the others, and under their present names. A tensor that the
    /// file lacks is an error where it is needed, not here.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`BackbonesError::UnknownLayer`].
    pub fn load_for(
        path: &Path,
        architecture: Architecture,
        layers: &[&str],
    ) -> Result<Weights, BackbonesError> {
        let specs = specs_for(architecture, layers)?;
        let names: BTreeSet<&str> = specs
            .iter()
            .flat_map(|spec| spec.old_name.iter().chain([&spec.name]))
            .map(String::as_str)
            .collect();
        let mut weights = Self::from_file(path, |name| names.contains(name))?;
        for spec in specs {
            if let Some(old) = spec.old_name.and_then(|old| weights.tensors.remove(&old)) {
                weights.tensors.entry(spec.name).or_insert(old);
            }
        }
        Ok(weights)
    }

    /// The networks that a file holds weights of: those whose first layer's tensors it has, with their
    /// shapes. Only what the file says of its tensors is read.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn recognize(path: &Path) -> Result<Vec<Architecture>, BackbonesError> {
        let entries = TensorFile::open(path)?.entries;
        let shape = |name: &str| entries.get(name).map(|entry| &entry.shape);
        let has = |spec: TensorSpec| {
            let found = shape(&spec.name).or_else(|| shape(spec.old_name.as_ref()?));
            found == Some(&spec.shape)
        };
        let holds = |architecture: &Architecture| {
            let description = architecture.describe();
            description.stages[..1].iter().flat_map(Stage::tensors).all(has)
        };
        Ok(Architecture::ALL.into_iter().filter(holds).collect())
    }

    /// Writes all tensors of floating-point numbers to a safetensors file, as F32, and has the system
    /// put them onto the disk. An existing file is overwritten; after an error or a crash, what is there
    /// may be a part.
    ///
    /// # Errors
    /// [`BackbonesError::Write`], [`BackbonesError::Format`].
    pub fn save(&self, path: &Path) -> Result<(), BackbonesError> {
        let tensors = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| match &tensor.values {
                Values::F32(values) => Some((
                    name,
                    Written {
                        shape: &tensor.shape,
                        values,
                    },
                )),
                Values::Other(_) => None,
            });
        let failed = |source| BackbonesError::Write {
            path: path.to_owned(),
            source,
        };
        safetensors::serialize_to_file(tensors, None, path).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => failed(source),
            source => BackbonesError::Format {
                path: path.to_owned(),
                source,
            },
        })?;
        let file = std::fs::File::options().write(true).open(path).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    fn from_file(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Weights, BackbonesError> {
        let mut file = TensorFile::open(path)?;
        let wanted: BTreeSet<String> = file.entries.keys().filter(|name| wanted(name)).cloned().collect();
        let mut values = file.read(&wanted)?;
        let entries = std::mem::take(&mut file.entries).into_iter();
        let tensors = entries.filter_map(|(name, entry)| {
            let values = match (values.remove(&name), entry.view) {
                (Some(values), _) => Values::F32(values),
                (None, Err(other)) if wanted.contains(&name) => Values::Other(other),
                (None, _) => return None,
            };
            let shape = entry.shape;
            Some((name, Tensor { shape, values }))
        });
        Ok(Weights {
            origin: format!("weights file {}", path.display()),
            tensors: tensors.collect(),
        })
    }

    /// Weights from tensors: names, shapes and values, as [`get`](Self::get) gives them. `origin` is what error messages
    /// call them. A network checks what it needs of them.
    ///
    /// # Errors
    /// [`BackbonesError::TensorValues`] where there are not as many values as the shape says.
    pub fn from_tensors(
        origin: &str,
        tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    ) -> Result<Weights, BackbonesError> {
        let mut weights = Weights {
            origin: origin.to_owned(),
            tensors: BTreeMap::new(),
        };
        for (name, shape, values) in tensors {
            let len = shape.iter().try_fold(1_usize, |len, side| len.checked_mul(*side));
            if len != Some(values.len()) {
                return Err(weights.bad_values(&name, "another number of values than its shape says"));
            }
            let values = Values::F32(values);
            weights.tensors.insert(name, Tensor { shape, values });
        }
        Ok(weights)
    }

    /// The weights that torchvision gives a new network after `torch.manual_seed(seed)`: the same
    /// numbers up to the last bits of a logarithm and a cosine, and the same bytes on every machine.
    /// What comes after the last layer, such as the classifier, is left out: no features come from it.
    pub fn random(architecture: Architecture, seed: u64) -> Weights {
        let specs = architecture
            .describe()
            .stages
            .iter()
            .flat_map(Stage::tensors)
            .collect();
        Self::drawn(architecture, seed, specs)
    }

    /// As [`random`](Self::random), but only the tensors that `layers` depend on: the same numbers, in
    /// less time and memory.
    ///
    /// # Errors
    /// [`BackbonesError::UnknownLayer`].
    pub fn random_for(
        architecture: Architecture,
        seed: u64,
        layers: &[&str],
    ) -> Result<Weights, BackbonesError> {
        let specs = specs_for(architecture, layers)?;
        Ok(Self::drawn(architecture, seed, specs))
    }

    fn drawn(architecture: Architecture, seed: u64, specs: Vec<TensorSpec>) -> Weights {
        let wanted = specs.into_iter().map(|spec| spec.name).collect();
        let drawn = random::state_dict(&architecture.describe(), seed, &wanted).into_iter();
        let tensors = drawn.map(|(spec, values)| {
            let values = Values::F32(values);
            let shape = spec.shape;
            (spec.name, Tensor { shape, values })
        });
        Weights {
            origin: format!("random weights (seed {seed})"),
            tensors: tensors.collect(),
        }
    }

    /// The layers of `architecture` whose tensors, and those of all layers before, are here.
    pub fn layers(&self, architecture: Architecture) -> Vec<&'static str> {
        let present = |stage: &Stage| stage.tensors().all(|spec| self.find_tensor(&spec).is_some());
        architecture
            .describe()
            .stages
            .iter()
            .take_while(|s| present(s))
            .map(|s| s.layer)
            .collect()
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape and the values of a tensor, in PyTorch's order; none where it is absent or is not of
    /// F32, F16 or BF16.
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        match self.tensors.get(name)? {
            Tensor {
                shape,
                values: Values::F32(values),
            } => Some((shape, values)),
            Tensor {
                values: Values::Other(_),
                ..
            } => None,
        }
    }

    /// Identifies what `layer` depends on, in hexadecimal: BLAKE3 over the name, shape and f32 values
    /// of the tensors that the network reads up to and including the layer, sorted by name.
    ///
    /// The order of the tensors, other tensors, the file and its metadata do not count: a file of the
    /// first layers and the full file agree for the layers that both have.
    ///
    /// # Errors
    /// [`BackbonesError::UnknownLayer`], and of the tensors as in [`Network::new`](crate::Network::new).
    pub fn digest(&self, architecture: Architecture, layer: &str) -> Result<String, BackbonesError> {
        let depth = architecture.depth(layer)?;
        let description = architecture.describe();
        let mut read = BTreeMap::new();
        for stage in description.stages.iter().take(depth + 1) {
            for spec in stage.tensors() {
                let values = self.tensor(architecture, stage.layer, &spec)?;
                read.insert(spec.name, (spec.shape, values));
            }
        }
        let mut hasher = blake3::Hasher::new();
        // Every part is preceded by its length, so that no two contents have the same bytes.
        let number = |hasher: &mut blake3::Hasher, n: usize| {
            hasher.update(&(n as u64).to_le_bytes());
        };
        // A piece at a time: the bytes of all values need not be held beside them.
        let mut bytes = [0; 1 << 16];
        for (name, (shape, values)) in &read {
            number(&mut hasher, name.len());
            hasher.update(name.as_bytes());
            number(&mut hasher, shape.len());
            for side in shape {
                number(&mut hasher, *side);
            }
            for piece in values.chunks(bytes.len() / 4) {
                let (places, _) = bytes.as_chunks_mut::<4>();
                for (place, value) in places.iter_mut().zip(piece) {
                    *place = value.to_le_bytes();
                }
                hasher.update(&bytes[..4 * piece.len()]);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Under its present name or its old one.
    fn find_tensor(&self, spec: &TensorSpec) -> Option<&Tensor> {
        let old = || self.tensors.get(spec.old_name.as_ref()?);
        self.tensors.get(&spec.name).or_else(old)
    }

    /// The values of a tensor that `layer` needs, checked: present, f32, of the shape, finite.
    pub(crate) fn tensor(
        &self,
        architecture: Architecture,
        layer: &'static str,
        spec: &TensorSpec,
    ) -> Result<&[f32], BackbonesError> {
        let Some(tensor) = self.find_tensor(spec) else {
            let servable = self.layers(architecture);
            return Err(BackbonesError::MissingTensor {
                architecture: architecture.name(),
                origin: self.origin.clone(),
                layer,
                tensor: spec.name.clone(),
                servable: if servable.is_empty() {
                    "no layer".to_owned()
                } else {
                    servable.join(", ")
                },
            });
        };
        if tensor.shape != spec.shape {
            return Err(BackbonesError::TensorShape {
                architecture: architecture.name(),
                origin: self.origin.clone(),
                tensor: spec.name.clone(),
                expected: spec.shape.clone(),
                found: tensor.shape.clone(),
            });
        }
        match &tensor.values {
            Values::Other(dtype) => Err(BackbonesError::TensorType {
                origin: self.origin.clone(),
                tensor: spec.name.clone(),
                dtype: dtype.clone(),
            }),
            Values::F32(values) if values.iter().any(|v| !v.is_finite()) => {
                Err(self.bad_values(&spec.name, "NaN or infinity"))
            }
            Values::F32(values) => Ok(values),
        }
    }

    pub(crate) fn bad_values(&self, tensor: &str, what: &'static str) -> BackbonesError {
        BackbonesError::TensorValues {
            origin: self.origin.clone(),
            tensor: tensor.to_owned(),
            what,
        }
    }
}

/// The tensors that `layers` depend on: those of all layers up to the deepest of them.
fn specs_for(architecture: Architecture, layers: &[&str]) -> Result<Vec<TensorSpec>, BackbonesError> {
    let depths = layers.iter().map(|layer| architecture.depth(layer));
    let depths = depths.collect::<Result<Vec<_>, _>>()?;
    let stages = depths.iter().max().map_or(0, |deepest| deepest + 1);
    let description = architecture.describe();
    Ok(description.stages[..stages]
        .iter()
        .flat_map(Stage::tensors)
        .collect())
}

/// A tensor as the safetensors format writes it; its bytes are made when they are written.
struct Written<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl safetensors::View for Written<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}
