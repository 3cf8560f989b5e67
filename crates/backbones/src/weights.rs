//! Named tensors: from a safetensors file or from a seed.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::architecture::Architecture;
use crate::description::{Stage, TensorSpec};
use crate::error::BackbonesError;
use crate::random;

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
    /// Reads a safetensors file. Tensors of F32, F16 and BF16 become f32, exactly; those of other
    /// types are an error only where a network needs them.
    ///
    /// # Errors
    /// [`BackbonesError::Read`], [`BackbonesError::Format`].
    pub fn load(path: &Path) -> Result<Weights, BackbonesError> {
        let bytes = std::fs::read(path).map_err(|source| BackbonesError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|source| BackbonesError::Format {
            path: path.to_owned(),
            source,
        })?;
        let tensors = file.iter().map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(widen(view.data(), f32::from_le_bytes)),
                Dtype::F16 => Values::F32(widen(view.data(), |b| from_f16(u16::from_le_bytes(b)))),
                Dtype::BF16 => Values::F32(widen(view.data(), |b| {
                    f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
                })),
                other => Values::Other(format!("{other:?}")),
            };
            (
                name.to_owned(),
                Tensor {
                    shape: view.shape().to_vec(),
                    values,
                },
            )
        });
        Ok(Weights {
            origin: format!("weights file {}", path.display()),
            tensors: tensors.collect(),
        })
    }

    /// The weights that torchvision gives a new network after `torch.manual_seed(seed)`: the same
    /// numbers up to the last bits of a logarithm and a cosine, whatever the machine. Only the last,
    /// fully connected layer is left out: no features come from it.
    pub fn random(architecture: Architecture, seed: u64) -> Weights {
        let tensors = random::state_dict(&architecture.describe(), seed)
            .into_iter()
            .map(|(spec, values)| {
                (
                    spec.name,
                    Tensor {
                        shape: spec.shape,
                        values: Values::F32(values),
                    },
                )
            });
        Weights {
            origin: format!("random weights (seed {seed})"),
            tensors: tensors.collect(),
        }
    }

    /// The layers of `architecture` whose tensors, and those of all layers before, are here.
    pub fn layers(&self, architecture: Architecture) -> Vec<&'static str> {
        let present = |stage: &Stage| stage.tensors().all(|spec| self.tensors.contains_key(&spec.name));
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
        let mut bytes = Vec::new();
        for (name, (shape, values)) in &read {
            number(&mut hasher, name.len());
            hasher.update(name.as_bytes());
            number(&mut hasher, shape.len());
            for side in shape {
                number(&mut hasher, *side);
            }
            bytes.clear();
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            hasher.update(&bytes);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The values of a tensor that `layer` needs, checked: present, f32, of the shape, finite.
    pub(crate) fn tensor(
        &self,
        architecture: Architecture,
        layer: &'static str,
        spec: &TensorSpec,
    ) -> Result<&[f32], BackbonesError> {
        let Some(tensor) = self.tensors.get(&spec.name) else {
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

/// Numbers of `N` bytes each, little-endian; the format guarantees a whole number of them.
fn widen<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.iter().map(|number| convert(*number)).collect()
}

/// IEEE 754 half precision, exactly.
fn from_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    match exponent {
        // Zero and subnormal: fraction x 2^-24, which f32 holds exactly as a normal number.
        0 => f32::from_bits((fraction as f32 * 2.0_f32.powi(-24)).to_bits() | sign),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x03ff, 6.097_555e-5),
            (0x0001, 5.960_464_5e-8),
            (0x8001, -5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_f16(bits), value, "{bits:#x}");
        }
        assert_eq!(from_f16(0x8000).to_bits(), (-0.0_f32).to_bits());
        assert!(from_f16(0x7e00).is_nan());
        // Every finite half is larger than the one before.
        assert!((0..0x7c00_u16).map(from_f16).is_sorted_by(|a, b| a < b));
    }
}
