//! The built-in synthetic data set.

use std::path::Path;

use crate::ImagesError;

/// What [`write_synthetic`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthOptions {
    /// The same seed gives the same files.
    pub seed: u64,
    /// Side of the square images, 32 to 2048 pixels.
    pub size: u32,
    /// Good training images of each object, at least 1.
    pub train: usize,
    /// Good test images of each object, at least 1.
    pub test_good: usize,
    /// Test images of each kind of defect, at least 1.
    pub per_defect: usize,
}

impl Default for SynthOptions {
    fn default() -> SynthOptions {
        SynthOptions {
            seed: 0,
            size: 256,
            train: 40,
            test_good: 16,
            per_defect: 8,
        }
    }
}

/// What [`write_synthetic`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthSummary {
    /// Names of the objects.
    pub objects: Vec<String>,
    /// Number of images, masks not counted.
    pub images: usize,
    /// Number of masks.
    pub masks: usize,
}

/// Writes the synthetic data set.
///
/// # Errors
/// Being written.
pub fn write_synthetic(out: &Path, options: &SynthOptions) -> Result<SynthSummary, ImagesError> {
    let _ = (out, options);
    Ok(SynthSummary {
        objects: vec![],
        images: 0,
        masks: 0,
    })
}
