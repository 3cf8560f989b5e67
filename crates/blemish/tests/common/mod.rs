//! What tests of the lab share.

use std::path::Path;

use blemish::backbones::Initialization;
use blemish::detectors::DetectorKind;
use blemish::images::{SynthOptions, write_synthetic};
use blemish::lab::{Augmentation, GridConfig};

/// A grid of two tasks of 14 experiments each, on a synthetic data set that is written to `dir/data`.
pub(crate) fn small_grid(dir: &Path) -> GridConfig {
    let data = dir.join("data");
    let options = SynthOptions {
        size: 64,
        train: 3,
        test_good: 2,
        per_defect: 1,
        ..SynthOptions::default()
    };
    write_synthetic(&data, &options).unwrap();
    let mut config = GridConfig::new(&data);
    config.initializations = Some(vec![Initialization::Random]);
    config.layers = Some(vec!["layer4".into()]);
    config.augmented = Augmentation::False;
    config.detectors = vec![DetectorKind::LocalOutlierFactor];
    config
}
