//! A run that is killed, stopped or hindered in all sorts of ways, and what it leaves.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use blemish::images::{SynthOptions, write_synthetic};

use crate::common::{Bench, quick};

/// With few and small images: one run takes about a second.
fn bench() -> Bench {
    let bench = Bench::new();
    let options = SynthOptions {
        size: 48,
        train: 2,
        test_good: 1,
        per_defect: 1,
        ..SynthOptions::default()
    };
    write_synthetic(&bench.path("data"), &options).unwrap();
    bench
}

fn grid(out: &str) -> Vec<&str> {
    let mut args = quick(out);
    // The layer whose weights are drawn in no time.
    args.retain(|a| *a != "layer3,layer4");
    args.extend([
        "layer1",
        "--detectors",
        "LocalOutlierFactor,KernelDensity,IsolationForest",
    ]);
    args
}

fn start(bench: &Bench, args: &[&str]) -> Child {
    bench
        .command(args)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A number from 0 to 1 for each i, spread evenly whatever their number (the golden ratio's multiples).
fn spread(i: usize) -> f64 {
    (i as f64 * 0.618_033_988_75).fract()
}

#[test]
fn killed_at_50_random_points_it_ends_as_if_undisturbed() {
    let bench = bench();
    let begin = Instant::now();
    bench.ok(&grid("undisturbed"));
    let whole = begin.elapsed();
    let expected = bench.timeless("undisturbed");

    let (mut kills, mut runs) = (0, 0);
    while kills < 50 {
        let run = format!("run{runs}");
        runs += 1;
        // Until this run has ended, however often it is killed; later attempts are given less and less to do.
        loop {
            let mut child = start(&bench, &grid(&run));
            std::thread::sleep(whole.mul_f64(spread(kills)));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap(); // SIGKILL
            child.wait().unwrap();
            kills += 1;
            if kills == 50 {
                bench.ok(&grid(&run));
                break;
            }
        }
        assert_eq!(bench.timeless(&run), expected, "after {kills} kills");
        // Nothing is left of the killed ones once the garbage is collected.
        bench.ok(&["gc", &run]);
        for entry in fs::read_dir(bench.path(&run).join("products")).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(name.ends_with(".products"), "{name}");
        }
    }
}

#[test]
#[cfg(unix)]
fn sigterm_ends_a_run_cleanly_and_the_same_command_goes_on() {
    let bench = Bench::with_data();
    bench.ok(&quick("undisturbed"));
    let mut stopped = 0;
    for wait in [300, 900] {
        let mut child = start(&bench, &quick("run"));
        std::thread::sleep(Duration::from_millis(wait));
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        match child.wait().unwrap().code() {
            Some(75) => stopped += 1,
            // It was done already, or had not yet begun to listen.
            Some(0) | None => {}
            other => panic!("{other:?}"),
        }
    }
    let output = bench.run(&quick("run"));
    assert!(output.status.success());
    assert_eq!(bench.timeless("run"), bench.timeless("undisturbed"));
    let status = bench.ok(&["status", "run", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["done"], status["total"]);
    assert_eq!(status["running"], false);
    eprintln!("stopped {stopped} times");
}

#[test]
fn a_status_is_read_while_a_run_goes_on() {
    let bench = Bench::with_data();
    let mut child = start(&bench, &quick("run"));
    let begin = Instant::now();
    let mut seen = vec![];
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(120));
        let output = bench.run(&["status", "run", "--format", "json"]);
        if output.status.success() {
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            if status["running"] == true {
                seen.push(status["done"].as_u64().unwrap());
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success(), "looking on disturbs nothing");
    assert!(!seen.is_empty() && seen.is_sorted(), "{seen:?}");
    let text = bench.ok(&["status", "run"]);
    assert!(
        text.starts_with("568 of 568 experiments done, 0 failed, 0 left"),
        "{text}"
    );
    assert!(text.contains("weave resnet18 random"), "{text}");
    let text = bench.fails(1, &["status", "nowhere"]);
    assert!(text.contains("no run in nowhere"), "{text}");
}

#[test]
fn kept_products_make_new_settings_without_images() {
    let bench = bench();
    let mut lof = quick("run");
    lof.extend(["--detectors", "LocalOutlierFactor"]);
    bench.ok(&lof);
    let mut more = quick("run");
    more.extend(["--detectors", "LocalOutlierFactor,KernelDensity,EllipticEnvelope"]);
    let text = bench.fails(1, &more);
    assert!(text.contains("--extend adds to it"), "{text}");
    more.push("--extend");
    let output = bench.run(&more);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("features of "), "no image is looked at: {text}");
    let mut fresh = more.clone();
    fresh[3] = "fresh";
    fresh.extend(["--keep", "nothing"]);
    bench.ok(&fresh);
    assert_eq!(bench.timeless("run"), bench.timeless("fresh"));
    assert!(!bench.path("fresh/products").exists());
    // Nothing that was is lost.
    let text = bench.fails(1, &{
        let mut less = lof.clone();
        less.push("--extend");
        less
    });
    assert!(
        text.contains("run cannot be extended: the new selection is without"),
        "{text}"
    );

    // Damaged ones are not believed, and absent ones are no error.
    let products: Vec<_> = fs::read_dir(bench.path("run/products"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(products.len(), 2 * 2);
    let bytes = fs::read(&products[0]).unwrap();
    let mut wrong = bytes.clone();
    wrong[bytes.len() / 2] ^= 1;
    fs::write(&products[0], wrong).unwrap();
    fs::write(&products[1], &bytes[..20]).unwrap();
    fs::remove_file(&products[2]).unwrap();
    let mut all = more.clone();
    let detectors = all.len() - 2;
    all[detectors] = "LocalOutlierFactor,KernelDensity,EllipticEnvelope,OneClassSVM";
    bench.ok(&all);
    let mut fresh = all.clone();
    fresh[3] = "fresh2";
    bench.ok(&fresh);
    assert_eq!(bench.timeless("run"), bench.timeless("fresh2"));

    fs::write(bench.path("run/products/.products123"), "left").unwrap();
    fs::write(bench.path("run/products/0000.products"), "of another plan").unwrap();
    let text = bench.ok(&["gc", "run"]);
    assert!(text.starts_with("removed 2 files"), "{text}");
    let text = bench.ok(&["gc", "run", "--products"]);
    assert!(text.contains("0 B of inner products are kept"), "{text}");
    assert_eq!(fs::read_dir(bench.path("run/products")).unwrap().count(), 0);
    let text = bench.fails(1, &["gc", "data"]);
    assert!(text.contains("no plan in data"), "{text}");
}

#[test]
fn little_memory_changes_nothing_but_the_way() {
    let bench = Bench::with_data();
    let mut wide = quick("wide");
    wide[7] = "layer1,layer2,layer3";
    bench.ok(&wide);
    let mut narrow = wide.clone();
    narrow[3] = "narrow";
    narrow.extend(["--memory", "600M", "--scratch-limit", "100M"]);
    let text = String::from_utf8_lossy(&bench.run(&narrow).stderr).into_owned();
    assert_eq!(bench.timeless("wide"), bench.timeless("narrow"), "{text}");
    let mut nothing = wide.clone();
    nothing[3] = "nothing";
    nothing.extend(["--memory", "1M"]);
    let text = bench.fails(1, &nothing);
    assert!(text.contains("raise --memory or --scratch-limit"), "{text}");
    nothing.truncate(nothing.len() - 1);
    nothing.push("much");
    let text = bench.fails(2, &nothing);
    assert!(text.contains("is no amount of bytes"), "{text}");
}
