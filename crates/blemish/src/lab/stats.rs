//! Where the time of a task went, and how much memory it took.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time by the clock of each stage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageTimes {
    pub(crate) load: Duration,
    pub(crate) decode: Duration,
    pub(crate) preprocess: Duration,
    pub(crate) forward: Duration,
    pub(crate) rows: Duration,
    pub(crate) products: Duration,
    pub(crate) detectors: Duration,
    /// Images that went through the network; views count as images.
    pub(crate) images: usize,
}

impl StageTimes {
    /// All that comes before the inner products.
    pub(crate) fn features(&self) -> Duration {
        self.load + self.decode + self.preprocess + self.forward + self.rows
    }
}

/// What was expected of a task before it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Seconds by the clock; `None` where nothing is known of this machine.
    pub seconds: Option<f64>,
    /// Peak of resident memory in bytes.
    pub memory: u64,
    /// Bytes on disk while it runs.
    pub scratch: u64,
    /// Bytes of inner products that are kept.
    pub kept: u64,
}

/// What one call of [`run`](super::run) spent on one task. A task that was interrupted has several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskStats {
    /// Index of the task in the plan.
    pub task: usize,
    /// Content key of the task.
    pub key: String,
    /// Object, network and weights.
    pub name: String,
    /// Experiments with an outcome from this call.
    pub experiments: usize,
    /// Failures among them.
    pub failed: usize,
    /// Whether it was carried out to its end.
    pub complete: bool,
    /// Images that went through the network; views count as images.
    pub images: usize,
    /// Passes over the images.
    pub passes: usize,
    /// Threads.
    pub threads: usize,
    /// Seconds by the clock, of all.
    pub seconds: f64,
    /// Reading weights and making the network ready.
    pub load_s: f64,
    /// Decoding images.
    pub decode_s: f64,
    /// Views, resizing, normalising.
    pub preprocess_s: f64,
    /// The network.
    pub forward_s: f64,
    /// Copying rows to where they lie.
    pub rows_s: f64,
    /// Inner products.
    pub products_s: f64,
    /// All detectors, by the clock.
    pub detectors_s: f64,
    /// Fitting and scoring by detector, summed over threads.
    pub by_detector_s: BTreeMap<String, f64>,
    /// The most memory that was resident, in bytes; `None` where the system does not say.
    pub peak_memory: Option<u64>,
    /// Whether that is the task's own peak, not that of all since the process began.
    pub peak_is_own: bool,
    /// Bytes of rows on disk while it ran.
    pub scratch: u64,
    /// Bytes of inner products that it kept.
    pub kept: u64,
    /// What was expected.
    pub predicted: Option<Prediction>,
}

impl TaskStats {
    pub(crate) fn take(&mut self, times: &StageTimes) {
        self.images = times.images;
        self.load_s = times.load.as_secs_f64();
        self.decode_s = times.decode.as_secs_f64();
        self.preprocess_s = times.preprocess.as_secs_f64();
        self.forward_s = times.forward.as_secs_f64();
        self.rows_s = times.rows.as_secs_f64();
        self.products_s = times.products.as_secs_f64();
        self.detectors_s = times.detectors.as_secs_f64();
    }
}
