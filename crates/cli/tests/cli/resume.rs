use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Bench, quick};

/// How many experiments of a run have a result, read as `blemish results` reads it while a run goes on.
fn finished(bench: &Bench, run: &str) -> usize {
    if !bench.path(run).join("store.sqlite").exists() {
        return 0;
    }
    let output = bench.run(&["export", run, "-o", "-"]);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|l| l.contains(",done,"))
        .count()
}

#[test]
fn killed_at_any_moment_the_same_command_finishes_what_is_left() {
    let bench = Bench::with_data();
    bench.ok(&quick("undisturbed"));
    let total = finished(&bench, "undisturbed");

    // Killed once it has at least so many results, again and again.
    let mut before = 0;
    for share in [0, 1, 40, 45, 70, 90] {
        let goal = total * share / 100;
        let mut child = bench
            .command(&quick("killed"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while finished(&bench, "killed") < goal && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(120), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let now = finished(&bench, "killed");
        assert!(now >= before, "{now} results after {before}: something was lost");
        before = now;
    }
    let output = bench.run(&quick("killed"));
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if before < total {
        // Nothing that had a result was computed again.
        assert!(
            text.contains(&format!("{} experiments computed", total - before)),
            "{before} of {total}: {text}"
        );
    }
    assert_eq!(bench.timeless("undisturbed"), bench.timeless("killed"));
}

#[test]
fn a_finished_run_computes_nothing_again() {
    let bench = Bench::with_data();
    let mut args = quick("run");
    args.extend(["--detectors", "LocalOutlierFactor"]);
    bench.ok(&args);
    let first = bench.ok(&["export", "run", "-o", "-"]);
    let output = bench.run(&args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("0 experiments computed"), "{text}");
    // Even the times are those of the first run.
    assert_eq!(first, bench.ok(&["export", "run", "-o", "-"]));
}

#[test]
fn two_processes_do_not_share_a_run() {
    let bench = Bench::with_data();
    let mut child = bench
        .command(&quick("run"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while finished(&bench, "run") == 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "no progress");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = bench.run(&quick("run"));
    let running = child.try_wait().unwrap().is_none();
    child.wait().unwrap();
    // On a fast machine the first may have ended before the second looked.
    if running {
        let text = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(1), "{text}");
        assert!(text.contains("in use by another process (process "), "{text}");
    }
}
