//! Blemish finds defects in images from good images only. [`lab::Plan`] is where a study starts: it
//! turns a [`lab::GridConfig`] into experiments, which [`lab::run`] carries out and a [`lab::Store`]
//! keeps.
//!
//! The pieces have crates of their own, re-exported here: [`images`] reads and prepares pictures,
//! [`backbones`] turns them into hidden-layer features, [`detectors`] scores those.
//!
//! ```no_run
//! use blemish::lab::{self, GridConfig, Plan, RunFolder, RunOptions};
//!
//! # fn main() -> Result<(), blemish::Error> {
//! let config = GridConfig::new("mvtec_ad");
//! let plan = Plan::new(&config)?;
//! let mut folder = RunFolder::create_or_resume("run".as_ref(), &plan)?;
//! let summary = lab::run(&plan, &mut folder, &RunOptions::default(), &|_event| {})?;
//! println!("{} experiments done", summary.done);
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

pub use blemish_backbones as backbones;
pub use blemish_detectors as detectors;
pub use blemish_images as images;

pub use error::{Error, MissingWeights};

pub mod check;
mod error;
pub mod eval;
pub mod inspector;
pub mod lab;
pub mod report;
pub mod weights;
