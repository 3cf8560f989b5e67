//! How well maps tell defective pixels from good ones, over all images together.

use ndarray::{ArrayView2, Zip};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::regions::Regions;
use crate::DetectorError;
use crate::bootstrap::{BootstrapOptions, Interval, bootstrap_intervals};

/// Ranges of scores that are worked through by themselves, and the bins of a bootstrap.
const BINS: usize = 2048;
/// Ranges whose steps are in memory at a time.
const AT_A_TIME: usize = 64;

/// The scores of one image's pixels, sorted: all that metrics of pixels need of a map and its mask. It takes 4 bytes
/// a pixel, and 8 for a defective one.
#[derive(Clone, Debug, PartialEq)]
pub struct MapPixels {
    /// Scores of good pixels as whole numbers of the same order, ascending.
    good: Vec<u32>,
    /// Those of defective pixels, with their region, ascending.
    defective: Vec<(u32, u32)>,
    /// Pixels of each region.
    areas: Vec<usize>,
}

impl MapPixels {
    /// Of a `map`, h x w, higher = more anomalous, and the `mask` of its defects, h x w; without a mask all pixels
    /// are good.
    ///
    /// # Errors
    /// If sizes differ, or if a score is not finite.
    pub fn new(
        map: ArrayView2<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
    ) -> Result<MapPixels, DetectorError> {
        let not_finite = map.indexed_iter().find(|(_, v)| !v.is_finite());
        if let Some(((row, column), value)) = not_finite {
            return Err(DetectorError::NotFinite {
                what: "the map".into(),
                row,
                column,
                value: f64::from(*value),
            });
        }
        let (mut good, mut defective, mut areas) = (vec![], vec![], vec![]);
        match mask {
            None => good.extend(map.iter().map(|v| ordered(*v))),
            Some(mask) => {
                for (what, found, expected) in [
                    ("rows of the mask", mask.nrows(), map.nrows()),
                    ("columns of the mask", mask.ncols(), map.ncols()),
                ] {
                    if found != expected {
                        let what = what.into();
                        return Err(DetectorError::Shape {
                            what,
                            found,
                            expected,
                        });
                    }
                }
                let regions = Regions::of(mask);
                Zip::from(&map)
                    .and(&regions.labels)
                    .for_each(|v, label| match label {
                        0 => good.push(ordered(*v)),
                        label => defective.push((ordered(*v), label - 1)),
                    });
                areas = regions.areas;
            }
        }
        good.sort_unstable();
        defective.sort_unstable();
        // A bootstrap keeps it for long.
        good.shrink_to_fit();
        Ok(MapPixels {
            good,
            defective,
            areas,
        })
    }

    /// The number of good pixels.
    pub fn good(&self) -> usize {
        self.good.len()
    }

    /// The number of defective pixels.
    pub fn defective(&self) -> usize {
        self.defective.len()
    }

    /// The number of connected regions of defective pixels: see [`Regions`].
    pub fn regions(&self) -> usize {
        self.areas.len()
    }
}

/// How well maps tell defective pixels from good ones, all images taken together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelMetrics {
    /// Area under the ROC curve of pixels: see [`auroc`](crate::auroc).
    pub auroc: f64,
    /// Average precision of pixels: see [`average_precision`](crate::average_precision).
    pub average_precision: f64,
    /// Area under the per-region overlap curve up to a false positive rate, divided by that rate (Bergmann et al.,
    /// 2021, section 5.1): the overlap is the part of a connected region that scores the threshold or more, averaged
    /// over all regions, so that small ones count as much as large ones; the false positive rate is that of the good
    /// pixels of all images. Every distinct score is a threshold; between two of them, and at the limit, the curve is
    /// interpolated linearly.
    pub aupro: f64,
}

/// [`PixelMetrics`] with intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelIntervals {
    /// Area under the ROC curve.
    pub auroc: Interval,
    /// Average precision.
    pub average_precision: Interval,
    /// Area under the per-region overlap curve.
    pub aupro: Interval,
}

/// Metrics of the pixels of all `maps` together, the per-region overlap up to a false positive rate of `limit` (the
/// usual one is 0.3). They are exact: no threshold is skipped.
///
/// It takes the time of sorting the maps once, which [`MapPixels::new`] does, and of one merge; the memory is that of
/// the sorted maps and a few megabytes.
///
/// ```
/// use blemish_detectors::{MapPixels, pixel_metrics};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let map = array![[0.1, 0.2, 0.9], [0.3, 0.7, 0.4]];
/// let mask = array![[false, false, true], [false, true, true]];
/// let metrics = pixel_metrics(&[MapPixels::new(map.view(), Some(mask.view()))?], 0.3)?;
/// assert_eq!((metrics.auroc, metrics.average_precision), (1.0, 1.0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`DetectorError::Parameter`] if the limit is not above 0 and at most 1; [`DetectorError::OneClassOfPixels`].
pub fn pixel_metrics(maps: &[MapPixels], limit: f64) -> Result<PixelMetrics, DetectorError> {
    let totals = Totals::of(maps, limit)?;
    let mut sum = Sum::new(totals.clone());
    let edges = edges(maps);
    let mut twice_ordered: u128 = 0;
    // From the highest scores down, in an order that does not depend on threads.
    for ranges in edges.windows(2).collect::<Vec<_>>().rchunks(AT_A_TIME) {
        let steps: Vec<Vec<Step>> = ranges
            .par_iter()
            .rev()
            .map(|ends| steps(maps, ends[0], ends[1]))
            .collect();
        for step in steps.iter().flatten() {
            // In whole numbers: exact, however many pixels.
            let below = totals.good as u128 - sum.good as u128 - step.above as u128 - step.tied as u128;
            twice_ordered += step.defective as u128 * (2 * below + step.tied as u128);
            sum.add(step.above as f64, 0.0, 0.0, AtOnce::Yes);
            sum.add(step.tied as f64, step.defective as f64, step.overlap, AtOnce::Yes);
        }
    }
    let pairs = 2 * totals.defective as u128 * totals.good as u128;
    Ok(PixelMetrics {
        auroc: twice_ordered as f64 / pairs as f64,
        ..sum.finish()
    })
}

/// [`pixel_metrics`] with percentile intervals from the bootstrap: images are drawn, within those with a defect and
/// those without, and all pixels of an image go with it, since neighbours say nearly the same.
///
/// `value` is exact. The ends come from the pixels of each image counted in 2048 ranges of scores, within which the
/// curves are taken as straight (but where all scores of a range are equal); that moves them by less than 0.0005 as a rule, which is little beside their length.
///
/// # Errors
/// As [`pixel_metrics`] and [`bootstrap_interval`](crate::bootstrap_interval).
pub fn pixel_metric_intervals(
    maps: &[MapPixels],
    limit: f64,
    options: &BootstrapOptions,
) -> Result<PixelIntervals, DetectorError> {
    let exact = pixel_metrics(maps, limit)?;
    let binned = Binned::new(maps, limit);
    let strata: Vec<bool> = maps.iter().map(|m| m.defective() > 0).collect();
    let [auroc, average_precision, aupro] = bootstrap_intervals(&strata, options, |rows| {
        let metrics = binned.metrics(rows);
        [
            metrics.map(|m| m.auroc),
            metrics.map(|m| m.average_precision),
            metrics.map(|m| m.aupro),
        ]
    })?;
    let with = |interval: Interval, value: f64| Interval { value, ..interval };
    Ok(PixelIntervals {
        auroc: with(auroc, exact.auroc),
        average_precision: with(average_precision, exact.average_precision),
        aupro: with(aupro, exact.aupro),
    })
}

/// A whole number that is in the order of finite `v`; of both zeros the same.
fn ordered(v: f32) -> u32 {
    let bits = (v + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// Counts over all images, and the limit of the false positive rate.
#[derive(Clone, Debug)]
struct Totals {
    good: f64,
    defective: f64,
    regions: f64,
    limit: f64,
}

impl Totals {
    fn of(maps: &[MapPixels], limit: f64) -> Result<Totals, DetectorError> {
        // Written so that NaN is refused.
        if !(limit > 0.0 && limit <= 1.0) {
            return Err(DetectorError::Parameter {
                name: "limit of the false positive rate",
                value: limit.to_string(),
                expected: "above 0 and at most 1",
            });
        }
        let count = |of: fn(&MapPixels) -> usize| maps.iter().map(of).sum::<usize>();
        let (good, defective) = (count(MapPixels::good), count(MapPixels::defective));
        if good == 0 || defective == 0 {
            return Err(DetectorError::OneClassOfPixels {
                missing: if good == 0 { "good" } else { "defective" },
                maps: maps.len(),
            });
        }
        Ok(Totals {
            good: good as f64,
            defective: defective as f64,
            regions: count(MapPixels::regions) as f64,
            limit,
        })
    }
}

/// Whether what is added has one score, or is spread evenly over a range of scores.
#[derive(Clone, Copy, PartialEq)]
enum AtOnce {
    Yes,
    No,
}

/// What has been seen from the highest score down, and areas up to there.
struct Sum {
    totals: Totals,
    good: f64,
    defective: f64,
    /// Sum over regions of the part seen.
    overlap: f64,
    roc: f64,
    precision: f64,
    pro: f64,
}

impl Sum {
    fn new(totals: Totals) -> Sum {
        Sum {
            totals,
            good: 0.0,
            defective: 0.0,
            overlap: 0.0,
            roc: 0.0,
            precision: 0.0,
            pro: 0.0,
        }
    }

    /// Takes in the next pixels: so many good and defective ones, and the part of regions that the latter are.
    fn add(&mut self, good: f64, defective: f64, overlap: f64, at_once: AtOnce) {
        self.roc += good * (self.defective + defective / 2.0);
        if defective > 0.0 {
            self.precision += match at_once {
                AtOnce::Yes => {
                    let hits = self.defective + defective;
                    defective * hits / (hits + self.good + good)
                }
                AtOnce::No => mean_precision(self.good, self.defective, good, defective) * defective,
            };
        }
        // The part of the step below the limit.
        let room = (self.totals.limit * self.totals.good - self.good).max(0.0);
        let width = good.min(room);
        if width > 0.0 {
            self.pro += width * (self.overlap + overlap * (width / good) / 2.0);
        }
        self.good += good;
        self.defective += defective;
        self.overlap += overlap;
    }

    /// What is left are good pixels only.
    fn finish(mut self) -> PixelMetrics {
        let rest = self.totals.good - self.good;
        self.add(rest, 0.0, 0.0, AtOnce::Yes);
        let t = &self.totals;
        PixelMetrics {
            auroc: self.roc / (t.good * t.defective),
            average_precision: self.precision / t.defective,
            aupro: self.pro / (t.limit * t.good * t.regions),
        }
    }
}

/// The mean precision while `good` and `defective` pixels come evenly to those seen: the integral over s in 0 to 1 of
/// (d0 + d s) / (d0 + g0 + (d + g) s).
fn mean_precision(good_seen: f64, defective_seen: f64, good: f64, defective: f64) -> f64 {
    let (seen, added) = (good_seen + defective_seen, good + defective);
    let slope = defective / added;
    if seen == 0.0 {
        return slope;
    }
    slope + (defective_seen - slope * seen) / added * (added / seen).ln_1p()
}

/// A distinct score of defective pixels.
struct Step {
    /// Good pixels between the score before and this one.
    above: usize,
    /// Good pixels of the same score.
    tied: usize,
    /// Defective pixels.
    defective: usize,
    /// The part of their regions that these are, summed.
    overlap: f64,
}

/// Ascending ends of at most [`BINS`] ranges [a, b) of ordered scores, of which the first begins at 0 and the last ends
/// after the highest: about as many good pixels in each, and about as many defective ones.
fn edges(maps: &[MapPixels]) -> Vec<u64> {
    let mut edges = vec![0, 1 << 32];
    let (mut good, mut defective) = (vec![], vec![]);
    // Every so-many-th pixel of each image: enough for ranges of like size.
    let stride = |total: usize| total.div_ceil(64 * BINS).max(1);
    let by_good = stride(maps.iter().map(MapPixels::good).sum());
    let by_defective = stride(maps.iter().map(MapPixels::defective).sum());
    for map in maps {
        good.extend(map.good.iter().step_by(by_good).copied());
        defective.extend(map.defective.iter().step_by(by_defective).map(|(v, _)| *v));
    }
    for mut sample in [good, defective] {
        sample.sort_unstable();
        let ranges = BINS / 2;
        edges
            .extend((1..ranges).filter_map(|i| sample.get(i * sample.len() / ranges).map(|v| u64::from(*v))));
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// The part of ascending `pixels` with keys in [low, high).
fn range<T>(pixels: &[T], low: u64, high: u64, key: impl Fn(&T) -> u32) -> &[T] {
    let start = pixels.partition_point(|p| u64::from(key(p)) < low);
    let end = pixels.partition_point(|p| u64::from(key(p)) < high);
    &pixels[start..end]
}

/// The steps of all pixels with scores in [low, high), descending; the last may be of good pixels only.
fn steps(maps: &[MapPixels], low: u64, high: u64) -> Vec<Step> {
    let mut defective: Vec<(u32, f64)> = vec![];
    for map in maps {
        let pixels = range(&map.defective, low, high, |p| p.0);
        defective.extend(
            pixels
                .iter()
                .map(|(v, region)| (*v, 1.0 / map.areas[*region as usize] as f64)),
        );
    }
    // By weight too, so that sums do not depend on the order of images.
    defective.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)));
    let mut scores: Vec<u32> = vec![];
    let mut steps: Vec<Step> = vec![];
    for (score, weight) in defective {
        if scores.last() != Some(&score) {
            scores.push(score);
            steps.push(Step {
                above: 0,
                tied: 0,
                defective: 0,
                overlap: 0.0,
            });
        }
        if let Some(step) = steps.last_mut() {
            step.defective += 1;
            step.overlap += weight;
        }
    }
    // Good pixels below the lowest defective one.
    let mut below = 0;
    for map in maps {
        let mut at = 0;
        for good in range(&map.good, low, high, |p| *p).iter().rev() {
            while at < scores.len() && scores[at] > *good {
                at += 1;
            }
            match steps.get_mut(at) {
                Some(step) if scores[at] == *good => step.tied += 1,
                Some(step) => step.above += 1,
                None => below += 1,
            }
        }
    }
    steps.push(Step {
        above: below,
        tied: 0,
        defective: 0,
        overlap: 0.0,
    });
    steps
}

/// Pixels of each image counted in ranges of scores, descending.
struct Binned {
    limit: f64,
    /// Whether the pixels of a range all have one score.
    at_once: Vec<AtOnce>,
    images: Vec<ImageBins>,
}

struct ImageBins {
    /// Good pixels, defective pixels and parts of regions, in each range.
    bins: Vec<[f64; 3]>,
    regions: f64,
}

impl Binned {
    fn new(maps: &[MapPixels], limit: f64) -> Binned {
        let edges = edges(maps);
        let images = maps
            .par_iter()
            .map(|map| {
                let count = |ends: &[u64]| {
                    let overlap = range(&map.defective, ends[0], ends[1], |p| p.0)
                        .iter()
                        .map(|(_, region)| 1.0 / map.areas[*region as usize] as f64);
                    [
                        range(&map.good, ends[0], ends[1], |p| *p).len() as f64,
                        range(&map.defective, ends[0], ends[1], |p| p.0).len() as f64,
                        overlap.sum(),
                    ]
                };
                ImageBins {
                    bins: edges.windows(2).rev().map(count).collect(),
                    regions: map.regions() as f64,
                }
            })
            .collect();
        let tied = |ends: &[u64]| {
            let mut scores = maps.iter().flat_map(|map| {
                let good = range(&map.good, ends[0], ends[1], |p| *p);
                let defective = range(&map.defective, ends[0], ends[1], |p| p.0);
                let good = [good.first(), good.last()].into_iter().flatten().copied();
                let defective = [defective.first(), defective.last()].into_iter().flatten();
                good.chain(defective.map(|p| p.0))
            });
            let first = scores.next();
            if scores.all(|s| Some(s) == first) {
                AtOnce::Yes
            } else {
                AtOnce::No
            }
        };
        Binned {
            limit,
            at_once: edges.windows(2).rev().map(tied).collect(),
            images,
        }
    }

    /// The metrics of the images with these numbers, as often as they are named; `None` without a pixel of either
    /// kind.
    fn metrics(&self, rows: &[usize]) -> Option<PixelMetrics> {
        let mut times = vec![0.0; self.images.len()];
        for row in rows {
            times[*row] += 1.0;
        }
        let mut sums = vec![[0.0; 3]; self.images.first()?.bins.len()];
        let mut regions = 0.0;
        for (image, times) in self.images.iter().zip(&times).filter(|(_, t)| **t > 0.0) {
            regions += times * image.regions;
            for (sum, bin) in sums.iter_mut().zip(&image.bins) {
                for k in 0..3 {
                    sum[k] += times * bin[k];
                }
            }
        }
        let total = |k: usize| sums.iter().map(|s| s[k]).sum::<f64>();
        let totals = Totals {
            good: total(0),
            defective: total(1),
            regions,
            limit: self.limit,
        };
        if totals.good == 0.0 || totals.defective == 0.0 {
            return None;
        }
        let mut sum = Sum::new(totals);
        for ([good, defective, overlap], at_once) in sums.iter().zip(&self.at_once) {
            sum.add(*good, *defective, *overlap, *at_once);
        }
        Some(sum.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_scores() {
        let ascending = [f32::MIN, -2.0, -1e-40, 0.0, 1e-40, 0.5, 1.0, f32::MAX];
        let keys: Vec<u32> = ascending.iter().map(|v| ordered(*v)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn the_mean_precision_is_the_limit_of_many_steps() {
        for (g0, d0, g, d) in [
            (0.0, 0.0, 3.0, 2.0),
            (5.0, 1.0, 2.0, 7.0),
            (0.0, 9.0, 4.0, 1e-3),
            (1e6, 3.0, 1e-3, 2.0),
        ] {
            let n = 100_000;
            let at = |i: usize| {
                let s = (i as f64 + 0.5) / n as f64;
                (d0 + d * s) / (d0 + g0 + (d + g) * s)
            };
            let sum = (0..n).map(at).sum::<f64>() / n as f64;
            let found = mean_precision(g0, d0, g, d);
            assert!((found - sum).abs() < 1e-8, "{found} {sum}");
        }
    }
}
