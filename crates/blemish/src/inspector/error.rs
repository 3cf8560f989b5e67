//! What can be wrong with a model file, and with the memory for a fit.

use super::plan::bytes;

/// What is wrong with a model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// It is not a model file, or its beginning is damaged.
    #[error("this is no model file of blemish: {reason}; `blemish fit` makes one")]
    NotAModel {
        /// What was found instead.
        reason: String,
    },
    /// It was written by another version of this program.
    #[error(
        "this model file has version {found}, and this program reads version {expected}: fit the model again"
    )]
    Version {
        /// The file's version.
        found: u64,
        /// The version that can be read.
        expected: u64,
    },
    /// Its content is not what was written.
    #[error("this model file is damaged (its content hash is wrong): copy it again or fit the model again")]
    Damaged,
    /// A tensor is not there, or is not of the type or the shape that the header says.
    #[error("this model file is damaged: tensor {name} {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number is NaN or infinite.
    #[error("this model file is damaged: tensor {name} holds NaN or infinity")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// A setting in the header is out of range.
    #[error("this model file is damaged: {reason}")]
    Header {
        /// Which, and why.
        reason: String,
    },
    /// The weights at hand are not those that the model was fitted with.
    #[error(
        "the model was fitted with other weights of {architecture} (BLAKE3 {expected}) than these ({found}): give the \
         folder of the right ones with --weights, or fit with --embed-weights"
    )]
    OtherWeights {
        /// The network.
        architecture: String,
        /// Hash of the right weights.
        expected: String,
        /// Hash of those at hand.
        found: String,
    },
    /// A stored image does not get the score that it had.
    #[error(
        "stored image {index} scores {found} here and scored {expected} when the model was fitted: this program would \
         not give the scores that the model was evaluated with; use the version of blemish that made it, or fit again"
    )]
    OtherScores {
        /// Which of the stored images, from 0.
        index: usize,
        /// Its score when the model was fitted.
        expected: f64,
        /// Its score now.
        found: f64,
    },
}

/// A fit would need more memory than it may use.
#[derive(Debug, thiserror::Error)]
#[error(
    "the fit needs about {} and may use {}: allow more with --memory, or take a smaller --size, fewer --layers or a \
     smaller --bank\n({plan})",
    bytes(*needed), bytes(*allowed)
)]
pub struct MemoryShortage {
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that are allowed.
    pub allowed: u64,
    /// What was planned.
    pub plan: String,
}
