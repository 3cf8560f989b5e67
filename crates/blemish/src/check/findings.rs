//! What is wrong with files, one by one and with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use blemish_images::{ImageFile, ImagesError, Survey, near_duplicates};

use super::{Finding, Readable, Severity};

/// A fault of the listing.
pub(super) fn fault(fault: &ImagesError, folder: &Path) -> Finding {
    let (code, path) = match fault {
        ImagesError::MaskWithoutImage { path, .. } => ("mask_without_image", Some(path)),
        ImagesError::AmbiguousMask { path, .. } => ("mask_ambiguous", Some(path)),
        ImagesError::TwoMasks { image, .. } => ("mask_ambiguous", Some(image)),
        ImagesError::NoImages { path } => ("no_images", Some(path)),
        ImagesError::NotUtf8 { path } | ImagesError::FolderNamedAsImage { path } => ("name", Some(path)),
        ImagesError::Io { path, .. } => ("unreadable", Some(path)),
        _ => ("layout", None),
    };
    Finding {
        severity: Severity::Error,
        code,
        message: fault.to_string(),
        files: path.map(|path| relative(path, folder)).into_iter().collect(),
    }
}

/// A path as seen from a folder, separated by `/`.
fn relative(path: &Path, folder: &Path) -> String {
    let path = path.strip_prefix(folder).unwrap_or(path);
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// Images where no one looks for them.
pub(super) fn unused(survey: &Survey) -> Option<Finding> {
    if survey.unused.is_empty() {
        return None;
    }
    Some(Finding {
        severity: Severity::Warning,
        code: "unused",
        message: "images lie where they are not used: good ones to learn from belong into train/good, others into test/good \
                  and test/DEFECT"
            .into(),
        files: survey.unused.iter().map(|path| relative(path, &survey.folder)).collect(),
    })
}

fn names(images: &[&Readable<'_>]) -> Vec<String> {
    images.iter().map(|r| r.file.relative.clone()).collect()
}

/// Images by a property, the most common one first; of equally common ones, the first in order.
fn by<'a, 'b, K: Ord>(
    images: &'b [Readable<'a>],
    key: impl Fn(&Readable<'a>) -> K,
) -> Vec<(K, Vec<&'b Readable<'a>>)> {
    let mut groups: BTreeMap<K, Vec<&Readable<'a>>> = BTreeMap::new();
    for image in images {
        groups.entry(key(image)).or_default().push(image);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, images)| std::cmp::Reverse(images.len()));
    groups
}

/// Images of another size than most.
pub(super) fn sizes(images: &[Readable<'_>]) -> Vec<Finding> {
    let groups = by(images, |r| (r.facts.width, r.facts.height));
    let Some((((width, height), most), others)) = groups.split_first() else {
        return vec![];
    };
    let odd = |((w, h), odd): &((u32, u32), Vec<&Readable<'_>>)| Finding {
        severity: Severity::Warning,
        code: "odd_size",
        message: format!(
            "{} of {} images {} {w} x {h} pixels, most ({}) are {width} x {height}: all are resized to one size, so that \
             what they show appears in another size{}",
            odd.len(),
            images.len(),
            if odd.len() == 1 { "is" } else { "are" },
            most.len(),
            // The same aspect ratio needs no more words.
            if u64::from(*w) * u64::from(*height) == u64::from(*h) * u64::from(*width) {
                ""
            } else {
                " and shape"
            }
        ),
        files: names(odd),
    };
    others.iter().map(odd).collect()
}

/// Images whose colours are stored otherwise than most.
pub(super) fn modes(images: &[Readable<'_>]) -> Vec<Finding> {
    let groups = by(images, |r| r.facts.mode);
    let Some(((common, most), others)) = groups.split_first() else {
        return vec![];
    };
    let mixed = |(mode, odd): &(&str, Vec<&Readable<'_>>)| Finding {
        severity: Severity::Warning,
        code: "mixed_modes",
        message: format!(
            "{} of {} images: {mode}, most ({}): {common}. A detector may tell them apart by that alone",
            odd.len(),
            images.len(),
            most.len(),
        ),
        files: names(odd),
    };
    others.iter().map(mixed).collect()
}

/// Images that are there twice or nearly so.
pub(super) fn duplicates(images: &[Readable<'_>]) -> Vec<Finding> {
    let mut findings = vec![];
    for (_, group) in by(images, |r| r.facts.pixels)
        .into_iter()
        .filter(|(_, g)| g.len() > 1)
    {
        findings.push(duplicate(&group, true));
    }
    // Of images without a different pixel, one stands for all.
    let mut seen = BTreeSet::new();
    let distinct: Vec<&Readable<'_>> = images.iter().filter(|r| seen.insert(r.facts.pixels)).collect();
    let thumbnails: Vec<&[f32]> = distinct.iter().map(|r| &*r.facts.thumbnail).collect();
    let mut groups: Vec<usize> = (0..distinct.len()).collect();
    for (i, j) in near_duplicates(&thumbnails) {
        let (low, high) = (groups[i].min(groups[j]), groups[i].max(groups[j]));
        groups.iter_mut().filter(|g| **g == high).for_each(|g| *g = low);
    }
    let mut near: BTreeMap<usize, Vec<&Readable<'_>>> = BTreeMap::new();
    for (group, image) in groups.iter().zip(&distinct) {
        near.entry(*group).or_default().push(image);
    }
    findings.extend(near.values().filter(|g| g.len() > 1).map(|g| duplicate(g, false)));
    findings
}

fn duplicate(group: &[&Readable<'_>], exact: bool) -> Finding {
    let train = group.iter().filter(|r| r.is_train).count();
    let across = train > 0 && train < group.len();
    let defective = group.iter().filter(|r| r.file.is_defective()).count();
    let how = if exact {
        "show the same, pixel for pixel"
    } else {
        "show nearly the same in the same place"
    };
    let contradiction = if defective > 0 && defective < group.len() {
        "; and some of them are called defective, others good"
    } else {
        ""
    };
    let what = match (across, train) {
        (true, _) => {
            "are to learn from and to test with: what is tested has been seen. Keep them on one side"
        }
        (false, 0) => "count more than once in the test. Keep one of them",
        (false, _) => "count more than once: scores of good images come out too low. Keep one of them",
    };
    Finding {
        severity: if exact && (across || !contradiction.is_empty()) {
            Severity::Error
        } else {
            Severity::Warning
        },
        code: match (exact, across) {
            (true, true) => "duplicate_across",
            (true, false) => "duplicate",
            (false, true) => "near_duplicate_across",
            (false, false) => "near_duplicate",
        },
        message: format!("{} images {how} and {what}{contradiction}", group.len()),
        files: names(group),
    }
}

/// Defective images without a mask.
pub(super) fn masks(test: &[ImageFile]) -> Vec<Finding> {
    let defective: Vec<&ImageFile> = test.iter().filter(|f| f.is_defective()).collect();
    let without: Vec<String> = defective
        .iter()
        .filter(|f| f.mask.is_none())
        .map(|f| f.relative.clone())
        .collect();
    if without.is_empty() {
        return vec![];
    }
    if without.len() == defective.len() {
        return vec![Finding {
            severity: Severity::Note,
            code: "no_masks",
            message: "there are no masks: how well defects are located cannot be measured".into(),
            files: vec![],
        }];
    }
    vec![Finding {
        severity: Severity::Warning,
        code: "image_without_mask",
        message: format!(
            "{} of {} defective images have no mask: they are left out where pixels are counted",
            without.len(),
            defective.len()
        ),
        files: without,
    }]
}

/// What there is too little of.
pub(super) fn counts(survey: &Survey) -> Vec<Finding> {
    let finding = |severity, code, message: String| Finding {
        severity,
        code,
        message,
        files: vec![],
    };
    let mut findings = vec![];
    if survey.train.len() == 1 {
        let message = "there is one good image to learn from: at least two are needed".into();
        findings.push(finding(Severity::Error, "few_images", message));
    } else if (2..20).contains(&survey.train.len()) {
        let message = format!(
            "there are {} good images to learn from: what varies among good parts is hardly in so few",
            survey.train.len()
        );
        findings.push(finding(Severity::Warning, "few_images", message));
    }
    let defective = survey.test.iter().filter(|f| f.is_defective()).count();
    if survey.test.is_empty() {
        let message = "there are no test images: a detector can be fitted, but not evaluated".into();
        findings.push(finding(Severity::Note, "no_test", message));
    } else if defective == 0 || defective == survey.test.len() {
        let message = format!(
            "the test images are all {}: an AUROC needs both kinds",
            if defective == 0 { "good" } else { "defective" }
        );
        findings.push(finding(Severity::Warning, "one_class", message));
    }
    findings
}
