//! One setting of one detector, as data: what a grid consists of.

use serde::{Deserialize, Serialize};

use crate::{Bandwidth, DensityKernel, KernelDensity, LocalOutlierFactor, OneClassSvm, SvmKernel};

/// A detector with its setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum DetectorSpec {
    /// One-class SVM.
    OneClassSvm(OneClassSvm),
    /// Isolation forest.
    IsolationForest {
        /// Number of trees.
        n_estimators: usize,
    },
    /// Kernel density.
    KernelDensity(KernelDensity),
    /// Local outlier factor.
    LocalOutlierFactor(LocalOutlierFactor),
    /// Elliptic envelope on principal components.
    EllipticEnvelope {
        /// Number of components; more than there are means all.
        components: usize,
    },
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
}

impl DetectorKind {
    /// Every detector.
    pub const ALL: [DetectorKind; 5] = [
        DetectorKind::OneClassSvm,
        DetectorKind::IsolationForest,
        DetectorKind::KernelDensity,
        DetectorKind::LocalOutlierFactor,
        DetectorKind::EllipticEnvelope,
    ];

    /// The name in scikit-learn.
    pub fn name(self) -> &'static str {
        match self {
            DetectorKind::OneClassSvm => "OneClassSVM",
            DetectorKind::IsolationForest => "IsolationForest",
            DetectorKind::KernelDensity => "KernelDensity",
            DetectorKind::LocalOutlierFactor => "LocalOutlierFactor",
            DetectorKind::EllipticEnvelope => "EllipticEnvelope",
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
            DetectorSpec::IsolationForest { .. } => DetectorKind::IsolationForest,
            DetectorSpec::KernelDensity(_) => DetectorKind::KernelDensity,
            DetectorSpec::LocalOutlierFactor(_) => DetectorKind::LocalOutlierFactor,
            DetectorSpec::EllipticEnvelope { .. } => DetectorKind::EllipticEnvelope,
        }
    }

    /// The detector's name in scikit-learn.
    pub fn model_name(&self) -> &'static str {
        self.kind().name()
    }

    /// The setting as JSON with sorted keys, spelled as the study's published table spells it.
    pub fn hyperparameter_json(&self) -> String {
        match self {
            DetectorSpec::OneClassSvm(svm) => match svm.kernel {
                SvmKernel::Linear => r#"{"kernel": "linear"}"#.into(),
                SvmKernel::Rbf => r#"{"kernel": "rbf"}"#.into(),
                SvmKernel::Sigmoid => r#"{"kernel": "sigmoid"}"#.into(),
                SvmKernel::Poly { degree } => format!(r#"{{"degree": {degree}, "kernel": "poly"}}"#),
            },
            DetectorSpec::IsolationForest { n_estimators } => {
                format!(r#"{{"n_estimators": {n_estimators}}}"#)
            }
            DetectorSpec::KernelDensity(density) => {
                let bandwidth = match density.bandwidth {
                    // As Python prints a float: with a decimal point.
                    Bandwidth::Value(h) => format!("{h:?}"),
                    Bandwidth::Scott => r#""scott""#.into(),
                    Bandwidth::Silverman => r#""silverman""#.into(),
                };
                format!(
                    r#"{{"bandwidth": {bandwidth}, "kernel": "{}"}}"#,
                    density.kernel.name()
                )
            }
            DetectorSpec::LocalOutlierFactor(lof) => format!(r#"{{"n_neighbors": {}}}"#, lof.n_neighbors),
            DetectorSpec::EllipticEnvelope { components } => {
                format!(r#"{{"dim_reduction": "pca", "dim_reduction_components": {components}}}"#)
            }
        }
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
        grid.push(DetectorSpec::IsolationForest { n_estimators });
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
        grid.push(DetectorSpec::EllipticEnvelope { components });
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
        assert_eq!(DetectorKind::ALL.map(count), [10, 19, 24, 14, 4]);
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
}
