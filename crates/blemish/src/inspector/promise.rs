//! Whether thresholds keep what they promise, over many seeded splits.

use blemish_images::{ImageFile, WholeImage};
use ndarray::Array2;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Beta, ContinuousCDF};

use super::Calibration;
use super::embed::{Embedding, Layer};
use super::features::{Chunk, Extractor, Source, select};
use super::fit::learn;
use super::gaussian::Sums;
use super::input::Samples;
use super::method::Method;
use super::plan::{FitConfig, FitPlan};

/// How often the number of rejected images among `held` lay within the interval that the threshold promises, given that
/// so few are seen: the ends are widened to the nearest counts of a beta-binomial distribution with 95 %.
struct Splits {
    within: usize,
    all: usize,
    rejected: usize,
    seen: usize,
}

impl Splits {
    fn new() -> Splits {
        Splits {
            within: 0,
            all: 0,
            rejected: 0,
            seen: 0,
        }
    }

    fn add(&mut self, calibration: &Calibration, scores: &[f64]) {
        let rejected = scores.iter().filter(|s| calibration.is_defective(**s)).count();
        // Of the rate (Beta) and of the count given the rate (binomial), by adding over quantiles of the rate.
        let n = calibration.scores().len();
        let k = calibration
            .scores()
            .partition_point(|s| *s <= calibration.threshold());
        let beta = Beta::new((n + 1 - k) as f64, k as f64).unwrap();
        let m = scores.len();
        let mut probability = vec![0.0; m + 1];
        let steps = 400;
        for step in 0..steps {
            let rate = beta.inverse_cdf((f64::from(step) + 0.5) / f64::from(steps));
            let mut term = (1.0 - rate).powi(m as i32);
            for (count, p) in probability.iter_mut().enumerate() {
                *p += term / f64::from(steps);
                term *= (m - count) as f64 / (count + 1) as f64 * rate / (1.0 - rate);
            }
        }
        let below: f64 = probability[..rejected].iter().sum();
        let above: f64 = probability[rejected + 1..].iter().sum();
        self.within += usize::from(below < 0.975 && above < 0.975);
        self.all += 1;
        self.rejected += rejected;
        self.seen += m;
    }

    fn rate(&self) -> f64 {
        self.rejected as f64 / self.seen as f64
    }
}

/// An image is a few patches about a centre of its own.
fn image(rng: &mut ChaCha8Rng) -> Array2<f32> {
    let shift: f32 = rng.random_range(-1.0..1.0);
    Array2::from_shape_simple_fn((6, 5), || shift + rng.random::<f32>() + rng.random::<f32>())
}

/// Features of pictures of 2 x 3 patches.
fn images(rng: &mut ChaCha8Rng, count: usize) -> Array2<f32> {
    let rows: Vec<f32> = (0..count).flat_map(|_| image(rng).into_iter()).collect();
    Array2::from_shape_vec((count, 30), rows).unwrap()
}

#[test]
fn memory_banks_reject_as_many_good_images_as_promised() {
    let embedding = Embedding::of_layers(vec![Layer {
        height: 2,
        width: 3,
        channels: 5,
        skip: 0,
    }]);
    let mut config = FitConfig::new();
    let plan = FitPlan {
        images: 60,
        width: 32,
        height: 32,
        tiles: (1, 1),
        patches: 6,
        columns: 5,
        // A third of the patches.
        rows: 120,
        candidates: 360,
        model_bytes: 0,
        needed_bytes: 0,
        memory: 0,
        keeps_features: true,
        method: Method::MemoryBank,
        layers: vec![],
        prepare: WholeImage {
            width: 32,
            height: 32,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        tiling: None,
        values: 30,
        chunk: 8,
        original: (32, 32),
        stop: None,
    };
    for rate in [0.05, 0.2] {
        let mut splits = Splits::new();
        for seed in 0..200 {
            config.seed = seed;
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut source = Source::of_features(embedding.clone(), vec![images(&mut rng, 60)]);
            let (detector, scores) = learn(&mut source, &plan, &config, &|_| {}).unwrap();
            let calibration = Calibration::new(scores, rate).unwrap();
            let new = images(&mut rng, 100);
            let chunk = Chunk {
                layers: vec![new.view()],
            };
            let new = detector.score(&embedding, &chunk).unwrap();
            splits.add(&calibration, &new.iter().map(|s| s.score).collect::<Vec<_>>());
        }
        assert!(
            splits.rate() <= rate + 0.01,
            "rejected {} for {rate}",
            splits.rate()
        );
        // Not by rejecting nothing.
        assert!(
            splits.rate() >= 0.6 * rate,
            "rejected {} for {rate}",
            splits.rate()
        );
        // 95 % of 200, less three standard deviations.
        assert!(
            splits.within >= 180,
            "{} of {} for {rate}",
            splits.within,
            splits.all
        );
    }
}

#[test]
fn gaussians_reject_as_many_good_images_as_promised() {
    let mut splits = Splits::new();
    let rate = 0.1;
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + seed);
        let images: Vec<Array2<f32>> = (0..50).map(|_| image(&mut rng)).collect();
        let mut sums = Sums::new(6, 5, seed);
        sums.add(&images);
        let gaussian = sums.finish();
        let score = |image: &Array2<f32>, own| {
            gaussian
                .distances(image.view(), own)
                .into_iter()
                .fold(0.0, f64::max)
        };
        let left_out = images.iter().map(|m| score(m, true)).collect();
        let calibration = Calibration::new(left_out, rate).unwrap();
        let new: Vec<f64> = (0..100).map(|_| score(&image(&mut rng), false)).collect();
        splits.add(&calibration, &new);
    }
    assert!(
        splits.rate() <= rate + 0.01 && splits.rate() >= 0.5 * rate,
        "{}",
        splits.rate()
    );
    assert!(splits.within >= 180, "{} of {}", splits.within, splits.all);
}

/// On photographs: the 229 good bottles, half learned from and half held out, forty times.
#[test]
fn good_bottles_are_rejected_as_often_as_promised() {
    let (Some(folder), Some(weights)) = (
        blemish_testkit::data("mvtec_ad/bottle"),
        blemish_testkit::data("weights"),
    ) else {
        return;
    };
    let mut samples = Samples::open(&folder).unwrap();
    let good: Vec<ImageFile> = samples
        .test
        .iter()
        .filter(|f| !f.is_defective())
        .cloned()
        .collect();
    samples.train.extend(good);
    let n = samples.train.len();
    let mut config = FitConfig {
        weights: Some(weights),
        size: Some(96),
        bank: Some(512),
        candidates: Some(8192),
        false_reject_rate: 0.05,
        ..FitConfig::new()
    };
    let mut plan = FitPlan::new(&samples, &config).unwrap();
    plan.keeps_features = false;
    let weights = config.load_weights(&plan.layers).unwrap();
    let network = blemish_backbones::Network::new(config.architecture, &weights, &plan.layers).unwrap();
    let extractor = Extractor::new(network, plan.prepare, None).unwrap();
    let files = samples.train.iter().map(|f| f.path.clone()).collect();
    let mut all: Vec<Array2<f32>> = vec![];
    Source::new(&extractor, files, &plan)
        .visit(&|_| {}, &mut |first, chunk| {
            for (l, layer) in chunk.layers.iter().enumerate() {
                if all.len() <= l {
                    all.push(Array2::zeros((n, layer.ncols())));
                }
                all[l]
                    .slice_mut(ndarray::s![first..first + layer.nrows(), ..])
                    .assign(layer);
            }
            Ok(())
        })
        .unwrap();
    let embedding: Embedding = extractor.embedding.clone();
    for method in [Method::MemoryBank, Method::Padim] {
        config.method = method;
        let mut splits = Splits::new();
        for seed in 0..40 {
            let mut order: Vec<usize> = (0..n).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            let part = |rows: &[usize]| -> Vec<Array2<f32>> { all.iter().map(|l| select(l, rows)).collect() };
            let (learned, held) = order.split_at(115);
            let mut source = Source::of_features(embedding.clone(), part(learned));
            let (detector, scores) = learn(&mut source, &plan, &config, &|_| {}).unwrap();
            let calibration = Calibration::new(scores, config.false_reject_rate).unwrap();
            let held = part(held);
            let chunk = Chunk {
                layers: held.iter().map(|l| l.view()).collect(),
            };
            let scored = detector.score(&embedding, &chunk).unwrap();
            let new: Vec<f64> = scored.iter().map(|s| s.score).collect();
            splits.add(&calibration, &new);
        }
        // Splits of the same images are no independent draws: less is asked of them.
        assert!(
            splits.rate() <= 0.065 && splits.rate() >= 0.02,
            "{method}: {}",
            splits.rate()
        );
        assert!(
            splits.within >= 36,
            "{method}: {} of {}",
            splits.within,
            splits.all
        );
    }
}
