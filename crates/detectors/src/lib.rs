//! Classic one-class detectors with scikit-learn's semantics, from rows or from their inner products. The
//! principal type is [`InnerProducts`]: computed once for a set of rows, it serves every setting of
//! [`OneClassSvm`], [`KernelDensity`], [`LocalOutlierFactor`], [`KNearestNeighbors`], [`Mahalanobis`] and, by way of
//! [`Pca`], [`EllipticEnvelope`]. [`IsolationForest`] works on the rows themselves.
//!
//! Who has a matrix and wants one detector says [`DetectorSpec::fit`], and gets a [`Model`] that holds what it needs:
//! it scores new rows, has a decision threshold, and can be saved.
//!
//! Scores are `f64`, and **higher means more anomalous**, everywhere: scikit-learn's sign is flipped.
//! Parameters are turned into a model by `fit`; only a model can `score`.
//!
//! ```
//! use blemish_detectors::{DetectorSpec, FitOptions, LocalOutlierFactor};
//! use ndarray::array;
//!
//! # fn main() -> Result<(), blemish_detectors::DetectorError> {
//! let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05]];
//! let model = DetectorSpec::from(LocalOutlierFactor { n_neighbors: 3 }).fit(good.view(), &FitOptions::default())?;
//! assert_eq!(model.predict(array![[0.05, 0.0], [3.0, -2.0]].view())?, [false, true]);
//! # Ok(())
//! # }
//! ```
//!
//! Many settings on the same rows share their products, distances and neighbours:
//!
//! ```
//! use blemish_detectors::{InnerProducts, LocalOutlierFactor, NeighborTable, auroc};
//! use ndarray::array;
//!
//! # fn main() -> Result<(), blemish_detectors::DetectorError> {
//! let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05]];
//! let query = array![[0.05, 0.0], [3.0, -2.0]];
//! let products = InnerProducts::from_rows(&[good.view()], query.view())?;
//! let neighbors = NeighborTable::new(products.view(), 3)?;
//! let scores = LocalOutlierFactor { n_neighbors: 3 }.fit(&neighbors)?.score(&neighbors)?;
//! assert!(scores[1] > scores[0]);
//! assert_eq!(auroc(&scores, &[false, true])?, 1.0);
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

mod bootstrap;
mod elliptic;
mod error;
mod forest;
mod kde;
mod knn;
mod lof;
mod mahalanobis;
mod metrics;
mod model;
mod order;
mod pca;
mod products;
mod serial;
mod spec;
mod svm;
mod threshold;

pub use bootstrap::{BootstrapOptions, Interval, bootstrap_interval, bootstrap_intervals};
pub use elliptic::{EllipticEnvelope, EllipticEnvelopeModel, EllipticWarnings};
pub use error::DetectorError;
pub use forest::{IsolationForest, IsolationForestModel, RowStore};
pub use kde::{Bandwidth, DensityKernel, KernelDensity, KernelDensityModel};
pub use knn::{Aggregate, KNearestNeighbors, KNearestNeighborsModel};
pub use lof::{LocalOutlierFactor, LocalOutlierFactorModel, NeighborTable};
pub use mahalanobis::{Mahalanobis, MahalanobisModel, Shrinkage};
pub use metrics::{
    F1Max, MapPixels, PixelIntervals, PixelMetrics, PrecisionRecallCurve, Regions, RocCurve, auroc,
    average_precision, count_non_finite, f1_max, pixel_metric_intervals, pixel_metrics,
    precision_recall_curve, roc_curve,
};
pub use model::{FitOptions, Model};
pub use pca::Pca;
pub use products::{COLUMN_BLOCK, Element, InnerProducts, ProductsBuilder, ProductsView};
pub use spec::{DetectorKind, DetectorSpec, further_grid, study_grid};
pub use svm::{Gamma, OneClassSvm, OneClassSvmModel, SvmKernel};
