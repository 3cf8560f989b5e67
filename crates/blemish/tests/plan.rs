//! A plan is frozen, opened again elsewhere and carried out in parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use blemish::backbones::{Architecture, Initialization};
use blemish::detectors::{DetectorSpec, LocalOutlierFactor};
use blemish::images::{Object, View};
use blemish::lab::{self, Augmentation, NetworkConfig, Plan, RunFolder, RunOptions, Status};

use common::small_grid;

#[test]
fn a_plan_is_opened_as_it_was_frozen_and_run_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_grid(dir.path());
    let plan = Plan::new(&config).unwrap();
    let run = dir.path().join("run");
    drop(RunFolder::create_or_resume(&run, &plan).unwrap());

    let opened = Plan::open(&run).unwrap();
    assert_eq!(opened.hash, plan.hash);
    assert_eq!(opened.identity, plan.identity);
    let keys = |plan: &Plan| -> Vec<String> { plan.experiments.iter().map(|e| e.key.clone()).collect() };
    assert_eq!(keys(&opened), keys(&plan));
    assert_eq!(opened.tasks.len(), 2);

    // One task after the other, in folders of their own, gives what all give together.
    let mut folder = RunFolder::create_or_resume(&run, &opened).unwrap();
    let summary = lab::run(&opened, &mut folder, &RunOptions::default(), &|_| {}).unwrap();
    assert_eq!((summary.done, summary.total), (28, 28));
    let whole = folder.store().rows().unwrap();
    drop(folder);
    for task in [1, 0] {
        let part = dir.path().join(format!("part{task}"));
        let mut folder = RunFolder::create_unchecked(&part, &opened).unwrap();
        let options = RunOptions {
            tasks: Some(vec![task]),
            ..RunOptions::default()
        };
        let summary = lab::run(&opened, &mut folder, &options, &|_| {}).unwrap();
        assert_eq!((summary.done, summary.total, summary.computed), (14, 14, 14));
        let own = opened.task_experiments(&opened.tasks[task]).len();
        assert_eq!(own, 14);
        for (i, row) in folder.store().rows().unwrap().iter().enumerate() {
            if i / 14 == task {
                assert_eq!((row.status, row.auroc), (Status::Done, whole[i].auroc));
            } else {
                assert_eq!(row.status, Status::Pending);
            }
        }
    }
    let beyond = RunOptions {
        tasks: Some(vec![2]),
        ..RunOptions::default()
    };
    let mut folder = RunFolder::create_or_resume(&run, &opened).unwrap();
    let error = lab::run(&opened, &mut folder, &beyond, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("no task 2"), "{error}");
}

#[test]
fn what_changed_since_the_plan_is_not_computed() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_grid(dir.path());
    let run = dir.path().join("run");
    drop(RunFolder::create_or_resume(&run, &Plan::new(&config).unwrap()).unwrap());
    let error = Plan::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("no plan in") && error.contains("blemish plan DATA"),
        "{error}"
    );

    // Another image in place of one: found when the task begins.
    let good = dir.path().join("data/weave/train/good");
    std::fs::copy(good.join("000.png"), good.join("001.png")).unwrap();
    let plan = Plan::open(&run).unwrap();
    let mut folder = RunFolder::create_or_resume(&run, &plan).unwrap();
    let summary = lab::run(&plan, &mut folder, &RunOptions::default(), &|_| {}).unwrap();
    assert_eq!((summary.done, summary.failed), (14, 14));
    for row in folder.store().rows().unwrap() {
        assert_eq!(row.object == "weave", row.status == Status::Failed);
        if let Some(error) = row.error {
            let change = "weave is not what it was when the plan was made (train/good/001.png has changed)";
            assert!(error.contains(change), "{error}");
        }
    }
    // One more image: found at once.
    std::fs::copy(good.join("000.png"), good.join("009.png")).unwrap();
    let recalled = Plan::recall(&run).unwrap();
    assert_eq!(recalled.hash, plan.hash);
    for (recalled, planned) in recalled.objects.iter().zip(&plan.objects) {
        let labels = |o: &Object| -> Vec<_> {
            o.test
                .iter()
                .map(|i| (i.path.clone(), i.defect.clone()))
                .collect()
        };
        assert_eq!(labels(recalled), labels(planned));
        assert_eq!(recalled.train, planned.train);
    }
    let error = Plan::open(&run).unwrap_err().to_string();
    assert!(
        error.contains("is not what it was") && error.contains("(weave/train/good/009.png is new)"),
        "{error}"
    );
    drop(folder);
    let anew = Plan::new(&config).unwrap();
    let error = RunFolder::create_or_resume(&run, &anew).unwrap_err().to_string();
    let changes =
        "the images of weave (train/good/001.png has changed, train/good/009.png is new) have changed";
    assert!(error.contains(changes), "{error}");

    let file = run.join("plan.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(r#""format": 1"#, r#""format": 2"#)).unwrap();
    let error = Plan::open(&run).unwrap_err().to_string();
    assert!(error.contains("another version"), "{error}");
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let error = Plan::open(&run).unwrap_err().to_string();
    assert!(error.contains("plan.json: this is no plan"), "{error}");
}

#[test]
fn networks_views_and_settings_may_be_chosen_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = small_grid(dir.path());
    let usual = Plan::new(&config).unwrap();
    assert!(usual.identity.get("settings").is_none());
    config.settings = Some(vec![
        DetectorSpec::from(LocalOutlierFactor { n_neighbors: 3 }),
        DetectorSpec::from(LocalOutlierFactor { n_neighbors: 2 }),
    ]);
    config.networks = Some(vec![NetworkConfig::Builtin {
        architecture: Architecture::Resnet18,
        initializations: Some(vec![Initialization::Random]),
        layers: Some(vec!["layer4".into()]),
    }]);
    config.augmented = Augmentation::Both;
    let plan = Plan::new(&config).unwrap();
    assert_eq!(plan.experiments.len(), 2 * 2 * 2);
    assert_ne!(plan.identity["settings"], usual.identity["settings"]);
    // The setting that both have is the same experiment in both.
    assert!(usual.experiments.iter().any(|e| e.key == plan.experiments[1].key));

    let all_views = plan.experiments.clone();
    config.views = vec![View::Original, View::Rotate180];
    let plan = Plan::new(&config).unwrap();
    assert_eq!(plan.feature_sets[1].train_samples, 6);
    for (a, b) in all_views.iter().zip(&plan.experiments) {
        let augmented = plan.feature_sets[b.feature_set].augmented;
        assert_eq!(augmented, a.key != b.key, "views count where they are used");
    }
    let run = dir.path().join("run");
    let mut folder = RunFolder::create_or_resume(&run, &plan).unwrap();
    let summary = lab::run(&plan, &mut folder, &RunOptions::default(), &|_| {}).unwrap();
    assert_eq!((summary.done, summary.total), (8, 8));
    assert_eq!(Plan::open(&run).unwrap().hash, plan.hash);
}

#[test]
fn all_missing_weights_are_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = small_grid(dir.path());
    config.architectures = Architecture::ALL.to_vec();
    config.initializations = None;
    config.layers = None;
    for folder in [None, Some(dir.path().to_path_buf())] {
        config.weights = folder;
        let error = Plan::new(&config).unwrap_err().to_string();
        for part in [
            "resnet18-f37072fd.pth (45 MiB), published at https://download.pytorch.org/models/resnet18-f37072fd.pth",
            "resnet50-11ad3fa6.pth",
            "wide_resnet50_2-9ba9bcbe.pth",
            "vit_b_16-c867db91.pth",
            "vit_b_32-d86f8d99.pth",
            "blemish weights fetch resnet18-imagenet1k_v1 resnet50-imagenet1k_v2 ",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
