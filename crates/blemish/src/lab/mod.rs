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
mod grid_file;
mod kept;
mod key;
mod known;
mod memory;
mod merge;
mod parts;
mod plan;
mod predict;
mod prepared;
mod published;
mod record;
mod rows;
mod run;
mod schedule;
mod scratch;
mod shard;
mod stats;
mod status;
mod store;
mod summary;
mod work;

pub use backbone::{Backbone, OnnxBackbone};
pub use compare::{Comparison, GroupDifference, Published, RowDifference, compare, read_published};
pub use config::{Augmentation, GridConfig, NetworkConfig};
pub(crate) use export::new_file;
pub use export::{ExportFormat, export, write_rows};
pub use folder::RunFolder;
pub use kept::{Keep, Removed, collect_garbage};
pub use memory::{Bytes, available_memory, free_disk};
pub use merge::{MergeSummary, merge, take_over};
pub use plan::{Experiment, FeatureSet, Plan, Task};
pub use predict::{Calibration, TaskPrediction, check_disk, predict};
pub use published::read_table;
pub use run::{Event, RunOptions, RunSummary, run};
pub use shard::{DamagedPart, ShardSummary, TaskState, run_shard, task_states};
pub use stats::{Prediction, TaskStats};
pub use status::{Heartbeat, RunStatus, TaskStatus, Tracker};
pub use store::{
    Imported, Outcome, Progress, Row, Status, Store, StoredExperiment, StoredFeatureSet, TestImage,
    import_published,
};
pub use summary::{BestOfObject, BestSetting, DetectorTimes, Setting, Summary};
