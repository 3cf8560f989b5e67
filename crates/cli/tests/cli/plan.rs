use crate::common::{Bench, quick};

#[test]
fn a_grid_is_planned_and_then_run() {
    let bench = Bench::with_data();
    let mut args = quick("run");
    args.extend(["--detectors", "LocalOutlierFactor"]);
    let mut plan = args.clone();
    plan[0] = "plan";
    let predicted = bench.ok(&plan);
    assert!(predicted.contains("predicted: "), "{predicted}");
    assert!(
        predicted.contains("0 of 112 experiments have a result already"),
        "{predicted}"
    );
    plan.push("--no-calibration");
    let text = bench.ok(&plan);
    assert!(text.contains("2 tasks, 112 experiments"), "{text}");
    // Planned twice is planned once.
    assert_eq!(text, bench.ok(&plan));
    let file = std::fs::read_to_string(bench.path("run/plan.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(file["tasks"][1]["object"], "weave");
    assert_eq!(file["tasks"][1]["experiments"], 56);
    assert!(text.contains(file["hash"].as_str().unwrap()), "{text}");
    let pending = bench.timeless("run");
    assert_eq!(pending.matches("|pending|").count(), 112);

    bench.ok(&args);
    assert_eq!(bench.timeless("run").matches("|done|").count(), 112);
    let status = bench.ok(&["status", "run", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let task = &status["tasks"][1];
    assert_eq!(task["name"], "weave resnet18 random");
    assert!(task["predicted_s"].as_f64().unwrap() > 0.0 && task["seconds"].as_f64().unwrap() > 0.0);
    // Another selection is another run.
    plan.extend(["--seed", "5"]);
    let text = bench.fails(1, &plan);
    assert!(text.contains("run of another configuration"), "{text}");
}

#[test]
fn a_printed_grid_is_the_grid() {
    let bench = Bench::with_data();
    let study = bench.ok(&["plan", "--print-config"]);
    insta::assert_snapshot!("print_config", study);
    let printed = bench.ok(&[
        "plan",
        "--print-config",
        "--architectures",
        "resnet18",
        "--initializations",
        "random",
        "--layers",
        "layer3,layer4",
        "--seed",
        "3",
        "--objects",
        "weave",
    ]);
    std::fs::write(bench.path("grid.toml"), printed).unwrap();
    let mut typed = quick("typed");
    typed[0] = "plan";
    typed.extend(["--seed", "3", "--objects", "weave"]);
    bench.ok(&typed);
    bench.ok(&["plan", "data", "--out", "file", "--config", "grid.toml"]);
    assert_eq!(bench.timeless("typed"), bench.timeless("file"));

    std::fs::write(bench.path("wrong.toml"), "seed = 1\nlayers = [\"layer1\"]\n").unwrap();
    let text = bench.fails(1, &["plan", "data", "--out", "x", "--config", "wrong.toml"]);
    assert!(
        text.contains("wrong.toml, line 2: unknown key `layers`"),
        "{text}"
    );
    let text = bench.fails(1, &["plan", "data", "--out", "x", "--config", "none.toml"]);
    assert!(text.contains("none.toml"), "{text}");
    bench.fails(
        2,
        &[
            "plan",
            "data",
            "--out",
            "x",
            "--config",
            "grid.toml",
            "--seed",
            "1",
        ],
    );
    bench.fails(2, &["plan", "data"]);
}
