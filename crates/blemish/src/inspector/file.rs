//! The model file: safetensors with one entry of metadata.
//!
//! Its name is `blemish`, and its value is JSON: `{"version": N, "blake3": HASH, "header": {...}}`; N is 1, or 2 where
//! images are cut into tiles, which a program that knows none must not read. The header holds the
//! [`Settings`]; the hash is over its text and over name, type, shape and bytes of every tensor, in the order of names.
//! Nothing that the file says of itself is believed: every tensor must have the type and the shape that the settings ask
//! for, and every number must be finite.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use blemish_backbones::{Architecture, Initialization, Network, Weights};
use blemish_detectors::Model;
use blemish_images::{RgbImage, WholeImage};
use ndarray::Array2;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bank::MemoryBank;
use super::calibrate::{Calibration, check_rate};
use super::detector::{CELLS, Detector};
use super::error::ModelFileError;
use super::features::Extractor;
use super::gaussian::{Gaussian, triangle, used_columns};
use super::method::Method;
use super::model::{Inspector, References, Settings, deepest};
use super::plan::LONGEST_TILED;
use super::tiles::{STEP, layout};
use crate::Error;

/// Raised whenever a file of before would be read wrongly, or a file of now would be by a program of before. Files of 1 are
/// read as ever, and still written of models that take their images whole.
const VERSION: u64 = 2;
/// The version of models whose images are not cut into tiles.
const WHOLE: u64 = 1;
/// The entry of the metadata.
const KEY: &str = "blemish";
/// What comes before the names of a network's tensors.
const BACKBONE: &str = "backbone.";
/// How far a stored image's score may be from what it was, in parts of itself: rounding on another processor.
const TOLERANCE: f64 = 1e-4;
/// The most stored images that are scored again: a crafted file is not to take hours.
const MOST_REFERENCES: usize = 16;

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    version: u64,
    blake3: String,
    #[serde(borrow)]
    header: &'a RawValue,
}

/// A tensor to be written.
struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl safetensors::View for &Written {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

type Tensors = BTreeMap<String, Written>;

fn put(tensors: &mut Tensors, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
    let shape = shape.to_vec();
    tensors.insert(name.into(), Written { dtype, shape, bytes });
}

fn put_f32<'a>(tensors: &mut Tensors, name: &str, shape: &[usize], values: impl Iterator<Item = &'a f32>) {
    put(
        tensors,
        name,
        Dtype::F32,
        shape,
        values.flat_map(|v| v.to_le_bytes()).collect(),
    );
}

fn put_f64(tensors: &mut Tensors, name: &str, values: &[f64]) {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    put(tensors, name, Dtype::F64, &[values.len()], bytes);
}

fn put_u32(tensors: &mut Tensors, name: &str, values: &[u32]) {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    put(tensors, name, Dtype::U32, &[values.len()], bytes);
}

fn hash<'a>(header: &str, tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    // Every part is preceded by its length, so that no two contents have the same bytes.
    let part = |hasher: &mut blake3::Hasher, bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(&mut hasher, header.as_bytes());
    for (name, dtype, shape, bytes) in tensors {
        part(&mut hasher, name.as_bytes());
        part(&mut hasher, dtype.to_string().as_bytes());
        hasher.update(&(shape.len() as u64).to_le_bytes());
        for side in shape {
            hasher.update(&(*side as u64).to_le_bytes());
        }
        part(&mut hasher, bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// What a file that is not complete yet ends with.
const PARTIAL: &str = ".partial";

/// What it begins with: hidden, and after the file that it is to become.
fn partial_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Names have an end, which is 255 bytes on most systems.
    let name: String = name.chars().take(50).collect();
    format!(".blemish-{name}-")
}

/// Removes what processes that were killed while they wrote the same file have left behind. What cannot be looked at or
/// removed stays: it is in nobody's way.
fn remove_leftovers(folder: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let rest = name.strip_prefix(prefix).and_then(|n| n.strip_suffix(PARTIAL));
        // What tempfile puts between the two is six letters and digits.
        let is_ours = rest.is_some_and(|r| r.len() == 6 && r.chars().all(|c| c.is_ascii_alphanumeric()));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // A process that is still writing holds it.
        let file = std::fs::File::options().write(true).open(entry.path());
        if file.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Bytes of a file in which a model's name for its settings must be found.
const BEGINNING: u64 = 4096;

impl Inspector {
    /// Whether [`save`](Self::save) would write to `path`: there is nothing there yet, or a model. Other files are left
    /// alone, as are devices and pipes.
    ///
    /// # Errors
    /// [`Error::Config`] if something else is there, and if that cannot be told.
    pub fn may_be_written(path: &Path) -> Result<(), Error> {
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(path, e)),
        };
        let mut beginning = vec![];
        if found.is_file() {
            let read = std::fs::File::open(path).and_then(|file| {
                std::io::Read::read_to_end(&mut std::io::Read::take(file, BEGINNING), &mut beginning)
            });
            read.map_err(|e| Error::io(path, e))?;
        }
        // The header of safetensors follows its length; an empty file is nobody's work.
        let name = format!("\"{KEY}\"");
        let is_model =
            beginning.get(8) == Some(&b'{') && beginning.windows(name.len()).any(|w| w == name.as_bytes());
        if found.is_file() && (is_model || found.len() == 0) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} is there already and is no model of blemish: give another name, or remove it first",
            path.display()
        )))
    }

    /// Writes everything to one file: settings, what was learned, threshold, stored images with their scores; with
    /// `embed_weights` the network's weights too, otherwise their hash. The file is complete or absent: it is written under
    /// another name and then renamed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path, embed_weights: bool) -> Result<(), Error> {
        Inspector::may_be_written(path)?;
        // A link stays one: what it leads to is replaced.
        let real = path.canonicalize();
        let path = real.as_deref().unwrap_or(path);
        let bytes = self.to_bytes(embed_weights)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let io = |e| Error::io(path, e);
        let prefix = partial_prefix(path);
        remove_leftovers(folder, &prefix);
        let mut file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(PARTIAL)
            .tempfile_in(folder)
            .map_err(io)?;
        // As long as this is held, no other process takes the file for one that was left behind. Where the system has no
        // locks there is none, and nothing is removed either.
        let _ = file.as_file().try_lock();
        std::io::Write::write_all(&mut file, &bytes).map_err(io)?;
        // Temporary files are for the owner alone; a model is as open as other files.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode());
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(mode))
                .map_err(io)?;
        }
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|e| io(e.error))?;
        // The name too; not every system has folders that can be opened, and the file is whole either way.
        if let Ok(folder) = std::fs::File::open(folder) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// The bytes that [`save`](Self::save) writes.
    ///
    /// # Errors
    /// If they cannot be made: a defect of the program.
    pub fn to_bytes(&self, embed_weights: bool) -> Result<Vec<u8>, Error> {
        let mut tensors = Tensors::new();
        put_f64(&mut tensors, "calibration.scores", self.calibration.scores());
        put_f64(&mut tensors, "reference.scores", &self.references.scores);
        let (height, width) = (self.settings.height as usize, self.settings.width as usize);
        let images = &self.references.images;
        let pixels = images
            .iter()
            .flat_map(|image| image.as_raw().iter().copied())
            .collect();
        put(
            &mut tensors,
            "reference.images",
            Dtype::U8,
            &[images.len(), height, width, 3],
            pixels,
        );
        match &self.detector {
            Detector::Bank(bank) => {
                let (m, d) = bank.rows.dim();
                put_f32(&mut tensors, "bank.rows", &[m, d], bank.rows.iter());
            }
            Detector::Gaussian(gaussian) => {
                let (p, d) = gaussian.mean.dim();
                put_u32(&mut tensors, "gaussian.columns", &gaussian.columns);
                put_f32(&mut tensors, "gaussian.mean", &[p, d], gaussian.mean.iter());
                put_f32(
                    &mut tensors,
                    "gaussian.factors",
                    &[p, triangle(d)],
                    gaussian.factors.iter(),
                );
            }
            Detector::Patches(model) | Detector::Image(model) => {
                let bytes = model.to_bytes()?;
                let len = bytes.len();
                put(&mut tensors, "detector.model", Dtype::U8, &[len], bytes);
            }
        }
        if embed_weights {
            let names: Vec<String> = self.weights.names().map(str::to_owned).collect();
            for name in names {
                if let Some((shape, values)) = self.weights.get(&name) {
                    put_f32(&mut tensors, &format!("{BACKBONE}{name}"), shape, values.iter());
                }
            }
        }
        let internal = |e: &dyn std::fmt::Display| Error::Panic(format!("a model could not be written: {e}"));
        let header = serde_json::value::to_raw_value(&self.settings).map_err(|e| internal(&e))?;
        let parts = tensors
            .iter()
            .map(|(name, t)| (name.as_str(), t.dtype, t.shape.as_slice(), t.bytes.as_slice()));
        let envelope = Envelope {
            version: match self.settings.tiling {
                Some(_) => VERSION,
                None => WHOLE,
            },
            blake3: hash(header.get(), parts),
            header: &header,
        };
        let envelope = serde_json::to_string(&envelope).map_err(|e| internal(&e))?;
        // One entry: a map of several would be written in another order every time.
        let metadata = HashMap::from([(KEY.to_owned(), envelope)]);
        safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), Some(metadata))
            .map_err(|e| internal(&e))
    }

    /// Reads a file that [`save`](Self::save) wrote, and scores its stored images again. Weights that are not in the file
    /// are looked for in the folder `weights`.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if it is no such file, is damaged, or does not give the scores that it gave; and if weights
    /// cannot be found.
    pub fn load(path: &Path, weights: Option<&Path>) -> Result<Inspector, Error> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        read(&bytes, weights, true).map_err(|error| error.of(path))
    }

    /// [`load`](Self::load) of the bytes of a file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8], weights: Option<&Path>) -> Result<Inspector, Error> {
        read(bytes, weights, true).map_err(|error| error.of(Path::new("model")))
    }

    /// [`from_bytes`](Self::from_bytes) of a file whose hash need not be right: for tests with damaged files, which would
    /// not come past it.
    #[doc(hidden)]
    pub fn from_bytes_unhashed(bytes: &[u8]) -> Result<Inspector, Error> {
        read(bytes, None, false).map_err(|error| error.of(Path::new("model")))
    }

    /// Whether stored images score as they did.
    fn check_references(&self) -> Result<(), FileError> {
        let References { images, scores } = &self.references;
        let found = self.score_batch(images.len(), &|i| Ok(images[i].clone()), false);
        for (index, (found, expected)) in found.into_iter().zip(scores).enumerate() {
            let found = found?.score;
            let off = (found - expected).abs() / expected.abs().max(1e-12);
            if off.is_nan() || off > TOLERANCE {
                return Err(ModelFileError::OtherScores {
                    index,
                    expected: *expected,
                    found,
                }
                .into());
            }
        }
        Ok(())
    }
}

/// What a file's bytes hold.
fn read(bytes: &[u8], weights: Option<&Path>, hashed: bool) -> Result<Inspector, FileError> {
    let file = File::open(bytes, hashed)?;
    let settings = file.settings()?;
    let architecture: Architecture = settings.architecture.parse().map_err(header)?;
    let initialization: Initialization = settings.initialization.parse().map_err(header)?;
    let names: Vec<&str> = settings.layers.iter().map(String::as_str).collect();
    let layers = names
        .iter()
        .map(|layer| architecture.layer(layer))
        .collect::<Result<Vec<_>, _>>()
        .map_err(header)?;
    if layers != names || layers.is_empty() || layers.len() > architecture.layers().len() {
        return Err(header("its layers are not named as they should be").into());
    }
    let prepare = WholeImage {
        width: settings.width,
        height: settings.height,
        mean: settings.mean,
        std: settings.std,
    };
    if let Some(tiling) = settings.tiling {
        tiling.check(architecture).map_err(header)?;
        let (width, height) = (settings.width, settings.height);
        let whole = |side: u32| side.is_multiple_of(STEP) && (STEP..=LONGEST_TILED).contains(&side);
        if !whole(width) || !whole(height) || !settings.method.has_map() {
            return Err(header("images of this size, or for this method, are not cut into tiles").into());
        }
    }
    let size = (settings.width, settings.height);
    let (embedding, _) = layout(architecture, &layers, size, settings.tiling).map_err(header)?;
    let detector = file.detector(&settings, &embedding)?;
    let calibration = file.calibration(&settings)?;
    let references = file.references(&settings)?;

    // Last, since it takes longest.
    let weights = match file.weights()? {
        Some(weights) => weights,
        None => crate::weights::load_for(architecture, initialization, settings.seed, &layers, weights)?,
    };
    let found = weights
        .digest(architecture, deepest(architecture, &layers))
        .map_err(Error::from)?;
    if found != settings.weights_digest {
        return Err(ModelFileError::OtherWeights {
            architecture: architecture.to_string(),
            expected: settings.weights_digest,
            found,
        }
        .into());
    }
    let network = Network::new(architecture, &weights, &layers).map_err(Error::from)?;
    let tiling = settings.tiling;
    let extractor = Extractor::new(network, prepare, tiling)?;
    let inspector = Inspector::assemble(settings, weights, extractor, detector, calibration, references);
    inspector.check_references()?;
    Ok(inspector)
}

/// What can go wrong with bytes: with themselves, or with what they need.
#[derive(Debug)]
enum FileError {
    File(ModelFileError),
    Other(Error),
}

impl FileError {
    fn of(self, path: &Path) -> Error {
        match self {
            FileError::File(source) => Error::ModelFile {
                path: path.into(),
                source: Box::new(source),
            },
            FileError::Other(error) => error,
        }
    }
}

impl From<ModelFileError> for FileError {
    fn from(error: ModelFileError) -> FileError {
        FileError::File(error)
    }
}

impl From<Error> for FileError {
    fn from(error: Error) -> FileError {
        FileError::Other(error)
    }
}

fn header(reason: impl std::fmt::Display) -> ModelFileError {
    ModelFileError::Header {
        reason: reason.to_string(),
    }
}

fn not_a_model(reason: impl std::fmt::Display) -> ModelFileError {
    ModelFileError::NotAModel {
        reason: reason.to_string(),
    }
}

/// A file whose hash is right.
struct File<'a> {
    version: u64,
    tensors: BTreeMap<String, TensorView<'a>>,
    header: String,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8], hashed: bool) -> Result<File<'a>, ModelFileError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_a_model)?;
        let entries = metadata.metadata().as_ref();
        let text = entries.and_then(|entries| entries.get(KEY));
        let Some(text) = text else {
            return Err(not_a_model("it is a safetensors file of something else"));
        };
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(not_a_model)?;
        if !(WHOLE..=VERSION).contains(&envelope.version) {
            return Err(ModelFileError::Version {
                found: envelope.version,
                expected: VERSION,
            });
        }
        let tensors: BTreeMap<String, TensorView<'a>> = SafeTensors::deserialize(bytes)
            .map_err(not_a_model)?
            .tensors()
            .into_iter()
            .collect();
        let parts = tensors
            .iter()
            .map(|(name, t)| (name.as_str(), t.dtype(), t.shape(), t.data()));
        if hashed && hash(envelope.header.get(), parts) != envelope.blake3 {
            return Err(ModelFileError::Damaged);
        }
        Ok(File {
            version: envelope.version,
            header: envelope.header.get().to_owned(),
            tensors,
        })
    }

    fn settings(&self) -> Result<Settings, ModelFileError> {
        let settings: Settings = serde_json::from_str(&self.header).map_err(header)?;
        check_rate(settings.false_reject_rate).map_err(header)?;
        let finite = settings.mean.iter().chain(&settings.std).all(|v| v.is_finite());
        if !finite || settings.std.iter().any(|s| *s <= 0.0) {
            return Err(header("its normalisation is out of range"));
        }
        if settings.images < 2 || settings.images > u32::MAX as usize {
            return Err(header("its number of images is out of range"));
        }
        if settings.tiling.is_some() != (self.version == VERSION) {
            return Err(header("its version is not that of models with tiles"));
        }
        Ok(settings)
    }

    /// The bytes of a tensor of a type and a shape.
    fn tensor(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8], ModelFileError> {
        let view = self.any(name, dtype)?;
        if view.shape() != shape {
            return Err(tensor(
                name,
                format!("is {:?} and should be {shape:?}", view.shape()),
            ));
        }
        Ok(view.data())
    }

    /// A tensor of a type.
    fn any(&self, name: &str, dtype: Dtype) -> Result<&TensorView<'a>, ModelFileError> {
        let Some(view) = self.tensors.get(name) else {
            return Err(tensor(name, "is missing".into()));
        };
        if view.dtype() != dtype {
            return Err(tensor(
                name,
                format!("is of {} and should be of {dtype}", view.dtype()),
            ));
        }
        Ok(view)
    }

    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelFileError> {
        let (numbers, _) = self.tensor(name, Dtype::F32, shape)?.as_chunks::<4>();
        let values: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(ModelFileError::NotFinite { name: name.into() });
        }
        Ok(values)
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, ModelFileError> {
        let values = self.f32(name, &[rows, columns])?;
        Array2::from_shape_vec((rows, columns), values).map_err(|e| tensor(name, e.to_string()))
    }

    fn f64(&self, name: &str, len: usize) -> Result<Vec<f64>, ModelFileError> {
        let (numbers, _) = self.tensor(name, Dtype::F64, &[len])?.as_chunks::<8>();
        let values: Vec<f64> = numbers.iter().map(|b| f64::from_le_bytes(*b)).collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(ModelFileError::NotFinite { name: name.into() });
        }
        Ok(values)
    }

    /// Ascending numbers below `end`.
    fn numbers(&self, name: &str, len: usize, end: usize) -> Result<Vec<u32>, ModelFileError> {
        let (numbers, _) = self.tensor(name, Dtype::U32, &[len])?.as_chunks::<4>();
        let values: Vec<u32> = numbers.iter().map(|b| u32::from_le_bytes(*b)).collect();
        if !values.is_sorted() || values.last().is_some_and(|v| *v as usize >= end) {
            return Err(tensor(name, format!("should be ascending numbers below {end}")));
        }
        Ok(values)
    }

    fn detector(
        &self,
        settings: &Settings,
        embedding: &super::embed::Embedding,
    ) -> Result<Detector, ModelFileError> {
        let (patches, columns) = (embedding.patches(), embedding.columns);
        Ok(match settings.method {
            Method::MemoryBank => {
                let rows = self
                    .any("bank.rows", Dtype::F32)?
                    .shape()
                    .first()
                    .copied()
                    .unwrap_or(0);
                if rows == 0 {
                    return Err(tensor("bank.rows", "has no rows".into()));
                }
                Detector::Bank(MemoryBank::new(self.matrix("bank.rows", rows, columns)?))
            }
            Method::Padim => {
                let d = used_columns(columns);
                Detector::Gaussian(Gaussian {
                    columns: self.numbers("gaussian.columns", d, columns)?,
                    mean: self.matrix("gaussian.mean", patches, d)?,
                    factors: self.matrix("gaussian.factors", patches, triangle(d))?,
                    images: settings.images,
                })
            }
            Method::Patches(kind) => Detector::Patches(self.model(kind, columns)?.into()),
            Method::Image(kind) => Detector::Image(self.model(kind, embedding.whole_len(CELLS))?.into()),
        })
    }

    fn model(&self, kind: blemish_detectors::DetectorKind, columns: usize) -> Result<Model, ModelFileError> {
        let name = "detector.model";
        let bytes = self.any(name, Dtype::U8)?.data();
        let model = Model::from_bytes(bytes).map_err(|e| tensor(name, e.to_string()))?;
        if model.spec().kind() != kind || model.columns() != columns {
            return Err(tensor(name, format!("should be a {kind} of {columns} columns")));
        }
        Ok(model)
    }

    fn calibration(&self, settings: &Settings) -> Result<Calibration, ModelFileError> {
        let scores = self.f64("calibration.scores", settings.images)?;
        Calibration::new(scores, settings.false_reject_rate).map_err(header)
    }

    fn references(&self, settings: &Settings) -> Result<References, ModelFileError> {
        let count = self
            .any("reference.scores", Dtype::F64)?
            .shape()
            .first()
            .copied()
            .unwrap_or(0);
        if count == 0 || count > MOST_REFERENCES {
            return Err(tensor(
                "reference.scores",
                format!("should be 1 to {MOST_REFERENCES} numbers"),
            ));
        }
        let scores = self.f64("reference.scores", count)?;
        let (height, width) = (settings.height as usize, settings.width as usize);
        let pixels = self.tensor("reference.images", Dtype::U8, &[count, height, width, 3])?;
        let images = pixels
            .chunks_exact(height * width * 3)
            .filter_map(|bytes| RgbImage::from_raw(settings.width, settings.height, bytes.to_vec()))
            .collect();
        Ok(References { images, scores })
    }

    /// The embedded weights, if there are any.
    fn weights(&self) -> Result<Option<Weights>, FileError> {
        let mut tensors = vec![];
        for (name, view) in &self.tensors {
            if let Some(short) = name.strip_prefix(BACKBONE) {
                let values = self.f32(name, view.shape())?;
                tensors.push((short.to_owned(), view.shape().to_vec(), values));
            }
        }
        if tensors.is_empty() {
            return Ok(None);
        }
        Ok(Some(
            Weights::from_tensors("the model file", tensors).map_err(Error::from)?,
        ))
    }
}

fn tensor(name: &str, reason: String) -> ModelFileError {
    ModelFileError::Tensor {
        name: name.into(),
        reason,
    }
}
