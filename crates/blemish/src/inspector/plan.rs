//! What a fit will do and need, known before it begins.

use std::path::PathBuf;

use blemish_backbones::{Architecture, Initialization, Weights};
use blemish_images::{WholeImage, load_rgb};

use super::calibrate::check_rate;
use super::detector::CELLS;
use super::embed::Embedding;
use super::features::CHUNK;
use super::gaussian::{triangle, used_columns};
use super::input::Samples;
use super::method::Method;
use super::{coreset, error::MemoryShortage};
use crate::Error;

/// The shorter side of the network's input, in pixels.
const SIZE: u32 = 384;
/// The longest side that networks take.
const LONGEST: u32 = 2048;
/// The longer side is a multiple of this.
const STEP: u32 = 8;
/// Rows of a memory bank.
const BANK: usize = 4096;
/// Patches among which a bank's rows are chosen.
const CANDIDATES: usize = 65_536;
/// Patches that a detector of patches is fitted to.
const PATCH_ROWS: usize = 2048;
/// Parts that images are divided into where a method has to be fitted anew to score its own images.
pub(crate) const FOLDS: usize = 5;
/// Memory that is used unless more is allowed: 1.5 GB.
const MEMORY: u64 = 1_500_000_000;

/// How to fit.
#[derive(Clone, Debug)]
pub struct FitConfig {
    /// The way to find defects.
    pub method: Method,
    /// The network.
    pub architecture: Architecture,
    /// Its weights; `None` takes the newest that are published.
    pub initialization: Option<Initialization>,
    /// Its layers; `None` takes `layer2` and `layer3` of a residual network.
    pub layers: Option<Vec<String>>,
    /// Folder with weights files.
    pub weights: Option<PathBuf>,
    /// Shorter side of the network's input in pixels, 32 to 2048; `None` takes 384, and 224 for a transformer.
    pub size: Option<u32>,
    /// The part of good images that may be rejected.
    pub false_reject_rate: f64,
    /// Bytes of memory that the fit may use; `None` means 1.5 GB.
    pub memory: Option<u64>,
    /// Rows of a memory bank; `None` means 4096.
    pub bank: Option<usize>,
    /// Patches among which the bank's rows are chosen; `None` means 65536, or fewer if memory is short.
    pub candidates: Option<usize>,
    /// Seed of what is drawn at random.
    pub seed: u64,
}

impl FitConfig {
    /// A memory bank on ResNet-18, for a false-reject rate of 1 %.
    pub fn new() -> FitConfig {
        FitConfig {
            method: Method::MemoryBank,
            architecture: Architecture::Resnet18,
            initialization: None,
            layers: None,
            weights: None,
            size: None,
            false_reject_rate: 0.01,
            memory: None,
            bank: None,
            candidates: None,
            seed: 0,
        }
    }

    /// The weights that are meant.
    pub fn initialization(&self) -> Initialization {
        self.initialization
            .unwrap_or_else(|| self.architecture.study_initializations()[1])
    }

    /// The layers that are meant, by their canonical names.
    ///
    /// # Errors
    /// If the network has no such layer, or none is named.
    pub fn layers(&self) -> Result<Vec<&'static str>, Error> {
        let Some(names) = &self.layers else {
            let all = self.architecture.layers();
            // A transformer's grid is the same at all depths; these are after a third and a half of twelve.
            let default = if all.len() == 4 { &[1, 2] } else { &[3, 5] };
            return Ok(default
                .iter()
                .filter_map(|i: &usize| all.get(*i).copied())
                .collect());
        };
        let mut layers = vec![];
        for name in names {
            let layer = self.architecture.layer(name)?;
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        if layers.is_empty() {
            return Err(Error::Config(format!(
                "name at least one layer of {}",
                self.architecture.layers().join(", ")
            )));
        }
        Ok(layers)
    }

    /// Loads the weights of the layers.
    pub(crate) fn load_weights(&self, layers: &[&str]) -> Result<Weights, Error> {
        crate::weights::load_for(
            self.architecture,
            self.initialization(),
            self.seed,
            layers,
            self.weights.as_deref(),
        )
    }
}

impl Default for FitConfig {
    fn default() -> FitConfig {
        FitConfig::new()
    }
}

/// Sizes of everything, known before the fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FitPlan {
    /// Number of training images.
    pub images: usize,
    /// Width of the network's input, in pixels.
    pub width: u32,
    /// Height of the network's input, in pixels.
    pub height: u32,
    /// Patches of an image.
    pub patches: usize,
    /// Features of a patch.
    pub columns: usize,
    /// Rows that the method keeps: of a memory bank, of a detector of patches, of whole images; positions for PaDiM.
    pub rows: usize,
    /// Patches among which the rows are chosen.
    pub candidates: usize,
    /// Bytes of what the method keeps.
    pub model_bytes: u64,
    /// Bytes that the fit needs at most, about.
    pub needed_bytes: u64,
    /// Bytes that it may use.
    pub memory: u64,
    /// Whether features stay in memory, so that every image goes through the network only once.
    pub keeps_features: bool,
    pub(crate) method: Method,
    pub(crate) layers: Vec<&'static str>,
    pub(crate) prepare: WholeImage,
}

impl FitPlan {
    /// Plans a fit to `samples`. Decodes the first image to know the shape of all.
    ///
    /// # Errors
    /// If a setting is out of range, the first image cannot be decoded, or the memory does not suffice.
    pub fn new(samples: &Samples, config: &FitConfig) -> Result<FitPlan, Error> {
        check_rate(config.false_reject_rate)?;
        let layers = config.layers()?;
        let images = samples.train.len();
        let Some(first) = samples.train.first().filter(|_| images >= 2) else {
            return Err(Error::Config(format!(
                "{} good image{} to learn from: at least 2 are needed, and some hundred are better",
                images,
                if images == 1 { "" } else { "s" }
            )));
        };
        let (width, height) = load_rgb(&first.path)?.dimensions();
        let (width, height) = input_size(config, width, height)?;
        let input = config.architecture.input(config.initialization());
        let prepare = WholeImage {
            width,
            height,
            mean: input.mean,
            std: input.std,
        };
        let shapes = layers
            .iter()
            .map(|layer| {
                config
                    .architecture
                    .layer_shape(layer, height as usize, width as usize)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let embedding = Embedding::new(&shapes);
        let (patches, columns) = (embedding.patches(), embedding.columns);
        let values: usize = shapes.iter().map(|s| s.len()).sum();
        for (name, value) in [("bank", config.bank), ("candidates", config.candidates)] {
            if value.is_some_and(|v| !(2..=50_000_000).contains(&v)) {
                return Err(Error::Config(format!("{name} is to be from 2 to 50000000 rows")));
            }
        }
        let memory = config.memory.unwrap_or(MEMORY);
        let mut plan = FitPlan {
            images,
            width,
            height,
            patches,
            columns,
            rows: 0,
            candidates: 0,
            model_bytes: 0,
            needed_bytes: 0,
            memory,
            keeps_features: false,
            method: config.method,
            layers,
            prepare,
        };
        let fixed = plan.network_bytes(config.architecture)? + plan.batch_bytes(values);
        let all = images.saturating_mul(patches);
        match config.method {
            Method::MemoryBank => {
                plan.rows = config.bank.unwrap_or(BANK).min(all);
                // Packed and as rows, of all images and of all but each fold's; while they are chosen, candidates and
                // their projections, twice.
                plan.model_bytes = 4 * (plan.rows * columns) as u64;
                let banks = 2 * (1 + FOLDS as u64) * plan.model_bytes;
                let row = 4 * (columns + 2 * coreset::PROJECTED + 4) as u64;
                let rest = memory.saturating_sub(fixed + banks);
                let most = usize::try_from(rest / row).unwrap_or(usize::MAX);
                let wanted = config.candidates.unwrap_or(CANDIDATES).max(plan.rows).min(all);
                plan.candidates = wanted.min(most).max(plan.rows);
                plan.needed_bytes = fixed + banks + row * plan.candidates as u64;
            }
            Method::Padim => {
                plan.rows = patches;
                let d = used_columns(columns);
                plan.model_bytes = 4 * (patches * (triangle(d) + d)) as u64;
                // Sums in f64 beside it.
                plan.needed_bytes = fixed + 3 * plan.model_bytes + (CHUNK * patches * columns * 4) as u64;
            }
            Method::Patches(_) => {
                plan.rows = config.bank.unwrap_or(PATCH_ROWS).min(all);
                plan.candidates = plan.rows;
                let n = plan.rows as u64;
                plan.model_bytes = 4 * n * columns as u64 + 8 * n * n;
                let folds = FOLDS as u64 + 1;
                plan.needed_bytes = fixed
                    + folds * plan.model_bytes
                    + 3 * 8 * n * n
                    + 8 * (rayon::current_num_threads() * patches) as u64 * (n + columns as u64);
            }
            Method::Image(_) => {
                plan.rows = images;
                let (n, d) = (images as u64, embedding.whole_len(CELLS) as u64);
                plan.model_bytes = 4 * n * d + 8 * n * n;
                plan.needed_bytes = fixed + 3 * plan.model_bytes + 4 * 8 * n * n;
            }
        }
        if plan.needed_bytes > memory {
            return Err(Error::Memory(MemoryShortage {
                needed: plan.needed_bytes,
                allowed: memory,
                plan: plan.in_words(),
            }));
        }
        let kept = 4 * (images * values) as u64;
        if plan.needed_bytes + kept <= memory {
            plan.keeps_features = true;
            plan.needed_bytes += kept;
        }
        Ok(plan)
    }

    /// Weights as read and as prepared, and the activations of a batch.
    fn network_bytes(&self, architecture: Architecture) -> Result<u64, Error> {
        // Of all layers: a bound on the safe side. 3 x 3 convolutions take four times as much once they are prepared.
        let weights = match architecture {
            Architecture::Resnet18 => 5 * 45_000_000,
            Architecture::Resnet50 => 3 * 102_000_000,
            Architecture::WideResnet50_2 => 3 * 275_000_000,
            Architecture::VitBase16 | Architecture::VitBase32 => 2 * 350_000_000,
        };
        let (height, width) = (self.height as usize, self.width as usize);
        let first = architecture.layer_shape(architecture.layers()[0], height, width)?;
        // The stem's output is four times the first layer's; two buffers of that size are in use at a time.
        Ok(weights + (4 * CHUNK * 2 * 4 * first.len()) as u64)
    }

    /// A batch of images: tensors, features, patches; and what decoding needs.
    fn batch_bytes(&self, values: usize) -> u64 {
        let tensors = 2 * 3 * self.width as usize * self.height as usize;
        (4 * CHUNK * (tensors + 2 * values + self.patches * self.columns)) as u64 + 100_000_000
    }

    /// What will be done, in words.
    pub fn in_words(&self) -> String {
        let what = match self.method {
            Method::MemoryBank => format!(
                "bank of {} patches x {} features ({}), chosen among {}",
                self.rows,
                self.columns,
                bytes(self.model_bytes),
                self.candidates
            ),
            Method::Padim => format!(
                "Gaussians of {} positions ({})",
                self.rows,
                bytes(self.model_bytes)
            ),
            Method::Patches(_) => format!(
                "detector of {} patches x {} features ({})",
                self.rows,
                self.columns,
                bytes(self.model_bytes)
            ),
            Method::Image(_) => format!("detector of {} images ({})", self.rows, bytes(self.model_bytes)),
        };
        format!(
            "{} images as {} x {} pixels, {} patches each; {what}; {}; needs about {} of {}",
            self.images,
            self.width,
            self.height,
            self.patches,
            if self.keeps_features {
                "features stay in memory"
            } else {
                "features are computed twice, as they do not fit into memory"
            },
            bytes(self.needed_bytes),
            bytes(self.memory)
        )
    }
}

/// A number of bytes for a person.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{} kB", n.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", n.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// The network's input for images of a size: the shorter side as configured, the aspect ratio kept as nearly as a
/// multiple of eight pixels keeps it.
fn input_size(config: &FitConfig, width: u32, height: u32) -> Result<(u32, u32), Error> {
    let fixed = config.architecture.layers().len() != 4;
    if fixed {
        return match config.size {
            None | Some(224) => Ok((224, 224)),
            Some(size) => Err(Error::Config(format!(
                "{} takes images of 224 x 224 pixels alone, not of {size}",
                config.architecture
            ))),
        };
    }
    let size = config.size.unwrap_or(SIZE);
    if !(32..=LONGEST).contains(&size) {
        return Err(Error::Config(format!(
            "a size of {size} is none: give 32 to {LONGEST} pixels"
        )));
    }
    let (short, long) = (width.min(height).max(1), width.max(height));
    let exact = f64::from(size) * f64::from(long) / f64::from(short);
    let long = if exact <= f64::from(size) {
        size
    } else {
        let steps = (exact / f64::from(STEP)).round().min(f64::from(LONGEST / STEP));
        (steps as u32 * STEP).max(size)
    };
    Ok(if width >= height {
        (long, size)
    } else {
        (size, long)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_keeps_the_aspect_ratio() {
        let mut config = FitConfig::new();
        let size = |config: &FitConfig, w, h| input_size(config, w, h).unwrap();
        assert_eq!(size(&config, 900, 900), (384, 384));
        assert_eq!(size(&config, 1600, 400), (1536, 384));
        assert_eq!(size(&config, 400, 1600), (384, 1536));
        assert_eq!(size(&config, 10_000, 100), (2048, 384));
        assert_eq!(size(&config, 901, 900), (384, 384));
        config.size = Some(100);
        assert_eq!(size(&config, 5, 5), (100, 100));
        config.size = Some(31);
        assert!(input_size(&config, 9, 9).is_err());
        config.architecture = Architecture::VitBase16;
        config.size = None;
        assert_eq!(size(&config, 900, 300), (224, 224));
    }

    #[test]
    fn layers_are_named_or_chosen() {
        let mut config = FitConfig::new();
        assert_eq!(config.layers().unwrap(), ["layer2", "layer3"]);
        config.layers = Some(vec!["layer1".into(), "layer1".into()]);
        assert_eq!(config.layers().unwrap(), ["layer1"]);
        config.layers = Some(vec![]);
        assert!(config.layers().is_err());
        config.layers = Some(vec!["layer9".into()]);
        assert!(config.layers().is_err());
    }
}
