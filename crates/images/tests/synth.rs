//! The synthetic data set.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use blemish_images::{
    Dataset, ImagesError, MVTEC_OBJECTS, SynthOptions, SynthSummary, load_mask, load_rgb, verify,
    write_synthetic, write_synthetic_mvtec,
};

fn small() -> SynthOptions {
    SynthOptions {
        seed: 3,
        size: 64,
        train: 3,
        test_good: 2,
        per_defect: 2,
    }
}

/// The hash of every file below `root`.
fn hashes(root: &Path) -> BTreeMap<String, blake3::Hash> {
    let mut out = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.insert(name, blake3::hash(&std::fs::read(path).unwrap()));
            }
        }
    }
    out
}

fn written(options: &SynthOptions) -> BTreeMap<String, blake3::Hash> {
    let dir = tempfile::tempdir().unwrap();
    write_synthetic(&dir.path().join("a/new/folder"), options).unwrap();
    hashes(&dir.path().join("a/new/folder"))
}

#[test]
fn it_is_a_data_set_with_masks() {
    let dir = tempfile::tempdir().unwrap();
    // An empty folder that is there already will do.
    let summary = write_synthetic(dir.path(), &small()).unwrap();
    let objects = vec!["washer".to_owned(), "weave".to_owned()];
    assert_eq!(
        summary,
        SynthSummary {
            objects: objects.clone(),
            images: 2 * (3 + 2 + 4 * 2),
            masks: 2 * 8
        }
    );
    let dataset = Dataset::open(dir.path(), None).unwrap();
    assert_eq!(
        dataset.objects.iter().map(|o| o.name.clone()).collect::<Vec<_>>(),
        objects
    );
    for object in &dataset.objects {
        assert_eq!((object.train.len(), object.test.len()), (3, 10));
        verify(object).unwrap();
        for file in &object.test {
            assert_eq!(file.is_defective(), file.mask.is_some(), "{}", file.relative);
            let Some(mask) = &file.mask else { continue };
            let pixels = load_mask(mask).unwrap().pixels().filter(|p| p.0[0] > 0).count();
            assert!(
                (1..64 * 64 / 3).contains(&pixels),
                "{}: {pixels} pixels of mask",
                file.relative
            );
        }
    }
}

#[test]
fn one_seed_gives_the_same_bytes_and_another_other_ones() {
    let first = written(&small());
    assert_eq!(first, written(&small()));
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(first, one_thread.install(|| written(&small())));
    let other = written(&SynthOptions { seed: 4, ..small() });
    assert!(
        first
            .iter()
            .all(|(name, hash)| name.contains("ground_truth") || other[name] != *hash)
    );
    // No image twice.
    let images: Vec<_> = first
        .iter()
        .filter(|(name, _)| !name.contains("ground_truth"))
        .collect();
    let distinct: std::collections::BTreeSet<_> =
        images.iter().map(|(_, h)| h.to_hex().to_string()).collect();
    assert_eq!(distinct.len(), images.len());
}

#[test]
fn other_counts_leave_the_images_as_they_are() {
    let few = written(&small());
    let many = written(&SynthOptions {
        train: 5,
        test_good: 4,
        per_defect: 3,
        ..small()
    });
    assert!(many.len() > few.len());
    for (name, hash) in &few {
        assert_eq!(many.get(name), Some(hash), "{name}");
    }
}

#[test]
fn a_defect_changes_the_image_where_its_mask_is() {
    let dir = tempfile::tempdir().unwrap();
    write_synthetic(dir.path(), &SynthOptions { size: 128, ..small() }).unwrap();
    // A hole is darker than the cloth around it.
    let folder = dir.path().join("weave");
    for name in ["000", "001"] {
        let image = load_rgb(&folder.join(format!("test/hole/{name}.png"))).unwrap();
        let mask = load_mask(&folder.join(format!("ground_truth/hole/{name}_mask.png"))).unwrap();
        let mean = |inside: bool| {
            let levels: Vec<f64> = image
                .pixels()
                .zip(mask.pixels())
                .filter(|(_, m)| (m.0[0] > 0) == inside)
                .map(|(p, _)| f64::from(p.0[1]))
                .collect();
            levels.iter().sum::<f64>() / levels.len() as f64
        };
        assert!(
            mean(true) < 0.8 * mean(false),
            "{name}: {} and {}",
            mean(true),
            mean(false)
        );
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), b"only copy").unwrap();
    let error = write_synthetic(dir.path(), &small()).unwrap_err();
    assert!(matches!(error, ImagesError::NotEmpty { .. }));
    assert!(
        error.to_string().contains("give a new folder or empty this one"),
        "{error}"
    );
    assert_eq!(hashes(dir.path()).len(), 1);
    let file = dir.path().join("thesis.txt");
    assert!(matches!(
        write_synthetic(&file, &small()),
        Err(ImagesError::NotAFolder { .. })
    ));
}

#[test]
fn options_out_of_range_are_errors_and_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (options, word) in [
        (SynthOptions { size: 31, ..small() }, "the size is 31"),
        (
            SynthOptions {
                size: 5000,
                ..small()
            },
            "from 32 to 2048",
        ),
        (SynthOptions { train: 0, ..small() }, "training images is 0"),
        (
            SynthOptions {
                test_good: 0,
                ..small()
            },
            "good test images is 0",
        ),
        (
            SynthOptions {
                per_defect: 0,
                ..small()
            },
            "of each defect is 0",
        ),
    ] {
        let error = write_synthetic(&out, &options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(!out.exists());
    }
}

#[cfg(unix)]
#[test]
fn what_cannot_be_written_is_named() {
    // No one may make files there; a full disk takes the same way.
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("link");
    if std::os::unix::fs::symlink("/proc/self", &out).is_err() || !out.is_dir() {
        return;
    }
    let error = write_synthetic(&out.join("blemish"), &small())
        .unwrap_err()
        .to_string();
    assert!(error.contains("link/blemish: "), "{error}");
}

#[test]
fn all_objects_of_the_study_have_images_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let options = SynthOptions {
        size: 32,
        train: 2,
        test_good: 1,
        per_defect: 1,
        ..small()
    };
    let summary = write_synthetic_mvtec(dir.path(), &options).unwrap();
    assert_eq!(summary.objects, MVTEC_OBJECTS);
    assert_eq!((summary.images, summary.masks), (15 * 7, 15 * 4));
    let dataset = Dataset::open(dir.path(), None).unwrap();
    let mut prints: Vec<String> = dataset.objects.iter().map(|o| o.fingerprint().unwrap()).collect();
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), 15);
}
