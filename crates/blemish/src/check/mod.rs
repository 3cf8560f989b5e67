//! Looks at images before anything is learned from them: what cannot be read, what does not belong together, what makes
//! a test say too much or too little.
//!
//! ```no_run
//! use blemish::check::{CheckConfig, Severity, check};
//!
//! # fn main() -> Result<(), blemish::Error> {
//! let report = check("mvtec_ad/bottle".as_ref(), &CheckConfig::default(), &|_event| {})?;
//! for object in &report.objects {
//!     for finding in &object.findings {
//!         println!("{}: {}", finding.severity, finding.message);
//!     }
//! }
//! assert_eq!(report.count(Severity::Error), 0);
//! # Ok(())
//! # }
//! ```

mod findings;
mod split;

use std::path::{Path, PathBuf};

use blemish_images::{ImageFacts, ImageFile, ImagesError, Survey, load_mask, survey};
use rayon::prelude::*;
use serde::Serialize;

use crate::Error;
use crate::inspector::{FitConfig, Method, Samples, left_out_scores};

/// How to check.
#[derive(Clone, Debug, Default)]
pub struct CheckConfig {
    /// Whether to look for good images that are unlike the others, which takes a network and the time of a fit.
    pub suspects: bool,
    /// Folder with weights files; without ResNet-18's there, random weights serve.
    pub weights: Option<PathBuf>,
    /// Seed of the fit.
    pub seed: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing should be run before it is mended.
    Error,
    /// It can be run, and may mean something else than it seems.
    Warning,
    /// Worth knowing.
    Note,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A short name of its kind that stays the same, such as `unreadable`.
    pub code: &'static str,
    /// What it is and what to do.
    pub message: String,
    /// The files, relative to the object's folder where they are in it.
    pub files: Vec<String>,
}

/// What was found in the images of one object.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedObject {
    /// Its name.
    pub name: String,
    /// Good images to learn from.
    pub train: usize,
    /// Good images to test with.
    pub test_good: usize,
    /// Defective images to test with.
    pub test_defective: usize,
    /// Masks that belong to an image.
    pub masks: usize,
    /// Errors first, then warnings, then notes.
    pub findings: Vec<Finding>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// What was checked.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Its objects, at least one.
    pub objects: Vec<CheckedObject>,
}

/// A path that is not UTF-8 is no reason to say nothing at all.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl CheckReport {
    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.objects.iter().flat_map(|o| &o.findings);
        findings.filter(|f| f.severity == severity).count()
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug)]
pub struct CheckEvent<'a> {
    /// The object.
    pub object: &'a str,
    /// What is being done.
    pub step: &'static str,
    /// How much of it is done.
    pub done: usize,
    /// How much there is.
    pub total: usize,
}

/// Checks a data set or an object in the MVTec layout, a folder of images, or a table (what [`Samples::open`] takes), on
/// rayon's current pool. Every image and mask is decoded.
///
/// # Errors
/// If there is nothing to check at `path`; whatever is wrong with what is there is in the report.
pub fn check(
    path: &Path,
    config: &CheckConfig,
    on_event: &dyn Fn(&CheckEvent<'_>),
) -> Result<CheckReport, Error> {
    let surveys = match survey(path) {
        Ok(surveys) => surveys,
        // No data set: a plain folder or a table.
        Err(ImagesError::Layout { .. } | ImagesError::NotAFolder { .. }) => {
            let samples = Samples::open(path)?;
            vec![Survey {
                name: samples.name,
                folder: path.into(),
                train: samples.train,
                test: samples.test,
                unused: vec![],
                faults: vec![],
            }]
        }
        Err(error) => return Err(error.into()),
    };
    let objects = surveys
        .into_iter()
        .map(|survey| check_object(survey, config, on_event))
        .collect();
    Ok(CheckReport {
        path: path.into(),
        objects,
    })
}

/// An image that could be read.
struct Readable<'a> {
    file: &'a ImageFile,
    facts: ImageFacts,
    is_train: bool,
}

/// Images that are decoded between two events.
const CHUNK: usize = 32;

fn check_object(survey: Survey, config: &CheckConfig, on_event: &dyn Fn(&CheckEvent<'_>)) -> CheckedObject {
    let mut findings: Vec<Finding> = survey
        .faults
        .iter()
        .map(|fault| findings::fault(fault, &survey.folder))
        .collect();
    let files: Vec<(&ImageFile, bool)> = survey
        .train
        .iter()
        .map(|file| (file, true))
        .chain(survey.test.iter().map(|file| (file, false)))
        .collect();
    let mut readable: Vec<Readable<'_>> = vec![];
    for (c, files) in files.chunks(CHUNK).enumerate() {
        let done = c * CHUNK;
        on_event(&CheckEvent {
            object: &survey.name,
            step: "images",
            done,
            total: survey.train.len() + survey.test.len(),
        });
        let facts: Vec<Result<ImageFacts, ImagesError>> = files
            .par_iter()
            .map(|(file, _)| ImageFacts::of(&file.path))
            .collect();
        let masks: Vec<Option<Finding>> = files
            .par_iter()
            .zip(&facts)
            .map(|((file, _), facts)| check_mask(file, facts.as_ref().ok()))
            .collect();
        for (&(file, is_train), facts) in files.iter().zip(facts) {
            match facts {
                Ok(facts) => readable.push(Readable {
                    file,
                    facts,
                    is_train,
                }),
                Err(error) => findings.push(Finding {
                    severity: Severity::Error,
                    code: "unreadable",
                    message: error.to_string(),
                    files: vec![file.relative.clone()],
                }),
            }
        }
        findings.extend(masks.into_iter().flatten());
    }
    findings.extend(findings::sizes(&readable));
    findings.extend(findings::modes(&readable));
    findings.extend(findings::duplicates(&readable));
    findings.extend(findings::masks(&survey.test));
    findings.extend(findings::counts(&survey));
    findings.extend(findings::unused(&survey));
    findings.extend(split::brightness(&readable));
    if config.suspects {
        findings.extend(suspects(&survey, &readable, config, on_event));
    }
    findings.sort_by_key(|f| f.severity);
    let defective = survey.test.iter().filter(|f| f.is_defective()).count();
    CheckedObject {
        train: survey.train.len(),
        test_good: survey.test.len() - defective,
        test_defective: defective,
        masks: survey.test.iter().filter(|f| f.mask.is_some()).count(),
        name: survey.name,
        findings,
    }
}

fn check_mask(file: &ImageFile, facts: Option<&ImageFacts>) -> Option<Finding> {
    let path = file.mask.as_ref()?;
    let finding = |severity, code, message: String| {
        Some(Finding {
            severity,
            code,
            message,
            files: vec![file.relative.clone()],
        })
    };
    let mask = match load_mask(path) {
        Ok(mask) => mask,
        Err(error) => return finding(Severity::Error, "mask_unreadable", error.to_string()),
    };
    let facts = facts?;
    let image_size = (facts.width, facts.height);
    if mask.dimensions() != image_size {
        let error = ImagesError::MaskSize {
            path: path.clone(),
            size: mask.dimensions(),
            image: file.path.clone(),
            image_size,
        };
        return finding(Severity::Error, "mask_size", error.to_string());
    }
    if mask.pixels().all(|p| p.0 == [0]) {
        let message = format!(
            "{}: this mask marks no pixel, and the image is called defective: draw the defect, or remove the mask",
            path.display()
        );
        return finding(Severity::Warning, "mask_empty", message);
    }
    None
}

/// Good images whose score by a detector of all others lies far out.
fn suspects(
    survey: &Survey,
    readable: &[Readable<'_>],
    config: &CheckConfig,
    on_event: &dyn Fn(&CheckEvent<'_>),
) -> Vec<Finding> {
    let train: Vec<ImageFile> = readable
        .iter()
        .filter(|r| r.is_train)
        .map(|r| r.file.clone())
        .collect();
    if train.len() < split::LEAST {
        return vec![Finding {
            severity: Severity::Note,
            code: "suspects_not_sought",
            message: format!(
                "{} good images are too few to say which of them is unlike the others: {} are needed",
                train.len(),
                split::LEAST
            ),
            files: vec![],
        }];
    }
    let samples = Samples {
        name: survey.name.clone(),
        train,
        test: vec![],
    };
    let fit = quick_fit(config);
    let scores = left_out_scores(&samples, &fit, &|done, total| {
        on_event(&CheckEvent {
            object: &survey.name,
            step: "suspicious good images",
            done,
            total,
        });
    });
    match scores {
        Ok(scores) => split::far_out(&samples.train, &scores),
        Err(error) => vec![Finding {
            severity: Severity::Warning,
            code: "suspects_not_sought",
            message: format!("good images that are unlike the others could not be sought: {error}"),
            files: vec![],
        }],
    }
}

/// A small memory bank: all that is wanted is what stands out.
fn quick_fit(config: &CheckConfig) -> FitConfig {
    let mut fit = FitConfig::new();
    fit.method = Method::MemoryBank;
    fit.size = Some(224);
    fit.candidates = Some(16_384);
    fit.bank = Some(1024);
    fit.seed = config.seed;
    fit.weights = config.weights.clone();
    let published = fit
        .weights
        .as_deref()
        .map(|folder| blemish_backbones::Weights::find(folder, fit.architecture, fit.initialization()));
    if !matches!(published, Some(Ok(_))) {
        fit.initialization = Some(blemish_backbones::Initialization::Random);
    }
    fit
}
