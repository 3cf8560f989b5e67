//! The page of an evaluation: metrics with intervals, and the images that the model gets most wrong, with what it found
//! in them and where the defects are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blemish_detectors::{Interval, auroc};
use blemish_images::{GrayImage, ImageFile, MapScale, RgbImage, load_mask, load_rgb, overlay};

use super::figure::{BAD, Figure};
use super::html::{self, Block, Head, Headline, Pictured, Section};
use super::objects::{histogram_svg, jpeg, roc_svg, smaller};
use super::plot::short;
use super::table::{Cell, Table};
use super::warnings::Warning;
use crate::Error;
use crate::eval::{EvaluatedImage, Evaluation};
use crate::inspector::{Inspection, Inspector, Samples};

/// Longer side of a picture, in pixels.
const PICTURE: u32 = 400;
/// The line around what a mask marks.
const MASK: [u8; 3] = [190, 255, 60];

/// The page of an evaluation of `inspector` on the test images of `samples`, with the `worst` images of each kind: one HTML
/// file that needs nothing else. Those images are scored again for their maps.
///
/// # Errors
/// If an image that was scored before cannot be scored again.
pub fn evaluation_page(
    inspector: &Inspector,
    samples: &Samples,
    evaluation: &Evaluation,
    worst: usize,
) -> Result<String, Error> {
    let settings = inspector.settings();
    let e = evaluation;
    let title = format!("{}: inspected by {}", samples.name, settings.method);
    let lead = format!(
        "{}. Tested on {} good and {} defective images, none of which it learned from.",
        inspector.in_words(),
        e.good,
        e.defective
    );
    let mut sections = vec![Section {
        id: "metrics",
        title: "How well defects are found",
        blocks: vec![
            Block::Table(metrics(e)),
            Block::Figures(figures(inspector, e)),
            Block::Table(kinds(e)),
        ],
    }];
    let threshold = format!(
        "{}. On these images {} of {} good ones are called defective, and {} of {} defective ones good.",
        capital(&inspector.calibration().in_words()),
        e.false_rejects,
        e.good,
        e.missed,
        e.defective
    );
    sections.push(Section {
        id: "threshold",
        title: "The threshold",
        blocks: vec![
            Block::Text(threshold),
            Block::Text(
                "It comes from good images alone: no test image had a say in it. How many defects are missed is no \
                 promise, but what was found here."
                    .into(),
            ),
        ],
    });
    let (good, defective) = e.worst(worst);
    let reading = match settings.method.has_map() {
        true => {
            "On the left the image, with a line around what its mask marks; on the right the map of where it is unlike the \
             good ones, on one scale for all, with a line around what is above the threshold. A frame marks a wrong verdict."
        }
        false => "The method looks at images as a whole and has no maps. A frame marks a wrong verdict.",
    };
    let heading = |text: &str| Block::Heading(text.into());
    sections.push(Section {
        id: "worst",
        title: "The images that are told apart worst",
        blocks: vec![
            Block::Text(reading.into()),
            heading("Good images with the highest scores"),
            Block::Pictures(pictured(inspector, samples, &good)?),
            heading("Defective images with the lowest scores"),
            Block::Pictures(pictured(inspector, samples, &defective)?),
        ],
    });
    let left_out = left_out(e);
    if !left_out.is_empty() {
        sections.push(Section {
            id: "left-out",
            title: "What was left out",
            blocks: vec![Block::Warnings(left_out)],
        });
    }
    sections.push(Section {
        id: "images",
        title: "All images",
        blocks: vec![Block::Table(images(e))],
    });
    sections.push(Section {
        id: "model",
        title: "The model",
        blocks: vec![Block::Table(model(inspector))],
    });
    html::evaluation(
        &Head {
            title: &title,
            lead: &lead,
            headlines: &headlines(e),
        },
        &sections,
        &format!("version {}", settings.program),
    )
}

/// Writes a page to a file, by way of another beside it: whole, or as it was.
///
/// # Errors
/// If it cannot be written.
pub fn write_page(path: &Path, html: &str) -> Result<(), Error> {
    super::put(path, html.as_bytes())
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn between(interval: Interval, confidence: f64) -> String {
    format!(
        "{:.0} %: {:.3} to {:.3}",
        100.0 * confidence,
        interval.low,
        interval.high
    )
}

fn headlines(e: &Evaluation) -> Vec<Headline> {
    let mut out = vec![];
    for (name, interval) in [
        ("Image AUROC", Some(e.image_auroc)),
        ("Pixel AUROC", e.pixel_auroc),
        ("AUPRO", e.aupro),
    ] {
        if let Some(interval) = interval {
            out.push(Headline {
                name,
                value: format!("{:.3}", interval.value),
                note: between(interval, e.confidence),
            });
        }
    }
    out.push(Headline {
        name: "Good called defective",
        value: e.false_rejects.to_string(),
        note: format!("of {}", e.good),
    });
    out.push(Headline {
        name: "Defective called good",
        value: e.missed.to_string(),
        note: format!("of {}", e.defective),
    });
    out
}

fn metrics(e: &Evaluation) -> Table {
    let mut table = Table::new("metrics", "Metrics", &["metric", "#value", "#low", "#high"]).note(format!(
        "Intervals of {:.0} % from {} resamples of the images. F1-max takes the best threshold there is on these very \
         images: an upper bound. Where all images are told apart the interval has no length; that does not mean that the \
         next hundred will be. Metrics of pixels are of {} images: the good ones, and defective ones with a mask.",
        100.0 * e.confidence,
        e.resamples,
        e.pixel_images
    ));
    for (name, interval) in [
        ("image AUROC".to_owned(), Some(e.image_auroc)),
        ("image AP".to_owned(), Some(e.image_ap)),
        ("image F1-max".to_owned(), Some(e.image_f1_max)),
        ("pixel AUROC".to_owned(), e.pixel_auroc),
        ("pixel AP".to_owned(), e.pixel_ap),
        (format!("AUPRO to {}", e.aupro_limit), e.aupro),
    ] {
        let cell = |of: fn(Interval) -> f64| {
            interval.map_or_else(
                || Cell::text("–"),
                |i| Cell::number(of(i), format!("{:.4}", of(i))),
            )
        };
        table.rows.push(vec![
            Cell::text(name),
            cell(|i| i.value).strong(),
            cell(|i| i.low),
            cell(|i| i.high),
        ]);
    }
    table
}

/// Scores by kind of image; `None` is good.
fn by_kind(e: &Evaluation) -> BTreeMap<Option<&str>, Vec<f64>> {
    let mut kinds: BTreeMap<Option<&str>, Vec<f64>> = BTreeMap::new();
    for image in &e.images {
        kinds
            .entry(image.defect.as_deref())
            .or_default()
            .push(image.score);
    }
    kinds
}

fn kinds(e: &Evaluation) -> Table {
    let columns = [
        "kind",
        "#images",
        "#called defective",
        "#lowest score",
        "#highest score",
        "#image AUROC",
    ];
    let mut table = Table::new("kinds", "By kind of image", &columns)
        .note("The AUROC is that of the kind against all good images.");
    let scores = by_kind(e);
    let good = scores.get(&None).cloned().unwrap_or_default();
    for (kind, values) in &scores {
        let called = e
            .images
            .iter()
            .filter(|i| i.defect.as_deref() == *kind && i.is_called_defective);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let found = kind.and_then(|_| {
            let both: Vec<f64> = good.iter().chain(values).copied().collect();
            let labels: Vec<bool> = (0..both.len()).map(|i| i >= good.len()).collect();
            auroc(&both, &labels).ok()
        });
        table.rows.push(vec![
            Cell::text(kind.unwrap_or("good")),
            Cell::count(values.len()),
            Cell::count(called.count()),
            Cell::number(least, format!("{least:.4}")),
            Cell::number(most, format!("{most:.4}")),
            Cell::auroc(found),
        ]);
    }
    table
}

fn figures(inspector: &Inspector, e: &Evaluation) -> Vec<Figure> {
    let scores: Vec<f64> = e.images.iter().map(|i| i.score).collect();
    let defective: Vec<bool> = e.images.iter().map(|i| i.defect.is_some()).collect();
    let name = format!("image AUROC {:.3}", e.image_auroc.value);
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (histogram, _) = histogram_svg(&by_kind(e), Some(inspector.calibration().threshold()));
    vec![
        Figure {
            id: "roc".into(),
            title: "ROC curve of images".into(),
            note: "Every threshold there is: how many defective images it finds, and how many good ones it rejects.".into(),
            alt: format!("ROC curve: {name}"),
            svg: roc_svg(&[(name, BAD, scores)], &defective),
            wide: false,
        },
        Figure {
            id: "scores".into(),
            title: "Scores by kind of image".into(),
            note: format!(
                "The line is the threshold. Each row has its own height; its tallest bar is full. Scores from {} to {}.",
                short(low),
                short(high)
            ),
            alt: "Histograms of scores for each kind of image".into(),
            svg: histogram,
            wide: false,
        },
    ]
}

fn verdict(image: &EvaluatedImage) -> &'static str {
    match (image.is_called_defective, image.defect.is_some()) {
        (true, true) => "defective",
        (false, false) => "good",
        (true, false) => "defective, which is wrong",
        (false, true) => "good, which is wrong",
    }
}

fn is_wrong(image: &EvaluatedImage) -> bool {
    image.is_called_defective != image.defect.is_some()
}

fn images(e: &Evaluation) -> Table {
    let columns = ["image", "kind", "#score", "#p-value", "verdict"];
    let mut table = Table::new("all_images", "Every image, by score", &columns);
    let mut order: Vec<&EvaluatedImage> = e.images.iter().collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    for image in order {
        let mut cell = Cell::text(verdict(image));
        cell.strong = is_wrong(image);
        table.rows.push(vec![
            Cell::text(&image.image),
            Cell::text(image.defect.as_deref().unwrap_or("good")),
            Cell::number(image.score, format!("{:.4}", image.score)),
            Cell::number(image.p_value, format!("{:.4}", image.p_value)),
            cell,
        ]);
    }
    table
}

fn left_out(e: &Evaluation) -> Vec<Warning> {
    let warning = |kind: &'static str, text: String| Warning {
        kind,
        text,
        example: None,
    };
    let images = e
        .failed
        .iter()
        .map(|f| warning("not scored", format!("{}: {}", f.image, f.error)));
    let masks = e
        .failed_masks
        .iter()
        .map(|f| warning("pixels not counted", format!("{}: {}", f.image, f.error)));
    images.chain(masks).collect()
}

fn model(inspector: &Inspector) -> Table {
    let s = inspector.settings();
    let mut table = Table::new("settings", "What it was fitted with", &["what", "value"]);
    let tiles = s.tiling.map_or_else(
        || "none: images are taken whole".to_owned(),
        |t| format!("{0} x {0} pixels, sharing at least {1}", t.size, t.overlap),
    );
    for (what, value) in [
        ("images of", s.name.clone()),
        ("method", s.method.to_string()),
        ("network", format!("{} {}", s.architecture, s.initialization)),
        ("layers", s.layers.join(", ")),
        ("hash of the weights", s.weights_digest.chars().take(12).collect()),
        ("input", format!("{} x {} pixels", s.width, s.height)),
        ("tiles", tiles),
        ("good images", s.images.to_string()),
        ("requested false-reject rate", s.false_reject_rate.to_string()),
        ("seed", s.seed.to_string()),
        ("version of blemish", s.program.clone()),
    ] {
        table.rows.push(vec![Cell::text(what), Cell::text(value)]);
    }
    table
}

fn pictured(
    inspector: &Inspector,
    samples: &Samples,
    images: &[&EvaluatedImage],
) -> Result<Vec<Pictured>, Error> {
    let file = |image: &EvaluatedImage| samples.test.iter().find(|f| f.relative == image.image);
    let files: Vec<&ImageFile> = images.iter().filter_map(|image| file(image)).collect();
    let paths: Vec<PathBuf> = files.iter().map(|f| f.path.clone()).collect();
    let mut found: Vec<Vec<(&'static str, String)>> = vec![];
    inspector.score_files(&paths, true, &mut |i, inspection| -> Result<(), Error> {
        found.push(pictures(inspector, files[i], &inspection?)?);
        Ok(())
    })?;
    let mut found = files.iter().zip(found).collect::<Vec<_>>();
    Ok(images
        .iter()
        .map(|image| {
            let at = found.iter().position(|(f, _)| f.relative == image.image);
            Pictured {
                path: image.image.clone(),
                text: format!(
                    "score {:.4}, p-value {:.4}: called {}",
                    image.score,
                    image.p_value,
                    verdict(image)
                ),
                wrong: is_wrong(image),
                pictures: at.map(|at| std::mem::take(&mut found[at].1)).unwrap_or_default(),
            }
        })
        .collect())
}

/// The image with its mask outlined and, where there is a map, with that laid over it.
fn pictures(
    inspector: &Inspector,
    file: &ImageFile,
    inspection: &Inspection,
) -> Result<Vec<(&'static str, String)>, Error> {
    let image = load_rgb(&file.path)?;
    let mut small = smaller(&image, PICTURE);
    // A mask that cannot be read is told of elsewhere.
    let mask = file.mask.as_ref().filter(|_| file.is_defective());
    let what = match mask.and_then(|path| load_mask(path).ok()) {
        Some(mask) => {
            outline(&mut small, &mask);
            "the image, its mask outlined"
        }
        None => "the image",
    };
    let mut out: Vec<(&'static str, String)> = jpeg(&small).map(|p| (what, p)).into_iter().collect();
    if let Some(map) = &inspection.map {
        let scale = inspector
            .map_scale(true)
            .unwrap_or_else(|| MapScale::of(map.view()));
        let threshold = inspector.calibration().threshold() as f32;
        let drawn = overlay(&image, map.view(), scale, Some(threshold))?;
        let picture = jpeg(&smaller(&drawn, PICTURE));
        out.extend(picture.map(|p| ("the map of where it is odd, over the image", p)));
    }
    Ok(out)
}

/// Draws a line around what a mask, of another size, marks.
fn outline(image: &mut RgbImage, mask: &GrayImage) {
    let (width, height) = image.dimensions();
    if mask.width() == 0 || mask.height() == 0 {
        return;
    }
    let set = |x: i64, y: i64| {
        let at = |v: i64, of: u32, from: u32| {
            let v = v.clamp(0, i64::from(of) - 1) as u64;
            ((2 * v + 1) * u64::from(from) / (2 * u64::from(of))) as u32
        };
        mask.get_pixel(at(x, width, mask.width()), at(y, height, mask.height()))
            .0[0]
            > 0
    };
    for y in 0..i64::from(height) {
        for x in 0..i64::from(width) {
            // The line lies outside, so that nothing of a small defect is hidden.
            let near = (-2..=2).any(|dy| (-2..=2).any(|dx| set(x + dx, y + dy)));
            if near && !set(x, y) {
                image.get_pixel_mut(x as u32, y as u32).0 = MASK;
            }
        }
    }
}
