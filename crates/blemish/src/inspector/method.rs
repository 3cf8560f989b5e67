//! The ways to find what is not like the good images.

use blemish_detectors::{
    Bandwidth, DensityKernel, DetectorKind, DetectorSpec, EllipticEnvelope, IsolationForest,
    KNearestNeighbors, KernelDensity, LocalOutlierFactor, Mahalanobis, OneClassSvm, SvmKernel,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A way to find defects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Method {
    /// Good patches are kept, and a patch's score is its distance to the nearest (PatchCore; Roth et al., 2022). The
    /// patches of all images share one bank.
    MemoryBank,
    /// One Gaussian for each position (PaDiM; Defard et al., 2021): for parts that always lie in the same place.
    Padim,
    /// A detector of patches, which share one model wherever they are.
    Patches(DetectorKind),
    /// A detector of whole images: a score, and no map.
    Image(DetectorKind),
}

const NAMES: [(Method, &str); 11] = [
    (Method::MemoryBank, "memory-bank"),
    (Method::Padim, "padim"),
    (Method::Patches(DetectorKind::LocalOutlierFactor), "patch-lof"),
    (Method::Patches(DetectorKind::Mahalanobis), "patch-mahalanobis"),
    (Method::Image(DetectorKind::LocalOutlierFactor), "lof"),
    (Method::Image(DetectorKind::KNearestNeighbors), "knn"),
    (Method::Image(DetectorKind::Mahalanobis), "mahalanobis"),
    (Method::Image(DetectorKind::OneClassSvm), "svm"),
    (Method::Image(DetectorKind::KernelDensity), "kernel-density"),
    (Method::Image(DetectorKind::IsolationForest), "isolation-forest"),
    (Method::Image(DetectorKind::EllipticEnvelope), "elliptic-envelope"),
];

impl Method {
    /// Every method that has a name.
    pub const ALL: [Method; NAMES.len()] = {
        let mut all = [Method::MemoryBank; NAMES.len()];
        let mut i = 0;
        while i < NAMES.len() {
            all[i] = NAMES[i].0;
            i += 1;
        }
        all
    };

    /// The name.
    pub fn name(self) -> &'static str {
        let named = NAMES.iter().find(|(method, _)| *method == self);
        named.map_or("unnamed", |(_, name)| name)
    }

    /// Whether it says where a defect is.
    pub fn has_map(self) -> bool {
        !matches!(self, Method::Image(_))
    }

    /// The detector's setting.
    pub(crate) fn spec(kind: DetectorKind) -> DetectorSpec {
        match kind {
            DetectorKind::OneClassSvm => OneClassSvm::new(SvmKernel::Linear).into(),
            DetectorKind::IsolationForest => IsolationForest::default().into(),
            DetectorKind::KernelDensity => KernelDensity {
                kernel: DensityKernel::Gaussian,
                bandwidth: Bandwidth::Scott,
            }
            .into(),
            DetectorKind::LocalOutlierFactor => LocalOutlierFactor { n_neighbors: 20 }.into(),
            // On the rows themselves it would need more images than there are features.
            DetectorKind::EllipticEnvelope => DetectorSpec::EllipticEnvelope {
                envelope: EllipticEnvelope::default(),
                components: Some(20),
            },
            DetectorKind::KNearestNeighbors => KNearestNeighbors::default().into(),
            DetectorKind::Mahalanobis => Mahalanobis::default().into(),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Method {
    type Err = Error;
    fn from_str(s: &str) -> Result<Method, Error> {
        let named = NAMES.iter().find(|(_, name)| *name == s);
        named.map(|(method, _)| *method).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            Error::Config(format!("`{s}` is no method; there are {}", names.join(", ")))
        })
    }
}

impl From<Method> for String {
    fn from(method: Method) -> String {
        method.name().to_owned()
    }
}

impl TryFrom<String> for Method {
    type Error = Error;
    fn try_from(name: String) -> Result<Method, Error> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_methods() {
        for method in Method::ALL {
            assert_eq!(method.name().parse::<Method>().unwrap(), method);
        }
        let error = "patchcore".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("memory-bank"), "{error}");
    }
}
