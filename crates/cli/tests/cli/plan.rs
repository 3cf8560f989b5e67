use crate::common::{Bench, quick};

#[test]
fn a_grid_is_planned_and_then_run() {
    let bench = Bench::with_data();
    let mut args = quick("run");
    args.extend(["--detectors", "LocalOutlierFactor"]);
    let mut plan = args.clone();
    plan[0] = "plan";
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
    // Another selection is another run.
    plan.extend(["--seed", "5"]);
    let text = bench.fails(1, &plan);
    assert!(text.contains("run of another configuration"), "{text}");
}
