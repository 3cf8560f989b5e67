use crate::common::{Bench, quick};

#[test]
fn the_same_grid_gives_the_same_export_whatever_the_threads() {
    let bench = Bench::with_data();
    for (out, threads) in [("one", "1"), ("two", "2"), ("again", "2")] {
        let mut args = quick(out);
        args.extend(["--threads", threads]);
        bench.ok(&args);
    }
    let one = bench.timeless("one");
    assert_eq!(one.lines().count(), 2 * 2 * 2 * 71);
    assert!(one.lines().all(|l| l.contains("|done|")), "{one}");
    assert_eq!(one, bench.timeless("two"));
    assert_eq!(one, bench.timeless("again"));
}

#[test]
fn a_result_does_not_depend_on_what_else_is_selected() {
    let bench = Bench::with_data();
    let mut all = quick("all");
    all.extend(["--objects", "washer"]);
    bench.ok(&all);
    let mut part = quick("part");
    part.extend(["--objects", "washer", "--augmented", "false", "--detectors"]);
    part.push("LocalOutlierFactor,IsolationForest,EllipticEnvelope,KernelDensity,OneClassSVM");
    bench.ok(&part);
    let all = bench.timeless("all");
    let part = bench.timeless("part");
    assert_eq!(part.lines().count(), 2 * 71);
    for line in part.lines() {
        assert!(all.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn another_seed_gives_other_results() {
    let bench = Bench::with_data();
    let grid = |out, seed| {
        let mut args = quick(out);
        args.extend(["--objects", "weave", "--augmented", "false", "--seed", seed]);
        bench.ok(&args);
        bench.timeless(out)
    };
    // Random weights follow the seed, so every feature does.
    assert_ne!(grid("a", "0"), grid("b", "1"));
}
