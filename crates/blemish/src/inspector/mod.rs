//! The inspector: from a folder of good images to a detector with a threshold, in one file.
//!
//! [`Samples`] are images to learn from, [`FitConfig`] says how, and [`Inspector::fit`] makes an [`Inspector`] of them. It
//! scores new images, with a map of where they are odd, a verdict and a p-value ([`Calibration`]).
//! [`Inspector::save`] writes all of it to one file, and [`Inspector::load`] makes sure that what it reads scores
//! as before.
//!
//! ```no_run
//! use blemish::inspector::{FitConfig, Inspector, Samples};
//!
//! # fn main() -> Result<(), blemish::Error> {
//! let samples = Samples::open("mvtec_ad/bottle".as_ref())?;
//! let config = FitConfig { weights: Some("weights".into()), ..FitConfig::new() };
//! let inspector = Inspector::fit(&samples, &config, &|_event| {})?;
//! println!("{}", inspector.calibration().in_words());
//! inspector.save("bottle.blemish".as_ref(), false)?;
//!
//! let image = blemish::images::load_rgb("new.png".as_ref())?;
//! let found = inspector.score(&image)?;
//! println!("{} {} {}", found.score, found.p_value, found.is_defective);
//! # Ok(())
//! # }
//! ```
//!
//! # Determinism
//! Scores depend on the images, the settings and the seed alone, not on the number of threads, on the batch that an image
//! is in, or on whether the model was just fitted or read from a file. Between processors with other vector instructions
//! the last bits differ.

mod auto;
mod bank;
mod calibrate;
mod coreset;
mod detector;
mod embed;
mod error;
mod features;
mod file;
mod fit;
mod gaussian;
mod input;
mod map;
mod method;
mod model;
mod plan;
#[cfg(test)]
mod promise;
mod tiles;

pub use auto::{Choice, Trial};
pub use calibrate::Calibration;
pub use error::{MemoryShortage, ModelFileError};
pub(crate) use fit::left_out_scores;
pub use fit::{FitEvent, OnFitEvent};
pub use input::Samples;
pub use method::Method;
pub use model::{Inspection, Inspector, Settings, with_threads};
pub use plan::{FitConfig, FitPlan};
pub use tiles::Tiling;
