//! The inspector from outside: what is fitted, saved, read and scored agrees to the byte; files that are not what they
//! should be are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::backbones::Initialization;
use blemish::images::{RgbImage, SynthOptions, load_rgb, write_synthetic};
use blemish::inspector::{
    FitConfig, FitPlan, Inspection, Inspector, Method, ModelFileError, Samples, Tiling, with_threads,
};

struct Bench {
    dir: tempfile::TempDir,
    samples: Samples,
}

impl Bench {
    fn new(train: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let options = SynthOptions {
            size: 64,
            train,
            test_good: 3,
            per_defect: 1,
            ..SynthOptions::default()
        };
        write_synthetic(&dir.path().join("data"), &options).unwrap();
        let samples = Samples::open(&dir.path().join("data/washer")).unwrap();
        Bench { dir, samples }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fit(&self, config: &FitConfig) -> Inspector {
        Inspector::fit(&self.samples, config, &|_| {}).unwrap()
    }

    fn test_files(&self) -> Vec<PathBuf> {
        self.samples.test.iter().map(|f| f.path.clone()).collect()
    }
}

/// Small and quick: random weights, early layers, few patches.
fn quick(method: Method) -> FitConfig {
    let mut config = FitConfig::new();
    config.method = method;
    config.initialization = Some(Initialization::Random);
    config.layers = Some(vec!["layer1".into(), "layer2".into()]);
    config.size = Some(48);
    config.bank = Some(60);
    config.candidates = Some(300);
    config
}

fn scores(inspector: &Inspector, files: &[PathBuf]) -> Vec<Inspection> {
    let mut out = vec![];
    inspector
        .score_files(files, true, &mut |i, found| {
            assert_eq!(i, out.len());
            out.push(found?);
            Ok::<_, Error>(())
        })
        .unwrap();
    out
}

/// Equal to the bit, NaN included.
fn same(a: &[Inspection], b: &[Inspection]) -> bool {
    let bits = |i: &Inspection| {
        let map: Vec<u32> = i.map.iter().flatten().map(|v| v.to_bits()).collect();
        (i.score.to_bits(), i.p_value.to_bits(), i.is_defective, map)
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(a) == bits(b))
}

#[test]
fn every_method_scores_the_same_alone_in_a_batch_and_after_a_reload() {
    let bench = Bench::new(12);
    let files = bench.test_files();
    for method in Method::ALL {
        let inspector = bench.fit(&quick(method));
        let found = scores(&inspector, &files);
        for (file, found) in files.iter().zip(&found) {
            assert!(found.score.is_finite(), "{method}");
            assert!(found.p_value > 0.0 && found.p_value <= 1.0);
            let alone = inspector.score(&load_rgb(file).unwrap()).unwrap();
            assert!(same(&[alone], std::slice::from_ref(found)), "{method}");
            assert_eq!(
                found.map.as_ref().map(|m| m.dim()),
                method.has_map().then_some((64, 64))
            );
        }
        for embed in [false, true] {
            let path = bench.path("model.blemish");
            inspector.save(&path, embed).unwrap();
            let again = Inspector::load(&path, None).unwrap();
            assert!(same(&scores(&again, &files), &found), "{method}");
            assert_eq!(again.settings(), inspector.settings());
            assert_eq!(again.calibration(), inspector.calibration());
            // What was read is written again as it was.
            assert_eq!(
                again.to_bytes(embed).unwrap(),
                std::fs::read(&path).unwrap(),
                "{method}"
            );
        }
    }
}

#[test]
fn the_number_of_threads_and_of_passes_changes_no_byte() {
    let bench = Bench::new(10);
    for method in [Method::MemoryBank, Method::Padim] {
        let model = |threads, memory| {
            let mut config = quick(method);
            config.memory = memory;
            let fit = || Inspector::fit(&bench.samples, &config, &|_| {})?.to_bytes(false);
            with_threads(Some(threads), fit).unwrap()
        };
        let one = model(1, None);
        assert_eq!(one, model(2, None), "{method}");
        assert_eq!(one, model(3, None), "{method}");
    }
}

#[test]
fn features_that_do_not_fit_into_memory_are_computed_again() {
    let bench = Bench::new(40);
    let mut config = quick(Method::MemoryBank);
    let plan = |config: &FitConfig| blemish::inspector::FitPlan::new(&bench.samples, config).unwrap();
    let roomy = plan(&config);
    assert!(roomy.keeps_features);
    let model = bench.fit(&config).to_bytes(false).unwrap();
    config.memory = Some(roomy.needed_bytes - 1);
    let tight = plan(&config);
    assert!(!tight.keeps_features && tight.needed_bytes < roomy.needed_bytes);
    assert_eq!((tight.rows, tight.candidates), (roomy.rows, roomy.candidates));
    assert_eq!(bench.fit(&config).to_bytes(false).unwrap(), model);
    // Less, and fewer patches are looked at; less still, and it is said how much it takes.
    config.candidates = Some(100_000);
    config.memory = Some(tight.needed_bytes);
    let few = plan(&config);
    assert!(few.candidates < 100_000 && few.needed_bytes <= tight.needed_bytes);
    config.memory = Some(1_000_000);
    let error = Inspector::fit(&bench.samples, &config, &|_| {}).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Memory(_)), "{text}");
    assert!(text.contains("--memory") && text.contains("1 MB"), "{text}");
}

#[test]
fn a_corrupt_image_is_an_error_of_its_own() {
    let bench = Bench::new(10);
    let inspector = bench.fit(&quick(Method::MemoryBank));
    let mut files = bench.test_files();
    let whole = scores(&inspector, &files);
    let broken = bench.path("broken.png");
    let bytes = std::fs::read(&files[0]).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    files.insert(1, broken);
    files.insert(3, bench.path("missing.png"));
    let (mut good, mut errors) = (vec![], vec![]);
    inspector
        .score_files::<()>(&files, true, &mut |i, found| {
            match found {
                Ok(found) => good.push(found),
                Err(error) => errors.push((i, error.to_string())),
            }
            Ok(())
        })
        .unwrap();
    assert!(same(&good, &whole));
    assert_eq!(errors.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 3]);
    assert!(errors[0].1.contains("broken.png") && errors[1].1.contains("missing.png"));
}

#[test]
fn images_of_other_sizes_are_scored_and_get_maps_of_their_size() {
    let bench = Bench::new(6);
    let inspector = bench.fit(&quick(Method::MemoryBank));
    for (width, height) in [(64, 64), (1, 1), (200, 30)] {
        let found = inspector.score(&RgbImage::new(width, height)).unwrap();
        assert_eq!((found.width, found.height), (width, height));
        assert_eq!(found.map.unwrap().dim(), (height as usize, width as usize));
    }
    assert!(inspector.score(&RgbImage::new(0, 5)).is_err());
}

#[test]
fn what_cannot_be_fitted_is_said_before_anything_runs() {
    let bench = Bench::new(6);
    let refused = |change: &dyn Fn(&mut FitConfig)| {
        let mut config = quick(Method::MemoryBank);
        change(&mut config);
        Inspector::fit(&bench.samples, &config, &|_| {})
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&|c| c.false_reject_rate = 0.0).contains("false-reject rate"));
    assert!(refused(&|c| c.size = Some(5)).contains("size of 5"));
    assert!(refused(&|c| c.layers = Some(vec!["layer7".into()])).contains("layer7"));
    assert!(refused(&|c| c.bank = Some(0)).contains("bank"));
    let text = refused(&|c| c.initialization = Some(Initialization::Imagenet1kV1));
    assert!(text.contains("blemish weights"), "{text}");
    let one = Samples {
        train: bench.samples.train[..1].to_vec(),
        ..bench.samples.clone()
    };
    let error = Inspector::fit(&one, &quick(Method::MemoryBank), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("at least 2"), "{error}");
    // An image that is none names itself.
    let path = bench.path("data/washer/train/good/003.png");
    std::fs::write(&path, "no image").unwrap();
    let error = Inspector::fit(&bench.samples, &quick(Method::Padim), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("003.png"), "{error}");
}

#[test]
fn a_choice_is_made_without_the_test_images() {
    let bench = Bench::new(16);
    let mut config = quick(Method::MemoryBank);
    let without_tests = Samples {
        test: vec![],
        ..bench.samples.clone()
    };
    let choice = Inspector::choose(&without_tests, &config, &|_| {}).unwrap();
    assert!(choice.trials.len() >= 5);
    assert!(choice.trials.iter().all(|t| (0.0..=1.0).contains(&t.image_auroc)));
    let best = choice.trials.iter().map(|t| t.image_auroc).fold(0.0, f64::max);
    assert!(choice.trials[choice.chosen].image_auroc >= best - 0.005);
    assert!(
        choice.in_words().contains("no test image"),
        "{}",
        choice.in_words()
    );
    assert_eq!(choice.config.method, choice.trials[choice.chosen].method);
    let again = Inspector::choose(&bench.samples, &config, &|_| {}).unwrap();
    assert_eq!(again.trials, choice.trials);
    Inspector::fit(&without_tests, &choice.config, &|_| {}).unwrap();
    config.layers = None;
    let few = Samples {
        train: bench.samples.train[..5].to_vec(),
        ..without_tests
    };
    assert!(
        Inspector::choose(&few, &config, &|_| {})
            .unwrap_err()
            .to_string()
            .contains("too few")
    );
}

/// Cut into tiles of 64 pixels that share 32.
fn tiled(method: Method, size: Option<u32>) -> FitConfig {
    FitConfig {
        size,
        tiling: Some(Tiling {
            size: 64,
            overlap: 32,
        }),
        ..quick(method)
    }
}

#[test]
fn images_in_tiles_score_the_same_alone_in_a_batch_and_after_a_reload() {
    let bench = Bench::new(10);
    let files = bench.test_files();
    for method in Method::ALL.into_iter().filter(|m| m.has_map()) {
        let config = tiled(method, Some(160));
        let plan = FitPlan::new(&bench.samples, &config).unwrap();
        // Of 160 pixels 64, with every 32 shared: at 0, 32, 64 and 96. Patches are those of the whole image.
        assert_eq!((plan.tiles, plan.patches), ((4, 4), 40 * 40), "{method}");
        assert!(
            plan.in_words().contains("4 x 4 tiles of 64 x 64"),
            "{}",
            plan.in_words()
        );
        let inspector = bench.fit(&config);
        let found = scores(&inspector, &files);
        for (file, found) in files.iter().zip(&found) {
            assert!(found.score.is_finite(), "{method}");
            assert_eq!(found.map.as_ref().unwrap().dim(), (64, 64));
            let alone = inspector.score(&load_rgb(file).unwrap()).unwrap();
            assert!(same(&[alone], std::slice::from_ref(found)), "{method}");
        }
        let bytes = inspector.to_bytes(true).unwrap();
        let again = Inspector::from_bytes(&bytes, None).unwrap();
        assert!(same(&scores(&again, &files), &found), "{method}");
        assert_eq!(again.settings(), inspector.settings());
        assert_eq!(again.to_bytes(true).unwrap(), bytes);
        let one = with_threads(Some(1), || {
            Inspector::fit(&bench.samples, &config, &|_| {})?.to_bytes(true)
        });
        assert_eq!(one.unwrap(), bytes, "{method}");
        // A program that knows no tiles reads 1 alone.
        let beginning = String::from_utf8_lossy(&bytes[..400]).into_owned();
        assert!(beginning.contains(r#"\"version\":2"#), "{beginning}");
        let whole = bench.fit(&quick(method)).to_bytes(false).unwrap();
        let beginning = String::from_utf8_lossy(&whole[..400]).into_owned();
        assert!(
            beginning.contains(r#"\"version\":1"#) && !beginning.contains("tiling"),
            "{beginning}"
        );
    }
}

#[test]
fn a_defect_is_found_where_it_lies_among_the_tiles() {
    let bench = Bench::new(10);
    let inspector = bench.fit(&tiled(Method::Padim, Some(192)));
    let good = load_rgb(&bench.samples.train[0].path).unwrap();
    let before = inspector.score(&good).unwrap().map.unwrap();
    for (x, y) in [(8, 8), (44, 20), (31, 31), (12, 50), (55, 55)] {
        let mut image = good.clone();
        for (dx, dy) in (0..5).flat_map(|dx| (0..5).map(move |dy| (dx, dy))) {
            let pixel = image.get_pixel_mut(x + dx, y + dy);
            pixel.0 = pixel.0.map(|v| 255 - v);
        }
        let map = inspector.score(&image).unwrap().map.unwrap() - &before;
        let most = map.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        let off = |a: usize, b: u32| (a as f64 - f64::from(b + 2)).abs();
        assert!(
            off(most.0, y) <= 6.0 && off(most.1, x) <= 6.0,
            "{x} {y}: {most:?}"
        );
    }
}

#[test]
fn tiles_that_make_no_sense_are_refused_before_anything_runs() {
    let bench = Bench::new(6);
    let refused = |config: FitConfig| {
        Inspector::fit(&bench.samples, &config, &|_| {})
            .unwrap_err()
            .to_string()
    };
    let knn = "knn".parse().unwrap();
    let text = refused(tiled(knn, Some(128)));
    assert!(
        text.contains("no use for tiles") && text.contains("memory-bank"),
        "{text}"
    );
    let text = refused(tiled(Method::MemoryBank, None));
    assert!(text.contains("not smaller than the images"), "{text}");
    let mut config = tiled(Method::MemoryBank, Some(128));
    config.tiling = Some(Tiling {
        size: 100,
        overlap: 0,
    });
    assert!(refused(config.clone()).contains("96 or 128"));
    config.tiling = Some(Tiling {
        size: 64,
        overlap: 40,
    });
    assert!(refused(config.clone()).contains("overlap of 0 to 32"));
    // Memory is known beforehand.
    config.tiling = Some(Tiling { size: 64, overlap: 0 });
    config.size = Some(8192);
    let text = refused(config);
    assert!(
        text.contains("--memory") && text.contains("8192 x 8192"),
        "{text}"
    );
}

/// A file with some text of its header replaced by as much other text.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|w| w == from.as_bytes())
        .unwrap();
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}

#[test]
fn settings_of_tiles_in_a_file_are_not_believed() {
    let bench = Bench::new(6);
    let bytes = bench
        .fit(&tiled(Method::MemoryBank, Some(128)))
        .to_bytes(true)
        .unwrap();
    let replaced = |from: &str, to: &str| {
        file_error(Inspector::from_bytes_unhashed(&replaced(&bytes, from, to))).to_string()
    };
    let text = replaced(r#"\"size\":64"#, r#"\"size\":65"#);
    assert!(text.contains("multiple of 32"), "{text}");
    let text = replaced(r#"\"overlap\":32"#, r#"\"overlap\":99"#);
    assert!(text.contains("senseless"), "{text}");
    // Other tiles give other scores, and that is seen.
    let text = replaced(r#"\"overlap\":32"#, r#"\"overlap\": 0"#);
    assert!(text.contains("scores"), "{text}");
    let text = replaced(r#"\"version\":2"#, r#"\"version\":1"#);
    assert!(text.contains("version"), "{text}");
    let text = replaced(r#"\"width\":128"#, r#"\"width\":129"#);
    assert!(
        text.contains("not cut into tiles") || text.contains("shape"),
        "{text}"
    );
}

#[test]
fn a_fit_and_a_choice_can_be_stopped() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let bench = Bench::new(40);
    let stop = Arc::new(AtomicBool::new(false));
    let mut config = quick(Method::MemoryBank);
    config.stop = Some(stop.clone());
    let result = Inspector::fit(&bench.samples, &config, &|_| stop.store(true, Ordering::Relaxed));
    assert!(matches!(result, Err(Error::Stopped)));
    let result = Inspector::choose(&bench.samples, &config, &|_| {});
    assert!(matches!(result, Err(Error::Stopped)));
    stop.store(false, Ordering::Relaxed);
    bench.fit(&config);
}

#[test]
fn what_killed_processes_left_behind_is_removed() {
    let bench = Bench::new(6);
    let inspector = bench.fit(&quick(Method::MemoryBank));
    let left = bench.path(".blemish-m.blemish-abc123.partial");
    let held = bench.path(".blemish-m.blemish-held00.partial");
    let others = [
        ".blemish-other.blemish-abc123.partial",
        ".blemish-m.blemish-notes.partial",
        "m.partial",
    ];
    for path in others.map(|name| bench.path(name)).iter().chain([&left, &held]) {
        std::fs::write(path, "half").unwrap();
    }
    let writing = std::fs::File::open(&held).unwrap();
    writing.lock().unwrap();
    inspector.save(&bench.path("m.blemish"), false).unwrap();
    assert!(!left.exists() && held.exists());
    assert!(others.iter().all(|name| bench.path(name).exists()));
    drop(writing);
    inspector.save(&bench.path("m.blemish"), false).unwrap();
    assert!(!held.exists());
    let count = std::fs::read_dir(bench.dir.path()).unwrap().count();
    assert_eq!(count, 1 + others.len() + 1, "data, the others and the model");
}

fn file_error(result: Result<Inspector, Error>) -> ModelFileError {
    match result {
        Err(Error::ModelFile { source, .. }) => *source,
        Err(error) => panic!("not an error of the file: {error}"),
        Ok(_) => panic!("it was read"),
    }
}

#[test]
fn cut_and_changed_files_are_refused() {
    let bench = Bench::new(6);
    let bytes = bench.fit(&quick(Method::MemoryBank)).to_bytes(false).unwrap();
    let load = |bytes: &[u8]| {
        let path = bench.path("hostile.blemish");
        std::fs::write(&path, bytes).unwrap();
        Inspector::load(&path, None)
    };
    for len in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        file_error(load(&bytes[..len]));
    }
    // Every part of the file counts, the last byte and the header's text included.
    for at in (8..bytes.len())
        .step_by(bytes.len() / 97)
        .chain([bytes.len() - 1])
    {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        file_error(load(&changed));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    file_error(load(&longer));
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    file_error(load(&huge));
    assert!(matches!(
        file_error(load(b"\x02\0\0\0\0\0\0\0{}")),
        ModelFileError::NotAModel { .. }
    ));
    assert!(matches!(
        Inspector::load(Path::new("/nowhere"), None),
        Err(Error::Io { .. })
    ));
}

#[test]
fn another_version_and_other_weights_are_told_apart() {
    let bench = Bench::new(6);
    let bytes = bench.fit(&quick(Method::MemoryBank)).to_bytes(false).unwrap();
    let replaced = |from: &str, to: &str| replaced(&bytes, from, to);
    let version = file_error(Inspector::from_bytes(
        &replaced(r#"\"version\":1"#, r#"\"version\":3"#),
        None,
    ));
    assert!(matches!(
        version,
        ModelFileError::Version {
            found: 3,
            expected: 2
        }
    ));
    // Without the hash, to see what it protects.
    let other = file_error(Inspector::from_bytes_unhashed(&replaced(
        r#"\"seed\":0"#,
        r#"\"seed\":1"#,
    )));
    assert!(matches!(other, ModelFileError::OtherWeights { .. }), "{other}");
    let method = file_error(Inspector::from_bytes_unhashed(&replaced(
        "memory-bank",
        "mahalanobis",
    )));
    assert!(matches!(method, ModelFileError::Tensor { .. }), "{method}");
    let size = file_error(Inspector::from_bytes_unhashed(&replaced(
        r#"\"width\":48"#,
        r#"\"width\":49"#,
    )));
    assert!(matches!(size, ModelFileError::Tensor { .. }), "{size}");
    let nan = {
        let mut out = bytes.clone();
        let len = out.len();
        // Tensors lie side by side up to the end; pixels last.
        let pixels = 2 * 48 * 48 * 3;
        let numbers = len - pixels - 8 * 8;
        out[numbers..numbers + 64].fill(0xff);
        file_error(Inspector::from_bytes_unhashed(&out))
    };
    assert!(
        matches!(
            nan,
            ModelFileError::NotFinite { .. } | ModelFileError::Tensor { .. }
        ),
        "{nan}"
    );
    let pixels = {
        let mut out = bytes.clone();
        let len = out.len();
        out[len - 48 * 48 * 3..].fill(200);
        file_error(Inspector::from_bytes_unhashed(&out))
    };
    assert!(matches!(pixels, ModelFileError::OtherScores { .. }), "{pixels}");
}
