//! What can go wrong, where, and what to do about it.

use std::path::PathBuf;

use crate::pytorch::PytorchError;

/// The error of everything in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackbonesError {
    /// A network's name is none of those known.
    #[error("unknown network \"{name}\"; known: {known}")]
    UnknownArchitecture {
        /// The name as given.
        name: String,
        /// The names that would have done, joined by commas.
        known: String,
    },
    /// The name of an initialisation is none of those known.
    #[error("unknown initialisation \"{name}\"; known: {known}")]
    UnknownInitialization {
        /// The name as given.
        name: String,
        /// The names that would have done, joined by commas.
        known: String,
    },
    /// The network has no such layer.
    #[error("{architecture} has no layer \"{layer}\"; known: {known}")]
    UnknownLayer {
        /// The network.
        architecture: &'static str,
        /// The layer as given.
        layer: String,
        /// The layers there are, joined by commas.
        known: String,
    },
    /// No layer was asked for.
    #[error("no layer of {architecture} was asked for; name at least one of {known}")]
    NoTaps {
        /// The network.
        architecture: &'static str,
        /// The layers there are, joined by commas.
        known: String,
    },
    /// The name of an instruction set is none of those known.
    #[error("unknown instruction set \"{name}\"; known: {known}")]
    UnknownInstructionSet {
        /// The name as given.
        name: String,
        /// The names that would have done, joined by commas.
        known: String,
    },
    /// The processor lacks an instruction set.
    #[error("this processor has no {set}")]
    NoInstructionSet {
        /// The instruction set.
        set: &'static str,
    },
    /// The network was made for other layers.
    #[error(
        "this {architecture} was made for {taps} and does not compute layer \"{layer}\"; name it in `taps`"
    )]
    NotComputed {
        /// The network.
        architecture: &'static str,
        /// The layer as given.
        layer: String,
        /// The layers the network was made for, joined by commas.
        taps: String,
    },
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not in the safetensors format, or is damaged.
    #[error(
        "{} is neither a whole safetensors file nor one of PyTorch; it may be truncated or of another format: fetch it again",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: safetensors::SafeTensorError,
    },
    /// A file of PyTorch's is damaged, or holds something else than weights.
    #[error("{} cannot be read as weights of PyTorch: {source}", path.display())]
    Pytorch {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: PytorchError,
    },
    /// A network in an ONNX file cannot be read or computed.
    #[cfg(feature = "onnx")]
    #[error("network {}: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: crate::onnx::OnnxError,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A layer needs a tensor that the weights lack.
    #[error(
        "{origin} cannot serve {layer} of {architecture}: it has no tensor \"{tensor}\"; \
         it can serve {servable}: use those, or a file with all tensors"
    )]
    MissingTensor {
        /// The network.
        architecture: &'static str,
        /// Where the weights come from.
        origin: String,
        /// The layer that needs the tensor.
        layer: &'static str,
        /// The tensor.
        tensor: String,
        /// The layers whose tensors are all there, joined by commas, or "no layer".
        servable: String,
    },
    /// A tensor is not of the shape that the network needs.
    #[error(
        "tensor \"{tensor}\" of {origin} has shape {found:?}, but {architecture} needs {expected:?}: \
         these are the weights of another network"
    )]
    TensorShape {
        /// The network.
        architecture: &'static str,
        /// Where the weights come from.
        origin: String,
        /// The tensor.
        tensor: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape that was found.
        found: Vec<usize>,
    },
    /// A tensor's numbers are of a type that is not read.
    #[error(
        "tensor \"{tensor}\" of {origin} is of type {dtype}; F32, F16, BF16 and F64 are read: convert it to F32"
    )]
    TensorType {
        /// Where the weights come from.
        origin: String,
        /// The tensor.
        tensor: String,
        /// The type as the file names it.
        dtype: String,
    },
    /// A tensor holds numbers that no network can be computed with.
    #[error("tensor \"{tensor}\" of {origin} holds {what}: the weights are damaged, fetch them again")]
    TensorValues {
        /// Where the weights come from.
        origin: String,
        /// The tensor.
        tensor: String,
        /// What was found.
        what: &'static str,
    },
    /// Random weights are drawn, not read.
    #[error("random weights have no file; draw them with `Weights::random`")]
    RandomHasNoFile,
    /// There is no file with the wanted weights.
    #[error("no {initialization} weights of {architecture} in {}: looked for {sought}; {advice}", folder.display())]
    NoWeights {
        /// The network.
        architecture: &'static str,
        /// The initialisation.
        initialization: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The names looked for.
        sought: String,
        /// Where to get the weights.
        advice: String,
    },
    /// Several files fit.
    #[error("several files fit in {}: {files}; keep one, or name the wanted one {preferred}", folder.display())]
    SeveralWeights {
        /// The folder.
        folder: PathBuf,
        /// The files' names, joined by commas.
        files: String,
        /// The name that wins over the others.
        preferred: String,
    },
    /// Images have another number of channels than the network reads.
    #[error(
        "images have {found} channels, but the network reads {expected}: give (n, {expected}, height, width)"
    )]
    Channels {
        /// What was found.
        found: usize,
        /// What the network reads.
        expected: usize,
    },
    /// Images are too small or too large.
    #[error("images of {height} x {width} pixels; sides from {minimum} to {maximum} are computed")]
    ImageSize {
        /// The height in pixels.
        height: usize,
        /// The width in pixels.
        width: usize,
        /// The least side.
        minimum: usize,
        /// The greatest side.
        maximum: usize,
    },
    /// An image holds NaN or infinity.
    #[error("image {image} of the batch (counted from 0) holds NaN or infinity")]
    ImageValues {
        /// The image's index in the batch.
        image: usize,
    },
    /// The features of an image are not numbers.
    #[error(
        "{layer} of image {image} of the batch (counted from 0) is NaN or infinite: \
         the weights or the image hold values far too large"
    )]
    FeatureValues {
        /// The image's index in the batch.
        image: usize,
        /// The layer.
        layer: &'static str,
    },
}
