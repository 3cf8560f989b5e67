//! Failures are rows: an image lost in the middle of a run costs the experiments of its object, and only until it is
//! back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use blemish::lab::{self, Plan, RunFolder, RunOptions, Status, Store};

use common::small_grid;

#[test]
fn an_image_lost_during_the_run_fails_its_object_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_grid(dir.path());
    let plan = Plan::new(&config).unwrap();
    let run = dir.path().join("run");
    let mut folder = RunFolder::create_or_resume(&run, &plan).unwrap();

    let image = dir.path().join("data/weave/train/good/001.png");
    let bytes = std::fs::read(&image).unwrap();
    std::fs::write(&image, &bytes[..100]).unwrap();
    let options = RunOptions::default();
    let summary = lab::run(&plan, &mut folder, &options, &|_| {}).unwrap();
    assert_eq!((summary.done, summary.failed, summary.total), (14, 14, 28));
    for row in folder.store().rows().unwrap() {
        if row.object == "weave" {
            assert_eq!(row.status, Status::Failed);
            assert!(row.error.unwrap().contains("001.png"));
        } else {
            assert_eq!(row.status, Status::Done);
        }
    }

    // A failure is not tried again unasked ...
    std::fs::write(&image, bytes).unwrap();
    let summary = lab::run(&plan, &mut folder, &options, &|_| {}).unwrap();
    assert_eq!((summary.computed, summary.failed), (0, 14));
    // ... but on demand.
    let retry = RunOptions {
        retry_failed: true,
        ..options
    };
    let summary = lab::run(&plan, &mut folder, &retry, &|_| {}).unwrap();
    assert_eq!((summary.computed, summary.done, summary.failed), (14, 28, 0));

    // Scores are kept with the results, one a test image.
    drop(folder);
    let store = Store::open(&run).unwrap();
    let scores = store.scores(&plan.experiments[0].key).unwrap().unwrap();
    assert_eq!(scores.len(), plan.objects[0].test.len());
    assert!(store.scores("no such key").unwrap().is_none());
}
