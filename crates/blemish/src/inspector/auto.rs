//! Choosing a method without a single real defect: good images are held out, synthetic defects are made on them, and
//! what tells the two apart best on them is taken.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blemish_backbones::Network;
use blemish_detectors::{DetectorKind, auroc};
use blemish_images::{DefectKind, GrayImage, RgbImage, load_rgb, make_defect};
use ndarray::Array2;

use super::error::MemoryShortage;
use super::features::{Chunk, Extractor, Source, check_stop};
use super::fit::{FitEvent, OnFitEvent, learn_detector};
use super::input::Samples;
use super::method::Method;
use super::model::Inspector;
use super::plan::{FitConfig, FitPlan};
use crate::Error;

/// At most so many images are learned from in a trial.
const LEARN: usize = 100;
/// At most so many are held out.
const HOLD_OUT: usize = 24;
/// Synthetic defects made on each image that is held out.
const DEFECTS: usize = 2;
/// The fewest good images with which a choice means anything.
const LEAST: usize = 8;
/// Rows of a trial's memory bank, and patches among which they are chosen.
const BANK: usize = 2048;
const CANDIDATES: usize = 16_384;
/// Image AUROCs that differ by less than this are taken as equal: half of a percent.
const EQUAL: f64 = 0.005;

/// What was tried, and what is chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The configuration with the chosen method and layers.
    pub config: FitConfig,
    /// What was tried, in the order of preference where results are equal.
    pub trials: Vec<Trial>,
    /// Which of the trials is chosen.
    pub chosen: usize,
    /// Good images that were learned from in a trial.
    pub learned: usize,
    /// Good images that were held out.
    pub held_out: usize,
    /// Synthetic defects that were made on them.
    pub defects: usize,
}

/// How well a method tells held-out good images from synthetic defects.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The method.
    pub method: Method,
    /// Layers of the network.
    pub layers: Vec<&'static str>,
    /// AUROC of images.
    pub image_auroc: f64,
    /// AUROC of patches, of methods with a map.
    pub pixel_auroc: Option<f64>,
}

impl Trial {
    /// Method and layers.
    pub fn name(&self) -> String {
        format!("{} on {}", self.method, self.layers.join("+"))
    }
}

impl Choice {
    /// What was tried and why it was chosen, in words, a line each.
    pub fn in_words(&self) -> String {
        let mut text = format!(
            "auto: learned from {} good images, tried on {} others and {} synthetic defects on them; no test image \
             was used\n",
            self.learned, self.held_out, self.defects
        );
        for (i, trial) in self.trials.iter().enumerate() {
            let pixel = trial
                .pixel_auroc
                .map_or("  none".to_owned(), |v| format!("{v:.4}"));
            text.push_str(&format!(
                "  {} {:40} image AUROC {:.4}, pixel AUROC {pixel}\n",
                if i == self.chosen { "*" } else { " " },
                trial.name(),
                trial.image_auroc,
            ));
        }
        if let Some(trial) = self.trials.get(self.chosen) {
            text.push_str(&format!(
                "chosen: {}: within {EQUAL} of the best image AUROC, and among those the best pixel AUROC",
                trial.name()
            ));
        }
        text
    }
}

/// The methods that are tried, with how many of the network's layers they see: 0 is both, 1 the first, 2 the second.
fn candidates(config: &FitConfig) -> Result<Vec<(Method, Vec<&'static str>)>, Error> {
    let layers = config.layers()?;
    let mut all = vec![
        (Method::MemoryBank, layers.clone()),
        (Method::Padim, layers.clone()),
        (Method::Patches(DetectorKind::Mahalanobis), layers.clone()),
        (Method::Image(DetectorKind::Mahalanobis), layers.clone()),
        (Method::Image(DetectorKind::KNearestNeighbors), layers.clone()),
        (Method::Image(DetectorKind::LocalOutlierFactor), layers.clone()),
    ];
    all.retain(|(method, _)| config.tiling.is_none() || method.has_map());
    // Layers that the user names are not second-guessed.
    if config.layers.is_none() {
        all.extend(layers.iter().map(|layer| (Method::MemoryBank, vec![*layer])));
    }
    Ok(all)
}

impl Inspector {
    /// Chooses method and layers by held-out good images and synthetic defects, never by the test images. The
    /// method in `config` does not count.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); if there are fewer than eight good images, or no synthetic defect can be made on them (blank
    /// ones).
    pub fn choose(samples: &Samples, config: &FitConfig, on_event: OnFitEvent<'_>) -> Result<Choice, Error> {
        let n = samples.train.len();
        if n < LEAST {
            return Err(Error::Config(format!(
                "{n} good images are too few to choose a method by: at least {LEAST} are needed; name one with --method"
            )));
        }
        let mut trial_config = config.clone();
        trial_config.method = Method::MemoryBank;
        trial_config.bank = Some(BANK);
        trial_config.candidates = Some(CANDIDATES);
        let layers = config.layers()?;
        let plan = FitPlan::new(samples, &trial_config)?;
        let (held, most) = plan.trial_sizes(n)?;
        // Evenly over all, as images that were taken one after the other are alike.
        let is_held: Vec<bool> = (0..n).map(|i| (i + 1) * held / n > i * held / n).collect();
        let rest: Vec<usize> = (0..n).filter(|i| !is_held[*i]).collect();
        let learned = rest.len().min(most);
        let path = |i: usize| samples.train[i].path.clone();
        let learn: Vec<PathBuf> = (0..learned)
            .map(|i| path(rest[i * rest.len() / learned]))
            .collect();
        let hold: Vec<PathBuf> = (0..n).filter(|i| is_held[*i]).map(path).collect();

        let weights = config.load_weights(&layers)?;
        let network = Network::new(config.architecture, &weights, &layers)?;
        let extractor = Extractor::new(network, plan.prepare, plan.tiling)?;
        let total = learned + hold.len() * (1 + DEFECTS);
        let advance = |done: usize| {
            on_event(&FitEvent::Progress {
                step: "auto: features",
                done,
                total,
            });
        };
        let good = features(
            (&extractor, &plan),
            learned,
            &|i| Ok((load_rgb(&learn[i])?, None)),
            &advance,
        )?;
        let held_features = features(
            (&extractor, &plan),
            hold.len(),
            &|i| Ok((load_rgb(&hold[i])?, None)),
            &|i| advance(learned + i),
        )?;
        let defective = features(
            (&extractor, &plan),
            hold.len() * DEFECTS,
            &|i| {
                let image = load_rgb(&hold[i / DEFECTS])?;
                let (image, mask) = spoil(&image, i, config.seed)?;
                Ok((image, Some(mask)))
            },
            &|i| advance(learned + hold.len() + i),
        )?;

        let candidates = candidates(config)?;
        let mut trials = vec![];
        for (c, (method, names)) in candidates.iter().enumerate() {
            check_stop(config.stop.as_deref())?;
            on_event(&FitEvent::Progress {
                step: "auto: trials",
                done: c,
                total: candidates.len(),
            });
            // What could not be fitted to all images afterwards is no candidate.
            let mut own = config.clone();
            (own.method, own.layers) = (*method, Some(names.iter().map(|l| (*l).to_owned()).collect()));
            match FitPlan::new(samples, &own) {
                Ok(_) => {}
                Err(Error::Memory(error)) => {
                    on_event(&FitEvent::Note(&format!("auto: {method} left out: {error}")));
                    continue;
                }
                Err(error) => return Err(error),
            }
            let trial = Trying {
                plan: &plan,
                config: &trial_config,
                extractor: &extractor,
                layers: &layers,
            };
            match trial.run(*method, names, [&good, &held_features, &defective]) {
                Ok(trial) => trials.push(trial),
                // What cannot be fitted to these images is no candidate.
                Err(Error::Detectors(error)) => {
                    on_event(&FitEvent::Note(&format!("auto: {method} left out: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
        let best = trials.iter().map(|t| t.image_auroc).fold(0.0, f64::max);
        let near = |t: &Trial| t.image_auroc >= best - EQUAL;
        let mut chosen = None::<usize>;
        for (i, trial) in trials.iter().enumerate().filter(|(_, t)| near(t)) {
            let value = |t: &Trial| t.pixel_auroc.unwrap_or(0.0);
            if chosen.is_none_or(|c| value(trial) > value(&trials[c]) + EQUAL) {
                chosen = Some(i);
            }
        }
        let Some(chosen) = chosen else {
            return Err(Error::Config(
                "no method could be fitted; name one with --method".into(),
            ));
        };
        let mut out = config.clone();
        out.method = trials[chosen].method;
        out.layers = Some(trials[chosen].layers.iter().map(|l| (*l).to_owned()).collect());
        Ok(Choice {
            config: out,
            chosen,
            learned,
            held_out: hold.len(),
            defects: hold.len() * DEFECTS,
            trials,
        })
    }
}

impl FitPlan {
    /// How many of `n` good images are held out for trials, and how many others are learned from at most: fewer where the
    /// features of more would not fit into memory.
    fn trial_sizes(&self, n: usize) -> Result<(usize, usize), Error> {
        let held = (n / 4).clamp(2, HOLD_OUT);
        let learned = (n - held).min(LEARN);
        // What a fit needs besides kept features; of each image features twice, and its patches' scores and labels.
        let image = 2 * self.values as u64 * 4 + self.patches as u64 * 16;
        let kept = if self.keeps_features {
            4 * self.values as u64 * self.images as u64
        } else {
            0
        };
        let rest = self.memory.saturating_sub(self.needed_bytes - kept);
        let room = (rest / image) as usize;
        let wanted = learned + held * (1 + DEFECTS);
        if room >= wanted {
            return Ok((held, LEARN));
        }
        let part = |of: usize| of * room / wanted;
        if part(held) < 2 || part(learned) < LEAST - 2 {
            return Err(Error::Memory(MemoryShortage {
                needed: self.needed_bytes - kept + image * ((LEAST - 2) + 2 * (1 + DEFECTS)) as u64,
                allowed: self.memory,
                plan: "to choose a method takes the features of some images at once; --method names one"
                    .into(),
            }));
        }
        Ok((part(held), part(learned)))
    }
}

/// A good image with the i-th synthetic defect.
fn spoil(image: &RgbImage, i: usize, seed: u64) -> Result<(RgbImage, GrayImage), Error> {
    let kinds = DefectKind::ALL;
    let mut last = None;
    // Of kinds that cannot be seen on this image, the next.
    for k in 0..kinds.len() {
        let own = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i as u64);
        match make_defect(image, kinds[(i + k) % kinds.len()], own) {
            Ok(out) => return Ok(out),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.into()),
        None => Err(Error::Panic("there is no kind of defect".into())),
    }
}

/// Features of some images, one matrix a layer, and masks brought to the grid of patches.
struct Seen {
    layers: Vec<Array2<f32>>,
    masks: Vec<Option<Array2<bool>>>,
}

type Load<'a> = &'a (dyn Fn(usize) -> Result<(RgbImage, Option<GrayImage>), Error> + Sync);

fn features(
    (extractor, plan): (&Extractor, &FitPlan),
    count: usize,
    load: Load<'_>,
    advance: &dyn Fn(usize),
) -> Result<Seen, Error> {
    let (height, width) = (extractor.embedding.height, extractor.embedding.width);
    let mut layers: Vec<Array2<f32>> = vec![];
    let mut masks = vec![];
    let mut features = vec![];
    for first in (0..count).step_by(plan.chunk) {
        check_stop(plan.stop.as_deref())?;
        let len = plan.chunk.min(count - first);
        let found = std::sync::Mutex::new(BTreeMap::new());
        let (batch, sizes) = extractor.tensors(len, &|i| {
            let (image, mask) = load(first + i)?;
            let mask = mask.map(|mask| on_grid(&mask, height, width));
            let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            found.insert(i, mask);
            Ok(image)
        });
        sizes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let found = found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        masks.extend(found.into_values());
        extractor.features_into(batch.view(), &mut features)?;
        if layers.is_empty() {
            layers = features
                .iter()
                .map(|f| Array2::zeros((count, f.ncols())))
                .collect();
        }
        for (all, some) in layers.iter_mut().zip(&features) {
            all.slice_mut(ndarray::s![first..first + len, ..]).assign(some);
        }
        advance(first + len);
    }
    Ok(Seen { layers, masks })
}

/// Which cells of a grid are a defect for at least half.
fn on_grid(mask: &GrayImage, height: usize, width: usize) -> Array2<bool> {
    let (w, h) = (mask.width() as usize, mask.height() as usize);
    Array2::from_shape_fn((height, width), |(i, j)| {
        let ys = i * h / height..((i + 1) * h / height).max(i * h / height + 1);
        let xs = j * w / width..((j + 1) * w / width).max(j * w / width + 1);
        let all = ys.len() * xs.len();
        let set = ys
            .flat_map(|y| xs.clone().map(move |x| (x, y)))
            .filter(|(x, y)| mask.get_pixel(*x as u32, *y as u32).0[0] > 0)
            .count();
        2 * set >= all
    })
}

struct Trying<'a> {
    plan: &'a FitPlan,
    config: &'a FitConfig,
    extractor: &'a Extractor,
    /// Those of the features.
    layers: &'a [&'static str],
}

impl Trying<'_> {
    fn run(&self, method: Method, names: &[&'static str], seen: [&Seen; 3]) -> Result<Trial, Error> {
        let wanted: Vec<usize> = (0..self.layers.len())
            .filter(|i| names.contains(&self.layers[*i]))
            .collect();
        let embedding = self.extractor.embedding.of_some(&wanted);
        let views =
            |seen: &Seen| -> Vec<Array2<f32>> { wanted.iter().map(|i| seen.layers[*i].clone()).collect() };
        let [good, held, defective] = seen;
        let mut source = Source::of_features(embedding.clone(), views(good));
        let mut config = self.config.clone();
        config.method = method;
        let all = source.len() * embedding.patches();
        let mut plan = self.plan.clone();
        (plan.rows, plan.candidates) = (BANK.min(all), CANDIDATES.min(all));
        if matches!(method, Method::Patches(_)) {
            plan.candidates = plan.rows.min(BANK / 2);
        }
        let detector = learn_detector(&mut source, &plan, &config, &|_| {})?;
        drop(source);
        let (mut scores, mut labels) = (vec![], vec![]);
        let (mut patch_scores, mut patch_labels) = (vec![], vec![]);
        for (seen, label) in [(held, false), (defective, true)] {
            let layers = views(seen);
            for first in (0..seen.masks.len()).step_by(self.plan.chunk) {
                check_stop(self.plan.stop.as_deref())?;
                let end = (first + self.plan.chunk).min(seen.masks.len());
                let chunk = Chunk {
                    layers: layers
                        .iter()
                        .map(|l| l.slice(ndarray::s![first..end, ..]))
                        .collect(),
                };
                for (i, scored) in detector.score(&embedding, &chunk)?.into_iter().enumerate() {
                    scores.push(scored.score);
                    labels.push(label);
                    if let Some(patches) = scored.patches {
                        let mask = seen.masks[first + i].as_ref();
                        for (at, value) in patches.indexed_iter() {
                            patch_scores.push(f64::from(*value));
                            // The grid of other layers may be coarser.
                            patch_labels.push(mask.is_some_and(|mask| {
                                let (h, w) = mask.dim();
                                mask[[at.0 * h / embedding.height, at.1 * w / embedding.width]]
                            }));
                        }
                    }
                }
            }
        }
        Ok(Trial {
            method,
            layers: names.to_vec(),
            image_auroc: auroc(&scores, &labels)?,
            // There is none without a map, or where no defect fills half a patch.
            pixel_auroc: auroc(&patch_scores, &patch_labels).ok(),
        })
    }
}
