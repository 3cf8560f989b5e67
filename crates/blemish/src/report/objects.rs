//! One object at a time: curves, scores, and the images that the detectors get most wrong.

use std::collections::BTreeMap;
use std::io::Cursor;

use base64::Engine;
use blemish_detectors::roc_curve;
use blemish_images::RgbImage;

use super::data::{RunData, setting_in_words};
use super::figure::{BAD, Figure, GOOD, Ink, MUTED, series};
use super::plot::{self, Axis, Frame, Hang, Room, legend, short, write};
use super::selection::Selection;
use super::stats::mean;
use super::warnings::folder;
use crate::Error;
use crate::lab::{Store, TestImage};

/// Side of a thumbnail in pixels.
const THUMBNAIL: u32 = 168;
/// How many of each kind are shown.
const SHOWN: usize = 6;

/// An image with how wrong the detectors are about it.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// Path relative to the object's folder.
    pub(crate) path: String,
    /// Share of the images of the other kind on the wrong side of it, mean over the detectors asked, 0 to 1.
    pub(crate) wrong: f64,
    /// Rank of its score by the best setting, 1 the most anomalous.
    pub(crate) rank: usize,
    /// Its score by the best setting.
    pub(crate) score: f64,
    /// A small picture as a data URI, if the image is still there.
    pub(crate) picture: Option<String>,
}

/// What is shown of one object.
#[derive(Debug)]
pub(crate) struct ObjectReport {
    /// Its name.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) summary: String,
    /// Curves and scores; none without scores.
    pub(crate) figures: Vec<Figure>,
    /// Test images, most wrong first, the good ones.
    pub(crate) good: Vec<Wrong>,
    /// The defective ones.
    pub(crate) defective: Vec<Wrong>,
    /// How many detectors were asked.
    pub(crate) asked: usize,
    /// How many images there are.
    pub(crate) images: usize,
}

/// All objects.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn all(data: &RunData, store: &Store, selection: &Selection) -> Result<Vec<ObjectReport>, Error> {
    (0..data.objects.len())
        .map(|o| one(data, store, selection, o))
        .collect()
}

fn one(data: &RunData, store: &Store, selection: &Selection, object: usize) -> Result<ObjectReport, Error> {
    let name = data.objects[object].clone();
    let images = data.images.get(&name).cloned().unwrap_or_default();
    let defective = data.defective(object);
    let scores_of = |e: usize| -> Result<Option<Vec<f64>>, Error> {
        let found = store.scores(&data.experiments[e].key)?;
        Ok(found.filter(|s| s.len() == images.len() && !s.is_empty()))
    };
    let mut summary = String::new();
    let mut curves: Vec<(String, Ink, Vec<f64>)> = vec![];
    for (i, choice) in selection.choices().iter().enumerate() {
        let Some(e) = choice.chosen[object] else { continue };
        let experiment = &data.experiments[e];
        let auroc = experiment.row.auroc.unwrap_or(f64::NAN);
        summary.push_str(&format!(
            "{}{}: {auroc:.3}, {}",
            if summary.is_empty() { "" } else { ". " },
            choice.name,
            setting_in_words(&data.recipes[experiment.recipe])
        ));
        if let Some(scores) = scores_of(e)? {
            curves.push((
                format!("{} {auroc:.3}", choice.name),
                [GOOD, BAD, series(2)][i],
                scores,
            ));
        }
    }
    if summary.is_empty() {
        summary.push_str("No result yet");
    }
    let mut figures = vec![];
    let (mut good, mut bad, mut asked) = (vec![], vec![], 0);
    if let Some((_, _, best)) = curves.first() {
        figures.push(roc(&name, &curves, &defective));
        figures.push(histogram(&name, &curves[0].0, best, &images));
        // The best experiment of each detector: what they agree on is more likely the image's fault than theirs.
        let mut by_model: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, e) in data
            .experiments
            .iter()
            .enumerate()
            .filter(|(_, e)| e.object == object && e.row.auroc.is_some())
        {
            let entry = by_model.entry(&e.row.model).or_insert(number);
            if e.row.auroc > data.experiments[*entry].row.auroc {
                *entry = number;
            }
        }
        let mut wrongness = vec![vec![]; images.len()];
        for e in by_model.into_values() {
            let Some(scores) = scores_of(e)? else { continue };
            asked += 1;
            for (i, w) in wrong(&scores, &defective).into_iter().enumerate() {
                wrongness[i].push(w);
            }
        }
        let folder = folder(data, object);
        for (i, image) in images.iter().enumerate() {
            let item = Wrong {
                path: image.path.clone(),
                wrong: mean(wrongness[i].iter().copied()).unwrap_or(0.0),
                rank: 1 + best.iter().filter(|s| **s > best[i]).count(),
                score: best[i],
                picture: None,
            };
            if image.defect.is_some() {
                bad.push(item)
            } else {
                good.push(item)
            }
        }
        for list in [&mut good, &mut bad] {
            list.sort_by(|a, b| b.wrong.total_cmp(&a.wrong).then_with(|| a.path.cmp(&b.path)));
            list.retain(|w| w.wrong > 0.0);
            list.truncate(SHOWN);
            for item in list.iter_mut() {
                item.picture = folder.as_ref().and_then(|f| thumbnail(&f.join(&item.path)));
            }
        }
    }
    Ok(ObjectReport {
        name,
        summary,
        figures,
        good,
        defective: bad,
        asked,
        images: images.len(),
    })
}

/// For each image the share of the other kind that is on its wrong side, ties counting half.
fn wrong(scores: &[f64], defective: &[bool]) -> Vec<f64> {
    scores
        .iter()
        .zip(defective)
        .map(|(score, is_bad)| {
            let others = || {
                scores
                    .iter()
                    .zip(defective)
                    .filter(|(_, d)| *d != is_bad)
                    .map(|(s, _)| *s)
            };
            let beyond = |s: f64| if *is_bad { s > *score } else { s < *score };
            let n = others().count().max(1) as f64;
            let (wrong, ties) = others().fold((0.0, 0.0), |(w, t), s| {
                if beyond(s) {
                    (w + 1.0, t)
                } else if s == *score {
                    (w, t + 1.0)
                } else {
                    (w, t)
                }
            });
            (wrong + 0.5 * ties) / n
        })
        .collect()
}

fn thumbnail(path: &std::path::Path) -> Option<String> {
    jpeg(&smaller(&blemish_images::load_rgb(path).ok()?, THUMBNAIL))
}

/// The image with its longer side brought to `side` pixels.
pub(super) fn smaller(image: &RgbImage, side: u32) -> RgbImage {
    let (w, h) = image.dimensions();
    let scale = f64::from(side) / f64::from(w.max(h).max(1));
    let size = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    image::imageops::resize(image, size(w), size(h), image::imageops::FilterType::Triangle)
}

/// The image as a data URI.
pub(super) fn jpeg(image: &RgbImage) -> Option<String> {
    let mut jpeg = Cursor::new(vec![]);
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 80);
    image.write_with_encoder(encoder).ok()?;
    Some(format!(
        "data:image/jpeg;base64,{}",
        base64::engine::general_purpose::STANDARD.encode(jpeg.into_inner())
    ))
}

/// Curves with their names, colours and scores.
type Curves = [(String, Ink, Vec<f64>)];

fn roc(object: &str, curves: &Curves, defective: &[bool]) -> Figure {
    Figure {
        id: format!("roc_{object}"),
        title: format!("{object}: ROC curves"),
        note: "Of the best setting, of the single setting for all objects, and of the one chosen without this object.".into(),
        alt: format!("ROC curves of {object}: {}", curves.iter().map(|c| c.0.as_str()).collect::<Vec<_>>().join(", ")),
        svg: roc_svg(curves, defective),
        wide: false,
    }
}

/// ROC curves with their names below.
pub(super) fn roc_svg(curves: &Curves, defective: &[bool]) -> String {
    let names: Vec<(String, Ink)> = curves.iter().map(|c| (c.0.clone(), c.1)).collect();
    let below = plot::legend_height(&names, 12, 420);
    let height = 340 + below;
    plot::svg(420, height as u32, |area| {
        let x = Axis::linear("good images called defective", (0.0, 1.0));
        let y = Axis::linear("defective images found", (0.0, 1.0));
        let frame = Frame::draw(
            area,
            x,
            y,
            Room {
                bottom: 46 + below,
                ..Room::default()
            },
        )?;
        frame.line(area, &[(0.0, 0.0), (1.0, 1.0)], MUTED, 1)?;
        // The oracle last, so that it lies on top.
        for (_, ink, scores) in curves.iter().rev() {
            let curve = roc_curve(scores, defective)?;
            let points: Vec<(f64, f64)> = curve
                .false_positive_rate
                .into_iter()
                .zip(curve.true_positive_rate)
                .collect();
            frame.line(area, &points, *ink, 2)?;
        }
        legend(area, &names, 12, height - below + 8)
    })
}

fn histogram(object: &str, choice: &str, scores: &[f64], images: &[TestImage]) -> Figure {
    let mut kinds: BTreeMap<Option<&str>, Vec<f64>> = BTreeMap::new();
    for (score, image) in scores.iter().zip(images) {
        kinds.entry(image.defect.as_deref()).or_default().push(*score);
    }
    let (svg, (low, high)) = histogram_svg(&kinds, None);
    Figure {
        id: format!("scores_{object}"),
        title: format!("{object}: scores by kind of defect"),
        note: format!(
            "{choice}. Each row has its own height; its tallest bar is full. Scores from {} to {}.",
            short(low),
            short(high)
        ),
        alt: format!(
            "Histograms of scores of {object} for {} kinds of image",
            kinds.len()
        ),
        svg,
        wide: false,
    }
}

/// A row of bars for each kind of image (`None` is good), with a line at a threshold; and the range that is shown.
pub(super) fn histogram_svg(
    kinds: &BTreeMap<Option<&str>, Vec<f64>>,
    threshold: Option<f64>,
) -> (String, (f64, f64)) {
    const BINS: usize = 40;
    let all = kinds.values().flatten().copied().chain(threshold);
    let (low, high) = Axis::around(all, false).unwrap_or((0.0, 1.0));
    let (row, top) = (58, 14);
    let height = top + row * kinds.len() as i32 + 44;
    let svg = plot::svg(560, height as u32, |area| {
        for (i, (kind, values)) in kinds.iter().enumerate() {
            let mut bins = [0usize; BINS];
            for v in values.iter().filter(|v| v.is_finite()) {
                let at = ((v - low) / (high - low) * BINS as f64) as usize;
                bins[at.min(BINS - 1)] += 1;
            }
            let most = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
            let last = i + 1 == kinds.len();
            let mut x = Axis::linear(
                if last {
                    "score (higher is more anomalous)"
                } else {
                    ""
                },
                (low, high),
            );
            if !last {
                x.ticks = Some(vec![]);
            }
            let mut y = Axis::linear("", (0.0, most));
            y.ticks = Some(vec![]);
            let y0 = top + i as i32 * row;
            let room = Room {
                left: 138,
                top: y0 + 8,
                right: 14,
                bottom: height - (y0 + row) + 2,
            };
            let frame = Frame::draw(area, x, y, room)?;
            let ink = if kind.is_none() { GOOD } else { BAD };
            let width = (high - low) / BINS as f64;
            for (b, n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
                let from = low + b as f64 * width;
                frame.bar(area, (from, 0.0), (from + width * 0.9, *n as f64), ink, 0.9)?;
            }
            if let Some(at) = threshold {
                let line = [(at, 0.0), (at, most)];
                frame.line(area, &line, MUTED, 2)?;
            }
            let name: String = kind.unwrap_or("good").chars().take(18).collect();
            write(area, &name, (128, y0 + row / 2 - 4), 12, ink, Hang::Right)?;
            write(
                area,
                &format!("{} images", values.len()),
                (128, y0 + row / 2 + 11),
                11,
                MUTED,
                Hang::Right,
            )?;
        }
        Ok(())
    });
    (svg, (low, high))
}
