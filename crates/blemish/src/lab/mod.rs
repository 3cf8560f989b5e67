//! The lab: which experiments a study consists of ([`Plan`]), how they are computed ([`run`]), where
//! their results are kept ([`Store`]) and what is made of them ([`export`], [`Summary`],
//! [`Comparison`]).

mod backbone;
mod blueprint;
mod compare;
mod config;
mod evaluate;
mod export;
mod extract;
mod folder;
mod key;
mod plan;
mod run;
mod store;
mod summary;

pub use backbone::{Backbone, OnnxBackbone};
pub use compare::{Comparison, GroupDifference, Published, RowDifference, compare, read_published};
pub use config::{Augmentation, GridConfig, NetworkConfig};
pub use export::{ExportFormat, export, write_rows};
pub use folder::RunFolder;
pub use plan::{Experiment, FeatureSet, Plan, Task};
pub use run::{Event, RunOptions, RunSummary, run};
pub use store::{Outcome, Progress, Row, Status, Store};
pub use summary::{BestOfObject, BestSetting, DetectorTimes, Setting, Summary};
