use blemish_detectors::{Bandwidth, DensityKernel, DetectorError, InnerProducts, KernelDensity};
use ndarray::{Array2, array};

use crate::common::{Density, bell, error, golden};

fn setting(expected: &Density) -> KernelDensity {
    let kernel = DensityKernel::ALL
        .into_iter()
        .find(|k| k.name() == expected.kernel)
        .unwrap();
    let bandwidth = match expected.bandwidth.as_str() {
        Some("scott") => Bandwidth::Scott,
        Some(_) => Bandwidth::Silverman,
        None => Bandwidth::Value(expected.bandwidth.as_f64().unwrap()),
    };
    KernelDensity { kernel, bandwidth }
}

/// The error of the finite ones; `None` stands for a log density of minus infinity.
fn log_density_error(scores: &[f64], expected: &[Option<f64>]) -> f64 {
    let finite: Vec<bool> = expected.iter().map(Option::is_some).collect();
    assert_eq!(scores.iter().map(|s| s.is_finite()).collect::<Vec<_>>(), finite);
    assert!(scores.iter().all(|s| s.is_finite() || *s == f64::INFINITY));
    let expected: Vec<f64> = expected.iter().flatten().copied().collect();
    let found: Vec<f64> = scores.iter().filter(|s| s.is_finite()).map(|s| -s).collect();
    if expected.is_empty() {
        0.0
    } else {
        error(&found, &expected)
    }
}

#[test]
fn log_densities_are_exact() {
    let (mut finite, mut theirs) = (0, 0);
    for case in golden().cases {
        let products = case.products();
        for expected in &case.density {
            let model = setting(expected).fit(products.view()).unwrap();
            let scores = model.score(products.view()).unwrap();
            let label = format!("{} {} {}", case.name, expected.kernel, expected.bandwidth);
            assert!((model.bandwidth() / expected.h - 1.0).abs() < 1e-14, "{label}");
            let off = log_density_error(&scores, &expected.log_density);
            assert!(off < 1e-9, "{label}: {off:.1e}");
            finite += expected.log_density.iter().flatten().count();
            if let Some(sklearn) = &expected.sklearn {
                let off = log_density_error(&scores, sklearn);
                assert!(off < 1e-9, "{label}: {off:.1e} from scikit-learn");
                theirs += 1;
            }
        }
    }
    // The comparison is not empty: kernels of finite support reach rows too.
    assert!(finite > 800 && theirs > 20, "{finite} {theirs}");
}

/// At the place of its only training row, a density is its normalisation.
#[test]
fn the_cosine_kernel_is_normalised_in_any_dimension() {
    for (d, log_integral) in golden().cosine {
        let x = Array2::<f32>::zeros((1, d as usize));
        let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
        let cosine = KernelDensity {
            kernel: DensityKernel::Cosine,
            bandwidth: Bandwidth::Value(1.0),
        };
        let score = cosine
            .fit(products.view())
            .unwrap()
            .score(products.view())
            .unwrap()[0];
        assert!(
            (score - log_integral).abs() <= 1e-11 * log_integral.abs().max(1.0),
            "{d}: {score} {log_integral}"
        );
    }
}

#[test]
fn densities_integrate_to_one() {
    let train = array![[0.0], [0.3], [0.9]];
    let steps = 40_000;
    let query = Array2::from_shape_fn((steps, 1), |(i, _)| {
        -20.0 + 40.0 * (i as f64 + 0.5) / steps as f64
    });
    let products = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
    for kernel in DensityKernel::ALL {
        let density = KernelDensity {
            kernel,
            bandwidth: Bandwidth::Value(0.7),
        };
        let scores = density
            .fit(products.view())
            .unwrap()
            .score(products.view())
            .unwrap();
        let integral: f64 = scores.iter().map(|s| (-s).exp() * 40.0 / steps as f64).sum();
        assert!((integral - 1.0).abs() < 1e-3, "{kernel:?}: {integral}");
    }
}

#[test]
fn bandwidths_must_be_positive_numbers() {
    let x = bell(1, 5, 2);
    let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
    for h in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let density = KernelDensity {
            kernel: DensityKernel::Gaussian,
            bandwidth: Bandwidth::Value(h),
        };
        assert!(matches!(
            density.fit(products.view()),
            Err(DetectorError::Parameter {
                name: "bandwidth",
                ..
            })
        ));
    }
    let density = KernelDensity {
        kernel: DensityKernel::Gaussian,
        bandwidth: Bandwidth::Scott,
    };
    let model = density.fit(products.view()).unwrap();
    assert!(matches!(
        model.score(products.leading(4).unwrap()),
        Err(DetectorError::Shape { .. })
    ));
}

#[test]
fn kernels_of_finite_support_end_before_one_bandwidth() {
    let products = InnerProducts::from_rows(&[array![[0.0]].view()], array![[0.5], [0.4375]].view()).unwrap();
    for kernel in [
        DensityKernel::Tophat,
        DensityKernel::Epanechnikov,
        DensityKernel::Linear,
        DensityKernel::Cosine,
    ] {
        let density = KernelDensity {
            kernel,
            bandwidth: Bandwidth::Value(0.5),
        };
        let scores = density
            .fit(products.view())
            .unwrap()
            .score(products.view())
            .unwrap();
        assert_eq!(scores[0], f64::INFINITY, "{kernel:?}");
        assert!(scores[1].is_finite(), "{kernel:?}");
    }
}
