//! Models as files: what is read is a model, or an error that says why it is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use blemish_detectors::{
    DetectorError, DetectorSpec, EllipticEnvelope, FitOptions, IsolationForest, KNearestNeighbors,
    LocalOutlierFactor, Mahalanobis, Model, OneClassSvm, SvmKernel, further_grid, study_grid,
};
use ndarray::Array2;
use proptest::prelude::*;

fn rows(n: usize, d: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, d), |(i, j)| {
        ((i * 37 + j * 101) % 53) as f64 / 7.0 + (i % 5) as f64
    })
}

fn models() -> Vec<Model> {
    let envelope = EllipticEnvelope::default();
    let specs: [DetectorSpec; 7] = [
        OneClassSvm::new(SvmKernel::Rbf).into(),
        IsolationForest {
            n_estimators: 3,
            max_samples: 8,
        }
        .into(),
        LocalOutlierFactor { n_neighbors: 3 }.into(),
        KNearestNeighbors::default().into(),
        Mahalanobis::default().into(),
        envelope.into(),
        DetectorSpec::EllipticEnvelope {
            envelope,
            components: Some(2),
        },
    ];
    specs
        .iter()
        .map(|spec| spec.fit(rows(20, 3).view(), &FitOptions::default()).unwrap())
        .collect()
}

fn message(bytes: &[u8]) -> String {
    match Model::from_bytes(bytes) {
        Err(DetectorError::ModelFile { what }) => what,
        Err(other) => panic!("{other:?}"),
        Ok(_) => "it is a model".into(),
    }
}

#[test]
fn files_that_are_none_are_told_apart() {
    let bytes = models()[0].to_bytes().unwrap();
    assert!(message(&[]).contains("does not begin"));
    assert!(message(b"PK\x03\x04 something else").contains("does not begin"));
    assert!(message(&bytes[..10]).contains("cut off"));
    let mut version = bytes.clone();
    version[8] = 77;
    assert!(message(&version).contains("version 77"));
    for length in [16, 17, bytes.len() / 2, bytes.len() - 1] {
        assert!(message(&bytes[..length]).contains("checksum"), "{length}");
    }
}

/// Bytes with a checksum that fits: what one who means harm would write.
fn sealed(rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"blemish\0".to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(crc32fast::hash(rest).to_le_bytes());
    bytes.extend(rest);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_damaged_model_is_an_error_or_scores(
        which in 0usize..7,
        place in 0.0f64..1.0,
        value in prop_oneof![Just(0u8), Just(1), Just(0x7f), Just(0xff), any::<u8>()],
        cut in prop::option::of(0.0f64..1.0),
    ) {
        let mut rest = models()[which].to_bytes().unwrap()[16..].to_vec();
        let at = (place * rest.len() as f64) as usize;
        rest[at] = value;
        if let Some(cut) = cut {
            rest.truncate((cut * rest.len() as f64) as usize);
        }
        // It must not panic, nor run for ever, nor ask for the memory that a length claims.
        if let Ok(model) = Model::from_bytes(&sealed(&rest)) {
            let columns = model.columns();
            let _ = model.score(Array2::<f64>::zeros((2, columns)).view());
        }
    }
}

#[test]
fn settings_and_thresholds_come_back() {
    for model in models() {
        let again = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        assert_eq!(again.spec(), model.spec());
        assert_eq!((again.seed(), again.columns(), again.train_len()), (0, 3, 20));
        assert_eq!(again.train_scores(), model.train_scores());
        let moved = again.with_threshold(1.25).unwrap();
        assert_eq!(moved.threshold(), 1.25);
        assert!(moved.with_threshold(f64::NAN).is_err());
    }
}

#[test]
fn a_contamination_is_the_part_of_training_rows_above_the_threshold() {
    let rows = rows(40, 3);
    for spec in study_grid().into_iter().chain(further_grid()).step_by(7) {
        let options = |contamination| FitOptions {
            seed: 1,
            contamination: Some(contamination),
        };
        let model = spec.fit(rows.view(), &options(0.25)).unwrap();
        let above = model
            .train_scores()
            .iter()
            .filter(|s| **s > model.threshold())
            .count();
        assert!(above <= 10, "{spec:?}: {above}");
        let error = spec.fit(rows.view(), &options(0.7)).unwrap_err();
        assert!(error.to_string().contains("contamination"), "{error}");
    }
}
