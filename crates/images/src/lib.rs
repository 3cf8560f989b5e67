//! Image folders, views and preprocessing for anomaly detection, with a synthetic data set. The principal
//! type is [`Dataset`], the objects of a folder in the MVTec AD layout; [`load_rgb`] decodes one of its
//! images, [`View`] turns it, and [`Preprocess`] makes of it the tensor that a network takes.
//!
//! ```
//! use blemish_images::{Dataset, Preprocess, Preset, ResizeMode, SynthOptions, load_rgb, write_synthetic};
//!
//! let folder = tempfile::tempdir()?;
//! let out = folder.path().join("parts");
//! let small = SynthOptions { size: 64, train: 2, test_good: 1, per_defect: 1, ..SynthOptions::default() };
//! write_synthetic(&out, &small)?;
//!
//! let dataset = Dataset::open(&out, None)?;
//! let names: Vec<_> = dataset.objects.iter().map(|o| o.name.as_str()).collect();
//! assert_eq!(names, ["washer", "weave"]);
//! let image = load_rgb(&dataset.objects[0].train[0].path)?;
//! let prepare = Preprocess { preset: Preset::imagenet(256), mode: ResizeMode::Antialias };
//! assert_eq!(prepare.apply(&image)?.dim(), (3, 224, 224));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The layout
//! ```text
//! DATA/OBJECT/train/good/000.png            good images only
//! DATA/OBJECT/test/good/000.png
//! DATA/OBJECT/test/DEFECT/000.png           any number of kinds of defect
//! DATA/OBJECT/ground_truth/DEFECT/000_mask.png   optional; not 0 where the defect is
//! ```
//! Images are PNG, JPEG, BMP, TIFF or WebP. Order is the byte order of `/`-separated paths, everywhere.
#![deny(missing_docs)]

mod dataset;
mod defects;
mod error;
mod heatmap;
mod image;
mod list;
mod preprocess;
mod survey;
mod synth;
mod view;
mod whole;

pub use crate::dataset::{Content, Dataset, ImageFile, Object, verify};
pub use crate::defects::{DefectKind, make_defect};
pub use crate::error::ImagesError;
pub use crate::heatmap::{MapScale, heat_image, overlay, read_map, write_map};
pub use crate::image::{EXTENSIONS, MAX_PIXELS, load_mask, load_rgb};
pub use crate::list::list_images;
pub use crate::preprocess::{Preprocess, Preset, ResizeMode};
pub use crate::survey::{ImageFacts, Survey, near_duplicates, survey};
pub use crate::synth::{MVTEC_OBJECTS, SynthOptions, SynthSummary, write_synthetic, write_synthetic_mvtec};
pub use crate::view::View;
pub use crate::whole::WholeImage;
pub use ::image::{GrayImage, RgbImage};
