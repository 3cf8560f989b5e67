//! What a fit will do and need, known before it begins.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use blemish_backbones::{Architecture, Initialization, Weights};
use blemish_images::{WholeImage, load_rgb};

use super::calibrate::check_rate;
use super::detector::CELLS;
use super::features::{CHUNK, at_a_time, image_bytes};
use super::gaussian::{triangle, used_columns};
use super::input::Samples;
use super::method::Method;
use super::tiles::{STEP as TILE_STEP, Tiling, is_transformer, layout};
use super::{coreset, error::MemoryShortage};
use crate::Error;

/// The shorter side of the network's input, in pixels.
const SIZE: u32 = 384;
/// The longest side that networks take.
const LONGEST: u32 = 2048;
/// The shortest side that networks take.
const SHORTEST: u32 = 32;
/// The longest side of pictures that are cut into tiles.
pub(crate) const LONGEST_TILED: u32 = 16_384;
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
    /// Shorter side of the network's input in pixels, 32 to 2048; `None` takes 384, and 224 for a transformer. The aspect
    /// ratio is kept, and the longer side is at most 2048. Of pictures that are cut into tiles: shorter side before they are
    /// cut, to 16384; `None` takes that of the first image.
    pub size: Option<u32>,
    /// How pictures are cut into tiles; `None` takes them whole. For methods that have maps.
    pub tiling: Option<Tiling>,
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
    /// Where this becomes true, a fit or choice ends soon with [`Error::Stopped`].
    pub stop: Option<Arc<AtomicBool>>,
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
            tiling: None,
            false_reject_rate: 0.01,
            memory: None,
            bank: None,
            candidates: None,
            seed: 0,
            stop: None,
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

    /// Whether the settings make sense, as far as can be told without images and weights.
    ///
    /// # Errors
    /// [`Error::Config`] for the first that does not; [`Error::Backbones`] for layers that the network does not have.
    pub fn check(&self) -> Result<(), Error> {
        check_rate(self.false_reject_rate)?;
        self.layers()?;
        if let Some(tiling) = self.tiling {
            tiling.check(self.architecture)?;
            if !self.method.has_map() {
                return Err(Error::Config(format!(
                    "{} looks at images as a whole and has no use for tiles: leave out --tile, or take memory-bank, padim, \
                     patch-lof or patch-mahalanobis",
                    self.method
                )));
            }
        }
        for (name, value) in [("bank", self.bank), ("candidates", self.candidates)] {
            if value.is_some_and(|v| !(2..=50_000_000).contains(&v)) {
                return Err(Error::Config(format!("{name} is to be from 2 to 50000000 rows")));
            }
        }
        let most = if self.tiling.is_some() {
            LONGEST_TILED
        } else {
            LONGEST
        };
        match self.size {
            Some(size) if self.tiling.is_none() && is_transformer(self.architecture) && size != 224 => {
                Err(Error::Config(format!(
                    "{} takes images of 224 x 224 pixels alone, not of {size}; larger ones in tiles: --size {size} --tile 224",
                    self.architecture
                )))
            }
            Some(size) if !(SHORTEST..=most).contains(&size) => Err(Error::Config(format!(
                "a size of {size} is none: give {SHORTEST} to {most} pixels"
            ))),
            _ => Ok(()),
        }
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
#[derive(Clone, Debug)]
pub struct FitPlan {
    /// Number of training images.
    pub images: usize,
    /// Width of the network's input, in pixels.
    pub width: u32,
    /// Height of the network's input, in pixels.
    pub height: u32,
    /// Columns and rows of tiles that the input is cut into; 1 and 1 where it is taken whole.
    pub tiles: (usize, usize),
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
    pub(crate) tiling: Option<Tiling>,
    /// Values of an image's features, all layers.
    pub(crate) values: usize,
    /// Images that are taken at a time.
    pub(crate) chunk: usize,
    /// Width and height of the first image, in pixels.
    pub(crate) original: (u32, u32),
    pub(crate) stop: Option<Arc<AtomicBool>>,
}

impl FitPlan {
    /// Plans a fit to `samples`. Decodes the first image to know the shape of all.
    ///
    /// # Errors
    /// If a setting is out of range, the first image cannot be decoded, or the memory does not suffice.
    pub fn new(samples: &Samples, config: &FitConfig) -> Result<FitPlan, Error> {
        config.check()?;
        let layers = config.layers()?;
        let images = samples.train.len();
        let Some(first) = samples.train.first().filter(|_| images >= 2) else {
            return Err(Error::Config(format!(
                "{} good image{} to learn from: at least 2 are needed, and some hundred are better",
                images,
                if images == 1 { "" } else { "s" }
            )));
        };
        let tiling = config.tiling;
        let original = load_rgb(&first.path)?.dimensions();
        let (width, height) = input_size(config, original)?;
        let input = config.architecture.input(config.initialization());
        let prepare = WholeImage {
            width,
            height,
            mean: input.mean,
            std: input.std,
        };
        let (embedding, tiles) = layout(config.architecture, &layers, (width, height), tiling)?;
        let (patches, columns) = (embedding.patches(), embedding.columns);
        let values = embedding.values();
        // A picture of 8 bits and, while it is resized, of 32.
        let decoding = 15 * u64::from(original.0) * u64::from(original.1);
        let each = image_bytes(&prepare, &embedding) + decoding;
        let chunk = at_a_time(each);
        let memory = config.memory.unwrap_or(MEMORY);
        let mut plan = FitPlan {
            images,
            width,
            height,
            tiles: tiles.as_ref().map_or((1, 1), |tiles| tiles.grid()),
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
            tiling,
            values,
            chunk,
            original,
            stop: config.stop.clone(),
        };
        let (tile, tile_values) = match &tiles {
            Some(tiles) => (tiles.side(), tiles.tile_values()),
            None => ((height, width), 0),
        };
        let copies = CHUNK * (3 * tile.0 as usize * tile.1 as usize + tile_values);
        let fixed = plan.network_bytes(config.architecture, tile)?
            + chunk as u64 * each
            + if tiles.is_some() { 4 * copies as u64 } else { 0 }
            + 50_000_000;
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
                plan.needed_bytes = fixed + 3 * plan.model_bytes + (chunk * patches * columns * 4) as u64;
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

    /// Weights as read and as prepared, and the activations of a batch of images or tiles (height, width).
    fn network_bytes(&self, architecture: Architecture, (height, width): (u32, u32)) -> Result<u64, Error> {
        // Of all layers: a bound on the safe side. 3 x 3 convolutions take four times as much once they are prepared.
        let weights = match architecture {
            Architecture::Resnet18 => 5 * 45_000_000,
            Architecture::Resnet50 => 3 * 102_000_000,
            Architecture::WideResnet50_2 => 3 * 275_000_000,
            Architecture::VitBase16 | Architecture::VitBase32 => 2 * 350_000_000,
        };
        let first = architecture.layer_shape(architecture.layers()[0], height as usize, width as usize)?;
        // The stem's output is four times the first layer's; two buffers of that size are in use at a time.
        let batch = if self.tiling.is_some() { CHUNK } else { self.chunk };
        Ok(weights + (4 * batch * 2 * 4 * first.len()) as u64)
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
        let tiles = self.tiling.map_or_else(String::new, |tiling| {
            let (across, down) = self.tiles;
            format!(
                " in {across} x {down} tiles of {} x {}",
                tiling.size.min(self.width),
                tiling.size.min(self.height)
            )
        });
        let stretched = match self.stretch() {
            s if (0.95..1.05).contains(&s) => String::new(),
            _ => format!(
                " (not in the proportions of {} x {}: the network's sides are {SHORTEST} to {LONGEST})",
                self.original.0, self.original.1
            ),
        };
        format!(
            "{} images as {} x {} pixels{stretched}{tiles}, {} patches each; {what}; {}; needs about {} of {}",
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

impl FitPlan {
    /// By how much the input is wider, for its height, than the first image.
    fn stretch(&self) -> f64 {
        let ratio = |w: u32, h: u32| f64::from(w.max(1)) / f64::from(h.max(1));
        ratio(self.width, self.height) / ratio(self.original.0, self.original.1)
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

/// The network's input for images of a size: the shorter side as configured, the aspect ratio kept as nearly as whole steps
/// keep it. Where the longer side would be longer than networks take, both are shorter.
fn input_size(config: &FitConfig, (width, height): (u32, u32)) -> Result<(u32, u32), Error> {
    let (short, long) = (width.min(height).max(1), width.max(height).max(1));
    let (least, most, step) = match config.tiling {
        Some(_) => (SHORTEST, LONGEST_TILED, TILE_STEP),
        None => (SHORTEST, LONGEST, STEP),
    };
    let wanted = match (config.size, config.tiling) {
        (_, None) if is_transformer(config.architecture) => return Ok((224, 224)),
        (Some(size), _) => f64::from(size),
        (None, None) => f64::from(SIZE),
        // At the resolution that they have.
        (None, Some(_)) => f64::from(short),
    };
    let scale = (wanted / f64::from(short)).min(f64::from(most) / f64::from(long));
    let side = |of: u32| {
        let steps = (f64::from(of) * scale / f64::from(step)).round() as u32;
        (steps * step).clamp(least, most)
    };
    let (mut short_side, long_side) = (side(short), side(long));
    if config.tiling.is_none() && wanted <= f64::from(short) * scale + 0.5 {
        // Not limited by the longer side: as configured, whether or not it is whole steps.
        short_side = wanted as u32;
    }
    let long_side = if long == short {
        short_side
    } else {
        long_side.max(short_side)
    };
    let (width, height) = if width >= height {
        (long_side, short_side)
    } else {
        (short_side, long_side)
    };
    if let Some(tiling) = config.tiling
        && is_transformer(config.architecture)
        && width.min(height) < tiling.size
    {
        return Err(Error::Config(format!(
            "{} takes tiles of {1} x {1} pixels, and images would be {width} x {height}: give a --size of {1} or more",
            config.architecture, tiling.size
        )));
    }
    if let Some(tiling) = config.tiling
        && width <= tiling.size
        && height <= tiling.size
    {
        return Err(Error::Config(format!(
            "a tile of {0} x {0} pixels is not smaller than the images, which are {width} x {height}: leave out --tile, or \
             give a larger --size",
            tiling.size
        )));
    }
    Ok((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_keeps_the_aspect_ratio() {
        let mut config = FitConfig::new();
        let size = |config: &FitConfig, w, h| input_size(config, (w, h)).unwrap();
        assert_eq!(size(&config, 900, 900), (384, 384));
        assert_eq!(size(&config, 1600, 400), (1536, 384));
        assert_eq!(size(&config, 400, 1600), (384, 1536));
        // The longer side has an end, and proportions count for more than the size.
        assert_eq!(size(&config, 4000, 500), (2048, 256));
        assert_eq!(size(&config, 500, 4000), (256, 2048));
        assert_eq!(size(&config, 10_000, 100), (2048, 32));
        assert_eq!(size(&config, 5000, 1), (2048, 32));
        assert_eq!(size(&config, 901, 900), (384, 384));
        config.size = Some(100);
        assert_eq!(size(&config, 5, 5), (100, 100));
        for size in [0, 31, 2049] {
            config.size = Some(size);
            assert!(config.check().is_err());
        }
        config.architecture = Architecture::VitBase16;
        config.size = None;
        assert_eq!(size(&config, 900, 300), (224, 224));
    }

    #[test]
    fn pictures_in_tiles_keep_their_resolution_to_whole_steps() {
        let mut config = FitConfig::new();
        config.tiling = Some(Tiling {
            size: 320,
            overlap: 32,
        });
        let size = |config: &FitConfig, w, h| input_size(config, (w, h));
        assert_eq!(size(&config, 900, 900).unwrap(), (896, 896));
        assert_eq!(size(&config, 5000, 1).unwrap(), (4992, 32));
        assert_eq!(size(&config, 640, 200).unwrap(), (640, 192));
        let text = size(&config, 300, 320).unwrap_err().to_string();
        assert!(
            text.contains("not smaller") && text.contains("288 x 320"),
            "{text}"
        );
        config.size = Some(640);
        assert_eq!(size(&config, 300, 320).unwrap(), (640, 672));
        config.size = Some(20_000);
        assert!(config.check().is_err());
        config.architecture = Architecture::VitBase16;
        config.tiling = Some(Tiling {
            size: 224,
            overlap: 0,
        });
        config.size = Some(448);
        assert_eq!(size(&config, 900, 900).unwrap(), (448, 448));
        config.size = Some(160);
        let text = size(&config, 900, 400).unwrap_err().to_string();
        assert!(text.contains("--size of 224"), "{text}");
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
