//! What is odd in a whole set of images.

use blemish_detectors::auroc;
use blemish_images::ImageFile;

use super::{Finding, Readable, Severity};

/// The fewest good images among which one can be far out.
pub(super) const LEAST: usize = 8;
/// How many interquartile ranges above the third quartile is far out (Tukey, 1977).
const FAR: f64 = 3.0;

/// Whether good images to test with are told from those to learn from by their brightness.
pub(super) fn brightness(images: &[Readable<'_>]) -> Option<Finding> {
    let good = || images.iter().filter(|r| !r.file.is_defective());
    let values: Vec<f64> = good().map(|r| r.facts.brightness).collect();
    let is_test: Vec<bool> = good().map(|r| !r.is_train).collect();
    let tests = is_test.iter().filter(|t| **t).count();
    let trains = is_test.len() - tests;
    let area = auroc(&values, &is_test).ok()?;
    // The standard deviation of the area where there is no difference.
    let sd = ((trains + tests + 1) as f64 / (12.0 * trains as f64 * tests as f64)).sqrt();
    let off = (area - 0.5).abs();
    if off < 0.3 || off < 3.0 * sd {
        return None;
    }
    let mean = |of_test: bool| {
        let of = values
            .iter()
            .zip(&is_test)
            .filter(|(_, t)| **t == of_test)
            .map(|(v, _)| v);
        of.sum::<f64>() / if of_test { tests } else { trains } as f64
    };
    Some(Finding {
        severity: Severity::Warning,
        code: "brightness_shift",
        message: format!(
            "good images to test with are {} than those to learn from (mean {:.3} and {:.3}, of 1): brightness alone tells \
             them apart with an AUROC of {:.2}. Were light and exposure the same?",
            if area > 0.5 { "brighter" } else { "darker" },
            mean(true),
            mean(false),
            0.5 + off
        ),
        files: vec![],
    })
}

/// Good images with scores far above those of the others.
pub(super) fn far_out(files: &[ImageFile], scores: &[f64]) -> Vec<Finding> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quartile = |part: f64| {
        let at = part * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    };
    let (first, third) = (quartile(0.25), quartile(0.75));
    let fence = third + FAR * (third - first);
    let mut far: Vec<(f64, &ImageFile)> = scores
        .iter()
        .copied()
        .zip(files)
        .filter(|(score, _)| *score > fence)
        .collect();
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    if far.is_empty() {
        return vec![];
    }
    let listed: Vec<String> = far
        .iter()
        .take(5)
        .map(|(score, _)| format!("{score:.2}"))
        .collect();
    vec![Finding {
        severity: Severity::Warning,
        code: "suspicious_good",
        message: format!(
            "{} of {} good images {} unlike all others (score {}{}; half of the others have {first:.2} to {third:.2}): look \
             whether {} good",
            far.len(),
            scores.len(),
            if far.len() == 1 { "is" } else { "are" },
            listed.join(", "),
            if far.len() > listed.len() { " and less" } else { "" },
            if far.len() == 1 { "it is" } else { "they are" },
        ),
        files: far.iter().map(|(_, file)| file.relative.clone()).collect(),
    }]
}
