//! One setting of one detector, as data: what a grid consists of.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Aggregate, Bandwidth, DensityKernel, EllipticEnvelope, Gamma, IsolationForest, KNearestNeighbors,
    KernelDensity, LocalOutlierFactor, Mahalanobis, OneClassSvm, Shrinkage, SvmKernel,
};

/// A detector with its setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum DetectorSpec {
    /// One-class SVM.
    OneClassSvm(OneClassSvm),
    /// Isolation forest.
    IsolationForest(IsolationForest),
    /// Kernel density.
    KernelDensity(KernelDensity),
    /// Local outlier factor.
    LocalOutlierFactor(LocalOutlierFactor),
    /// Elliptic envelope.
    EllipticEnvelope {
        /// The envelope.
        envelope: EllipticEnvelope,
        /// Number of principal components that it is fitted on (more than there are means all); `None` fits it on
        /// the rows themselves.
        components: Option<usize>,
    },
    /// Distance to the nearest rows.
    KNearestNeighbors(KNearestNeighbors),
    /// Mahalanobis distance.
    Mahalanobis(Mahalanobis),
}

impl From<OneClassSvm> for DetectorSpec {
    fn from(svm: OneClassSvm) -> DetectorSpec {
        DetectorSpec::OneClassSvm(svm)
    }
}

impl From<IsolationForest> for DetectorSpec {
    fn from(forest: IsolationForest) -> DetectorSpec {
        DetectorSpec::IsolationForest(forest)
    }
}

impl From<KernelDensity> for DetectorSpec {
    fn from(density: KernelDensity) -> DetectorSpec {
        DetectorSpec::KernelDensity(density)
    }
}

impl From<LocalOutlierFactor> for DetectorSpec {
    fn from(lof: LocalOutlierFactor) -> DetectorSpec {
        DetectorSpec::LocalOutlierFactor(lof)
    }
}

impl From<EllipticEnvelope> for DetectorSpec {
    fn from(envelope: EllipticEnvelope) -> DetectorSpec {
        DetectorSpec::EllipticEnvelope {
            envelope,
            components: None,
        }
    }
}

impl From<KNearestNeighbors> for DetectorSpec {
    fn from(knn: KNearestNeighbors) -> DetectorSpec {
        DetectorSpec::KNearestNeighbors(knn)
    }
}

impl From<Mahalanobis> for DetectorSpec {
    fn from(mahalanobis: Mahalanobis) -> DetectorSpec {
        DetectorSpec::Mahalanobis(mahalanobis)
    }
}

/// A detector without a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DetectorKind {
    /// One-class SVM.
    OneClassSvm,
    /// Isolation forest.
    IsolationForest,
    /// Kernel density.
    KernelDensity,
    /// Local outlier factor.
    LocalOutlierFactor,
    /// Elliptic envelope.
    EllipticEnvelope,
    /// Distance to the nearest rows.
    KNearestNeighbors,
    /// Mahalanobis distance.
    Mahalanobis,
}

impl DetectorKind {
    /// Every detector.
    pub const ALL: [DetectorKind; 7] = [
        DetectorKind::OneClassSvm,
        DetectorKind::IsolationForest,
        DetectorKind::KernelDensity,
        DetectorKind::LocalOutlierFactor,
        DetectorKind::EllipticEnvelope,
        DetectorKind::KNearestNeighbors,
        DetectorKind::Mahalanobis,
    ];

    /// The five of the study, those of [`study_grid`].
    pub const STUDY: [DetectorKind; 5] = [
        DetectorKind::OneClassSvm,
        DetectorKind::IsolationForest,
        DetectorKind::KernelDensity,
        DetectorKind::LocalOutlierFactor,
        DetectorKind::EllipticEnvelope,
    ];

    /// The name; in scikit-learn, for the five that it has.
    pub fn name(self) -> &'static str {
        match self {
            DetectorKind::OneClassSvm => "OneClassSVM",
            DetectorKind::IsolationForest => "IsolationForest",
            DetectorKind::KernelDensity => "KernelDensity",
            DetectorKind::LocalOutlierFactor => "LocalOutlierFactor",
            DetectorKind::EllipticEnvelope => "EllipticEnvelope",
            DetectorKind::KNearestNeighbors => "KNearestNeighbors",
            DetectorKind::Mahalanobis => "Mahalanobis",
        }
    }
}

impl std::fmt::Display for DetectorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for DetectorKind {
    type Err = String;
    fn from_str(s: &str) -> Result<DetectorKind, String> {
        DetectorKind::ALL
            .into_iter()
            .find(|k| k.name() == s)
            .ok_or_else(|| {
                format!(
                    "`{s}` is none of {}",
                    DetectorKind::ALL.map(DetectorKind::name).join(", ")
                )
            })
    }
}

impl DetectorSpec {
    /// Which detector it is.
    pub fn kind(&self) -> DetectorKind {
        match self {
            DetectorSpec::OneClassSvm(_) => DetectorKind::OneClassSvm,
            DetectorSpec::IsolationForest(_) => DetectorKind::IsolationForest,
            DetectorSpec::KernelDensity(_) => DetectorKind::KernelDensity,
            DetectorSpec::LocalOutlierFactor(_) => DetectorKind::LocalOutlierFactor,
            DetectorSpec::EllipticEnvelope { .. } => DetectorKind::EllipticEnvelope,
            DetectorSpec::KNearestNeighbors(_) => DetectorKind::KNearestNeighbors,
            DetectorSpec::Mahalanobis(_) => DetectorKind::Mahalanobis,
        }
    }

    /// The detector's name.
    pub fn model_name(&self) -> &'static str {
        self.kind().name()
    }

    /// The setting as JSON with sorted keys, spelled as the study's published table spells it. Parameters that the
    /// study did not vary are there where they are not the study's; those that change no score are not.
    pub fn hyperparameter_json(&self) -> String {
        let mut setting = vec![];
        match self {
            DetectorSpec::OneClassSvm(svm) => {
                setting.push(("kernel", json!(svm.kernel.name())));
                if let SvmKernel::Poly { degree } = svm.kernel {
                    setting.push(("degree", json!(degree)));
                }
                let study = OneClassSvm::new(svm.kernel);
                let limit = |svm: &OneClassSvm| svm.max_iter.map_or(json!(-1), |limit| json!(limit));
                differing(&mut setting, "max_iter", limit(svm), limit(&study));
                let gamma = |svm: &OneClassSvm| match svm.gamma {
                    Gamma::Scale => json!("scale"),
                    Gamma::Auto => json!("auto"),
                    Gamma::Value(gamma) => json!(gamma),
                };
                differing(&mut setting, "gamma", gamma(svm), gamma(&study));
                differing(&mut setting, "coef0", json!(svm.coef0), json!(study.coef0));
                differing(&mut setting, "nu", json!(svm.nu), json!(study.nu));
                differing(&mut setting, "tol", json!(svm.tol), json!(study.tol));
            }
            DetectorSpec::IsolationForest(forest) => {
                setting.push(("n_estimators", json!(forest.n_estimators)));
                let study = IsolationForest::default();
                let samples = |forest: &IsolationForest| json!(forest.max_samples);
                differing(&mut setting, "max_samples", samples(forest), samples(&study));
            }
            DetectorSpec::KernelDensity(density) => {
                setting.push(("kernel", json!(density.kernel.name())));
                setting.push((
                    "bandwidth",
                    match density.bandwidth {
                        Bandwidth::Value(h) => json!(h),
                        Bandwidth::Scott => json!("scott"),
                        Bandwidth::Silverman => json!("silverman"),
                    },
                ));
            }
            DetectorSpec::LocalOutlierFactor(lof) => setting.push(("n_neighbors", json!(lof.n_neighbors))),
            DetectorSpec::EllipticEnvelope { envelope, components } => {
                if let Some(components) = components {
                    setting.push(("dim_reduction", json!("pca")));
                    setting.push(("dim_reduction_components", json!(components)));
                }
                let fraction = json!(envelope.support_fraction);
                differing(&mut setting, "support_fraction", fraction, Value::Null);
            }
            DetectorSpec::KNearestNeighbors(knn) => {
                setting.push(("aggregate", json!(knn.aggregate.name())));
                setting.push(("n_neighbors", json!(knn.n_neighbors)));
            }
            DetectorSpec::Mahalanobis(mahalanobis) => setting.push((
                "shrinkage",
                match mahalanobis.shrinkage {
                    Shrinkage::LedoitWolf => json!("ledoit_wolf"),
                    Shrinkage::Fixed(s) => json!(s),
                },
            )),
        }
        setting.sort_by_key(|(name, _)| *name);
        // As Python prints it: a space after each colon and comma, and 1.0 with its decimal point.
        let fields: Vec<String> = setting
            .iter()
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// Adds a parameter where it is not what the study had.
fn differing(setting: &mut Vec<(&'static str, Value)>, name: &'static str, value: Value, study: Value) {
    if value != study {
        setting.push((name, value));
    }
}

/// The 71 settings of the study *Pushing Baselines for Anomaly Detection on MVTec*, in a fixed order.
pub fn study_grid() -> Vec<DetectorSpec> {
    let mut grid = vec![];
    let degrees = [3, 5, 8, 13, 21, 34, 55].map(|degree| SvmKernel::Poly { degree });
    for kernel in [SvmKernel::Linear, SvmKernel::Rbf, SvmKernel::Sigmoid]
        .into_iter()
        .chain(degrees)
    {
        grid.push(DetectorSpec::OneClassSvm(OneClassSvm::new(kernel)));
    }
    for n_estimators in (10..=100).step_by(10).chain((200..=1000).step_by(100)) {
        grid.push(DetectorSpec::IsolationForest(IsolationForest {
            n_estimators,
            ..IsolationForest::default()
        }));
    }
    for bandwidth in [
        Bandwidth::Value(0.5),
        Bandwidth::Value(1.0),
        Bandwidth::Scott,
        Bandwidth::Silverman,
    ] {
        for kernel in DensityKernel::ALL {
            grid.push(DetectorSpec::KernelDensity(KernelDensity { kernel, bandwidth }));
        }
    }
    for n_neighbors in [2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64] {
        grid.push(DetectorSpec::LocalOutlierFactor(LocalOutlierFactor {
            n_neighbors,
        }));
    }
    for components in [32, 64, 128, 256] {
        grid.push(DetectorSpec::EllipticEnvelope {
            envelope: EllipticEnvelope::default(),
            components: Some(components),
        });
    }
    grid
}

/// Settings of the two detectors that the study did not have, in a fixed order: 15 of the nearest-neighbour
/// distance, 4 of the Mahalanobis distance.
pub fn further_grid() -> Vec<DetectorSpec> {
    let mut grid = vec![];
    for n_neighbors in [1, 2, 5, 10, 20] {
        for aggregate in Aggregate::ALL {
            grid.push(DetectorSpec::KNearestNeighbors(KNearestNeighbors {
                n_neighbors,
                aggregate,
            }));
        }
    }
    for shrinkage in [
        Shrinkage::LedoitWolf,
        Shrinkage::Fixed(0.01),
        Shrinkage::Fixed(0.1),
        Shrinkage::Fixed(0.5),
    ] {
        grid.push(DetectorSpec::Mahalanobis(Mahalanobis { shrinkage }));
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_study_has_71_distinct_settings_spelled_as_published() {
        let grid = study_grid();
        assert_eq!(grid.len(), 71);
        let count = |kind| grid.iter().filter(|s| s.kind() == kind).count();
        assert_eq!(DetectorKind::ALL.map(count), [10, 19, 24, 14, 4, 0, 0]);
        let mut texts: Vec<String> = grid
            .iter()
            .map(|s| format!("{} {}", s.model_name(), s.hyperparameter_json()))
            .collect();
        for expected in [
            r#"LocalOutlierFactor {"n_neighbors": 4}"#,
            r#"OneClassSVM {"degree": 5, "kernel": "poly"}"#,
            r#"KernelDensity {"bandwidth": "scott", "kernel": "gaussian"}"#,
            r#"KernelDensity {"bandwidth": 1.0, "kernel": "cosine"}"#,
            r#"EllipticEnvelope {"dim_reduction": "pca", "dim_reduction_components": 32}"#,
            r#"IsolationForest {"n_estimators": 600}"#,
        ] {
            assert!(texts.iter().any(|t| t == expected), "{expected}");
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 71);
    }

    #[test]
    fn further_settings_are_distinct_and_parameters_show_where_they_differ() {
        let mut texts: Vec<String> = further_grid()
            .iter()
            .map(DetectorSpec::hyperparameter_json)
            .collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 19);
        let text = |spec: DetectorSpec| spec.hyperparameter_json();
        let svm = OneClassSvm {
            nu: 0.1,
            max_iter: None,
            ..OneClassSvm::new(SvmKernel::Rbf)
        };
        assert_eq!(
            text(svm.into()),
            r#"{"kernel": "rbf", "max_iter": -1, "nu": 0.1}"#
        );
        let forest = IsolationForest {
            n_estimators: 5,
            max_samples: 64,
        };
        assert_eq!(text(forest.into()), r#"{"max_samples": 64, "n_estimators": 5}"#);
        assert_eq!(text(EllipticEnvelope::default().into()), "{}");
        let knn = KNearestNeighbors::default();
        assert_eq!(text(knn.into()), r#"{"aggregate": "mean", "n_neighbors": 5}"#);
        assert_eq!(
            text(Mahalanobis::default().into()),
            r#"{"shrinkage": "ledoit_wolf"}"#
        );
    }
}
