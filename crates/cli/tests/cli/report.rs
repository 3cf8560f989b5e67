//! The report: of a run on synthetic images, of the study's published table, and in a real browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Bench, quick};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A small run of two objects with its report in `report`.
fn reported() -> Bench {
    let bench = Bench::with_data();
    let mut args = quick("run");
    args.extend(["--detectors", "LocalOutlierFactor,KernelDensity"]);
    bench.ok(&args);
    bench.ok(&["report", "run", "-o", "report"]);
    bench
}

#[test]
fn tables_of_a_run() {
    let bench = reported();
    let mut text = String::new();
    for table in [
        "table1_samples",
        "table3_hyperparameters",
        "table4_best",
        "selection",
    ] {
        text.push_str(&read(&bench.path(&format!("report/tables/{table}.md"))));
        text.push('\n');
    }
    // Numbers depend on seeds, which depend on versions of the parts: their places alone.
    let is_measured = |word: &str| {
        word.split_once('.')
            .is_some_and(|(_, digits)| digits.len() == 3 && word.parse::<f64>().is_ok())
    };
    let places: Vec<&str> = text
        .split(' ')
        .map(|word| if is_measured(word) { "#.###" } else { word })
        .collect();
    insta::assert_snapshot!("report_tables", places.join(" "));
}

#[test]
fn the_same_store_gives_the_same_bytes() {
    let bench = reported();
    bench.ok(&["report", "run", "-o", "again"]);
    for file in [
        "report.html",
        "tables/table5_times.csv",
        "figures/pareto.svg",
        "figures/pareto.png",
    ] {
        let [a, b] = ["report", "again"].map(|f| std::fs::read(bench.path(f).join(file)).unwrap());
        assert!(a == b && !a.is_empty(), "{file} differs");
    }
}

#[test]
fn no_report_among_the_images() {
    let bench = reported();
    for folder in ["data", "data/weave/report", "data/weave/test/../train/new/report"] {
        let error = bench.fails(1, &["report", "run", "-o", folder]);
        assert!(error.contains("is in the folder of images"), "{error}");
    }
    assert!(!bench.path("data/tables").exists() && !bench.path("data/weave/report").exists());
}

#[test]
fn what_cannot_be_reported_is_said() {
    let bench = Bench::new();
    let error = bench.fails(1, &["report", "nothing"]);
    assert!(error.contains("no run in nothing"), "{error}");
    std::fs::write(bench.path("bad.csv"), "a,b\n1,2\n").unwrap();
    let error = bench.fails(1, &["import-published", "bad.csv", "--out", "run"]);
    assert!(error.contains("no column `object`"), "{error}");
    let row = "x,True,n,random,l,1,1,M,{},0.5,1,1\n";
    let header = "object,augmented,architecture,initialization,layer,train_samples,dimensions,model,hyperparameter,auroc,train_time_s,test_time_s\n";
    std::fs::write(bench.path("twice.csv"), format!("{header}{row}{row}")).unwrap();
    let error = bench.fails(1, &["import-published", "twice.csv", "--out", "run"]);
    assert!(error.contains("line 2 has the same experiment"), "{error}");
    // A name that is markup stays text.
    let hostile = row.replace('x', "<script>alert(1)</script>");
    std::fs::write(bench.path("hostile.csv"), format!("{header}{hostile}")).unwrap();
    bench.ok(&["import-published", "hostile.csv", "--out", "hostile"]);
    bench.ok(&["report", "hostile"]);
    let page = read(&bench.path("hostile/report/report.html"));
    assert!(!page.contains("<script>alert"));
}

#[test]
fn the_study_reported() {
    let Some(published) = blemish_testkit::data("published/results.csv.gz") else {
        return;
    };
    let bench = Bench::new();
    let published = published.display().to_string();
    bench.ok(&["import-published", &published, "--out", "study"]);
    bench.ok(&["report", "study", "-o", "report"]);
    let page = read(&bench.path("report/report.html"));
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
    // Found by itself: a kernel that tells nothing apart, and what failed.
    assert!(
        page.contains("KernelDensity with kernel cosine: all 3328 experiments have an AUROC of exactly 0.5")
    );
    assert!(
        page.contains(
            "350 of 364 experiments of LocalOutlierFactor on resnet50 layer1 with augmentation failed"
        ) || page.contains("350 of 364"),
        "the failures are not named"
    );
    // The thirteen best, as the study prints them.
    let table = read(&bench.path("report/tables/table6_best.md"));
    for (object, auroc) in [
        ("bottle", "1.000"),
        ("cable", "0.942"),
        ("capsule", "0.917"),
        ("carpet", "0.945"),
        ("grid", "0.962"),
        ("hazelnut", "0.993"),
        ("leather", "0.992"),
        ("metal_nut", "0.935"),
        ("pill", "0.945"),
        ("tile", "1.000"),
        ("transistor", "0.947"),
        ("wood", "0.998"),
        ("zipper", "0.975"),
    ] {
        assert!(
            table.contains(&format!("| {object} | {auroc} |")),
            "{object} {auroc}\n{table}"
        );
    }
}

/// A Chromium to look with; the place is said where there is none.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: no chromium on the PATH");
    }
    found
}

/// What is asked of the page from inside; each line of the answer is a fault, the last is a count of checks.
const ASK: &str = include_str!("report_ask.js");

fn look(page: &Path, width: u32, scratch: &Path) -> Option<String> {
    let chromium = chromium()?;
    let html = read(page);
    let early = "<script>window.faults=[];addEventListener('error',e=>faults.push('error: '+e.message));\
                 addEventListener('securitypolicyviolation',e=>faults.push('refused: '+e.blockedURI));\
                 console.error=(...a)=>faults.push('console: '+a.join(' '))</script>";
    let asked = html.replacen("<title>", &format!("{early}<title>"), 1).replacen(
        "</body>",
        &format!("<script>{ASK}</script></body>"),
        1,
    );
    let copy = scratch.join(format!("asked-{width}.html"));
    std::fs::write(&copy, asked).unwrap();
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=20000",
        ])
        .arg(format!("--user-data-dir={}", scratch.join("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", copy.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let answer = dom
        .split("BEGIN\n")
        .nth(1)
        .and_then(|rest| rest.split(" END").next());
    let answer = answer.unwrap_or_else(|| {
        panic!(
            "the page does not answer\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    Some(answer.to_owned())
}

#[test]
fn the_page_in_a_browser() {
    let bench = reported();
    for width in [1280, 500] {
        let Some(answer) = look(&bench.path("report/report.html"), width, &bench.path("")) else {
            return;
        };
        let lines: Vec<&str> = answer.lines().filter(|l| !l.is_empty()).collect();
        assert_eq!(lines.len(), 1, "at {width}: {answer}");
        let checks: usize = lines[0].trim_end_matches(" checks").parse().unwrap();
        assert!(checks > 40, "{answer}");
    }
}
