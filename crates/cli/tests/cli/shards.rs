//! A plan computed by several processes that share a folder.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use blemish::lab::{Plan, Row, Store};

use crate::common::{Bench, copy_folder};

/// How many tasks a study of [`planned`] has, each with four feature sets.
pub(crate) const TASKS: usize = 9;

const OBJECTS: &str = "bottle,cable,capsule,carpet,grid,hazelnut,leather,metal_nut,pill";

/// A small study of nine tasks, planned in `run`.
pub(crate) fn planned() -> Bench {
    let bench = Bench::new();
    write_images(&bench);
    plan(&bench, "run", &[]);
    bench
}

/// Plans the study in `run`, or another one like it.
fn plan(bench: &Bench, run: &str, more: &[&str]) {
    let mut plan = vec!["plan", "data", "--out", run, "--objects", OBJECTS];
    plan.extend(["--initializations", "random", "--layers", "layer1,layer2"]);
    plan.extend(more);
    bench.ok(&plan);
}

fn write_images(bench: &Bench) {
    let images = [
        "--size",
        "32",
        "--train",
        "3",
        "--test-good",
        "2",
        "--per-defect",
        "1",
    ];
    let mut synth = vec!["synth", "data", "--mvtec-names"];
    synth.extend(images);
    bench.ok(&synth);
}

/// Computes the plan by one process, in `reference`.
pub(crate) fn reference(bench: &Bench) {
    copy_folder(&bench.path("run"), &bench.path("reference"));
    bench.ok(&["run", "reference"]);
}

/// What a run has to say but for times: its export, byte by byte, and all scores.
pub(crate) fn results(bench: &Bench, run: &str) -> (String, Vec<String>, Vec<Vec<u64>>) {
    let plan = Plan::open(&bench.path(run)).unwrap();
    let store = Store::open(&bench.path(run)).unwrap();
    let timeless = |row: Row| {
        let row = Row {
            train_time_s: None,
            test_time_s: None,
            ..row
        };
        format!("{row:?}")
    };
    let scores = plan.experiments.iter().map(|e| {
        let scores = store.scores(&e.key).unwrap().unwrap_or_default();
        scores.iter().map(|s| s.to_bits()).collect()
    });
    (
        bench.timeless(run),
        store.rows().unwrap().into_iter().map(timeless).collect(),
        scores.collect(),
    )
}

pub(crate) fn assert_same_as_reference(bench: &Bench) {
    let (export, rows, scores) = results(bench, "run");
    let (wanted_export, wanted_rows, wanted_scores) = results(bench, "reference");
    assert!(export == wanted_export, "the exports differ");
    assert_eq!(rows, wanted_rows);
    assert!(scores.iter().all(|s| !s.is_empty()), "scores are missing");
    assert!(scores == wanted_scores, "the scores differ");
}

/// Tasks without results.
pub(crate) fn missing(bench: &Bench) -> usize {
    bench.ok(&["missing", "run"]).lines().count()
}

/// Removes the store, so that it is made anew.
fn forget_store(bench: &Bench) {
    std::fs::remove_file(bench.path("run/store.sqlite")).unwrap();
}

fn spawn(bench: &Bench, args: &[&str]) -> Child {
    bench
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn shards_killed_at_random_merge_into_what_one_process_gives() {
    let bench = planned();
    reference(&bench);
    assert_eq!(missing(&bench), TASKS);

    // The last one does what the others do, so that results are published twice.
    let commands: [&[&str]; 4] = [
        &["run", "run", "--shard", "0/3", "--threads", "1"],
        &["run", "run", "--shard", "1/3", "--threads", "2"],
        &["run", "run", "--shard", "2/3", "--threads", "1"],
        &["run", "run", "--task", "0-3,6", "--threads", "3"],
    ];
    let mut random = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("random moments from {random}");
    let mut next = move |below: u64| {
        // Knuth's generator; the high bits are the good ones.
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    let mut children: Vec<Child> = commands.iter().map(|c| spawn(&bench, c)).collect();
    let mut killed = 0;
    let mut left = TASKS;
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(20 + next(400)));
        let victim = next(commands.len() as u64) as usize;
        if children[victim].try_wait().unwrap().is_none() {
            children[victim].kill().unwrap(); // SIGKILL
            killed += 1;
        }
        children[victim].wait().unwrap();
        let now = missing(&bench);
        assert!(
            now <= left,
            "{now} tasks lack results after {left}: something was lost"
        );
        left = now;
        children[victim] = spawn(&bench, commands[victim]);
    }
    assert!(killed >= 3, "only {killed} processes were killed");
    for (mut child, command) in children.into_iter().zip(commands) {
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{command:?}");
    }
    assert_eq!(missing(&bench), 0);

    bench.ok(&["merge", "run"]);
    assert_same_as_reference(&bench);
    // Twice is once: not even a time changes.
    let export = bench.ok(&["export", "run", "-o", "-"]);
    let store = std::fs::read(bench.path("run/store.sqlite")).unwrap();
    bench.ok(&["merge", "run"]);
    assert_eq!(export, bench.ok(&["export", "run", "-o", "-"]));
    assert!(store == std::fs::read(bench.path("run/store.sqlite")).unwrap());
    // And so is merging anew.
    forget_store(&bench);
    bench.ok(&["merge", "run"]);
    assert_eq!(export, bench.ok(&["export", "run", "-o", "-"]));
    // Nothing is left to run.
    bench.ok(&["run", "run", "--task", "0-8"]);
}

#[test]
fn merging_in_parts_and_exit_codes() {
    let bench = planned();
    let json: serde_json::Value =
        serde_json::from_str(&bench.ok(&["missing", "run", "--format", "json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), TASKS);
    assert_eq!(json[3]["missing"], 4);
    bench.ok(&["run", "run", "--task", "2,4-5"]);
    assert_eq!(bench.ok(&["missing", "run", "--format", "ranges"]), "0-1,3,6-8\n");
    let text = bench.fails(75, &["merge", "run"]);
    assert!(text.contains("tasks without results: 0-1,3,6-8"), "{text}");
    assert_eq!(bench.timeless("run").matches("|done|").count(), 3 * 4 * 71);

    let text = bench.fails(65, &["run", "run", "--task", "9"]);
    assert!(text.contains("no task 9"), "{text}");
    bench.fails(65, &["run", "data", "--task", "0"]);
    bench.fails(2, &["run", "run", "--task", "x"]);
    bench.fails(2, &["run", "run", "--shard", "3/3"]);
    bench.fails(2, &["run", "run", "--shard", "0/3", "--task", "1"]);
    bench.fails(1, &["missing", "nowhere"]);

    // What was computed needs no image: neither where the data is gone, nor where it has grown.
    let (data, elsewhere) = (bench.path("data"), bench.path("elsewhere"));
    std::fs::rename(&data, &elsewhere).unwrap();
    assert_eq!(bench.ok(&["missing", "run", "--format", "ranges"]), "0-1,3,6-8\n");
    bench.fails(75, &["merge", "run"]);
    bench.ok(&["gc", "run"]);
    let text = bench.fails(75, &["run", "run", "--task", "0"]);
    assert!(text.contains("there is no such folder"), "{text}");
    std::fs::rename(&elsewhere, &data).unwrap();
    let good = data.join("bottle/train/good");
    std::fs::copy(good.join("000.png"), good.join("999.png")).unwrap();
    assert_eq!(bench.ok(&["missing", "run", "--format", "ranges"]), "0-1,3,6-8\n");
    bench.fails(65, &["run", "run", "--task", "0"]);
    std::fs::remove_file(good.join("999.png")).unwrap();

    // A file that cannot be reached may be there another time: nothing is published.
    #[cfg(unix)]
    {
        let image = bench.path("data/carpet/train/good/001.png");
        let aside = bench.path("aside.png");
        std::fs::rename(&image, &aside).unwrap();
        std::os::unix::fs::symlink(bench.path("not/mounted.png"), &image).unwrap();
        let carpet = "3";
        let text = bench.fails(75, &["run", "run", "--task", carpet]);
        assert!(
            text.contains("worth another try") && text.contains("001.png"),
            "{text}"
        );
        assert_eq!(bench.ok(&["missing", "run", "--format", "ranges"]), "0-1,3,6-8\n");
        std::fs::remove_file(&image).unwrap();
        std::fs::rename(&aside, &image).unwrap();
    }

    // An image that is no image fails its object for good, as it does on one machine.
    let image = bench.path("data/cable/train/good/001.png");
    let bytes = std::fs::read(&image).unwrap();
    std::fs::write(&image, &bytes[..100]).unwrap();
    let cable = "1";
    let text = bench.fails(65, &["run", "run", "--task", cable]);
    assert!(text.contains("284 experiments failed"), "{text}");
    assert_eq!(bench.ok(&["missing", "run", "--format", "ranges"]), "0,3,6-8\n");
    let text = bench.fails(75, &["merge", "run"]);
    assert!(text.contains("284 failed"), "{text}");
    // It is not tried again unasked, but on demand; then the failure gives way.
    std::fs::write(&image, &bytes).unwrap();
    bench.fails(65, &["run", "run", "--task", cable]);
    let all = bench.ok(&["missing", "run", "--format", "ranges", "--failed"]);
    assert_eq!(all, "0-1,3,6-8\n");
    bench.ok(&["run", "run", "--task", cable, "--retry-failed"]);
    let text = bench.fails(75, &["merge", "run"]);
    assert!(
        text.contains("284 results merged") && text.contains(" 0 failed"),
        "{text}"
    );
}

#[test]
fn damaged_and_foreign_parts() {
    let bench = planned();
    bench.ok(&["run", "run", "--task", "0-1"]);
    let folder = std::fs::read_dir(bench.path("run/parts")).unwrap();
    let folder = folder.map(|e| e.unwrap().path()).next().unwrap();
    let mut parts: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "part"))
        .collect();
    parts.sort();
    assert_eq!(parts.len(), 8);
    bench.fails(75, &["merge", "run"]);
    let undisturbed = results(&bench, "run");
    // What is stored would need no part.
    forget_store(&bench);

    let whole = std::fs::read(&parts[0]).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let mut longer = whole.clone();
    longer.extend(b"more");
    let mut newer = whole.clone();
    newer[8] = 9;
    let damage: [(&[u8], &str); 6] = [
        (b"", "cut short: 0 bytes"),
        (&whole[..whole.len() - 7], "cut short, or grown"),
        (&flipped, "checksum is wrong"),
        (&longer, "cut short, or grown"),
        (&newer, "its format is 9"),
        (&std::fs::read(&parts[1]).unwrap(), "of another feature set"),
    ];
    for (bytes, reason) in damage {
        std::fs::write(&parts[0], bytes).unwrap();
        let output = bench.run(&["missing", "run"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = parts[0].file_name().unwrap().to_str().unwrap();
        assert!(text.contains(reason) && text.contains(name), "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), TASKS - 1);
        let text = bench.fails(75, &["merge", "run"]);
        assert!(text.contains(reason), "{text}");
    }
    // Whoever computes it again puts a good one in its place.
    bench.ok(&["run", "run", "--task", "0-1"]);
    assert_eq!(missing(&bench), TASKS - 2);
    forget_store(&bench);
    bench.fails(75, &["merge", "run"]);
    let again = results(&bench, "run");
    assert!(again == undisturbed);

    // Results of another plan are refused, and nothing is merged: here of the same features with fewer detectors.
    let mut other = vec!["plan", "data", "--out", "other", "--initializations", "random"];
    other.extend(["--layers", "layer1,layer2", "--detectors", "LocalOutlierFactor"]);
    bench.ok(&other);
    bench.ok(&["run", "other", "--task", "0"]);
    let theirs = std::fs::read_dir(bench.path("other/parts")).unwrap();
    let theirs = theirs.map(|e| e.unwrap().path()).next().unwrap();
    for entry in std::fs::read_dir(&theirs).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    forget_store(&bench);
    let text = bench.fails(65, &["merge", "run"]);
    assert!(text.contains("results of another plan"), "{text}");
    assert_eq!(bench.timeless("run").matches("|pending|").count(), TASKS * 4 * 71);
    bench.fails(65, &["run", "run", "--task", "0"]);
}

/// What `blemish status` says.
fn status(bench: &Bench, run: &str) -> serde_json::Value {
    serde_json::from_str(&bench.ok(&["status", run, "--format", "json"])).unwrap()
}

/// Runs what must succeed; returns standard error.
fn notes(bench: &Bench, args: &[&str]) -> String {
    let output = bench.run(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

#[test]
fn readers_leave_nothing_beside_the_store() {
    let bench = planned();
    for args in [["status", "run"], ["results", "run"], ["missing", "run"]] {
        // `missing` tells by its exit code.
        bench.run(&args);
        for file in ["store.sqlite-wal", "store.sqlite-shm"] {
            assert!(!bench.path("run").join(file).exists(), "{args:?} leaves {file}");
        }
    }
    // An empty store is told apart from no run.
    std::fs::write(bench.path("run/store.sqlite"), "").unwrap();
    let error = bench.fails(1, &["results", "run"]);
    assert!(
        error.contains("holds a plan") && error.contains("blemish run run"),
        "{error}"
    );
}

#[test]
fn what_others_published_is_taken_over() {
    let bench = planned();
    reference(&bench);
    // A damaged image, for a while: its task fails.
    let image = bench.path("data/cable/train/good/001.png");
    let bytes = std::fs::read(&image).unwrap();
    std::fs::write(&image, &bytes[..100]).unwrap();
    bench.fails(65, &["run", "run", "--task", "0-2"]);
    std::fs::write(&image, bytes).unwrap();
    let text = bench.ok(&["status", "run"]);
    let hints = [
        "568 of 2556 experiments done, 284 failed",
        "852 of these are published and not merged yet: `blemish merge run`",
        "`blemish run run` does what is left",
    ];
    assert!(hints.iter().all(|hint| text.contains(hint)), "{text}");
    let found = status(&bench, "run");
    assert_eq!(
        (&found["unmerged"], &found["tasks"][1]["failed"]),
        (&852.into(), &284.into())
    );
    let text = notes(&bench, &["export", "run", "-o", "-"]);
    assert!(text.contains("852 results are not merged yet"), "{text}");

    // Whoever goes on takes results over, and failures unless they are to be tried again.
    let text = notes(&bench, &["run", "run", "--retry-failed"]);
    assert!(
        text.contains("852 results of other processes taken over"),
        "{text}"
    );
    assert!(text.contains("1988 experiments computed"), "{text}");
    assert_same_as_reference(&bench);
    let found = status(&bench, "run");
    assert_eq!((&found["unmerged"], &found["failed"]), (&0.into(), &0.into()));
    assert_eq!(missing(&bench), 0);
    assert_eq!(bench.ok(&["missing", "run", "--failed"]), "");
    // The failures that were published are overruled: merging does not bring them back.
    let text = notes(&bench, &["merge", "run"]);
    assert!(text.contains("0 results merged: 2556 of 2556"), "{text}");
    assert_same_as_reference(&bench);
}

#[test]
fn what_is_stored_is_not_computed_by_others() {
    let bench = planned();
    reference(&bench);
    assert_eq!(bench.ok(&["missing", "reference"]), "");
    let text = notes(&bench, &["run", "reference", "--shard", "0/1"]);
    assert!(
        text.contains("36 feature sets: 36 had results, 0 published"),
        "{text}"
    );

    // A part of each feature set: of a smaller plan, published by others, then extended.
    let neighbors = ["--no-calibration", "--detectors", "LocalOutlierFactor"];
    plan(&bench, "small", &neighbors);
    bench.ok(&["run", "small", "--task", "0-7"]);
    plan(&bench, "small", &["--no-calibration", "--extend"]);
    let found = status(&bench, "small");
    assert_eq!(
        (&found["done"], &found["unmerged"]),
        (&(8 * 4 * 14).into(), &0.into())
    );
    assert_eq!(bench.ok(&["missing", "small"]).lines().count(), TASKS);
    // Two tasks by a process of its own, with what is there of them, and the others by whoever goes on.
    bench.ok(&["run", "small", "--task", "0,8"]);
    let found = status(&bench, "small");
    assert_eq!(found["unmerged"], 4 * (71 - 14) + 4 * 71);
    bench.ok(&["run", "small"]);
    let (export, rows, scores) = results(&bench, "small");
    let (wanted_export, wanted_rows, wanted_scores) = results(&bench, "reference");
    assert!(export == wanted_export && rows == wanted_rows && scores == wanted_scores);
    let text = notes(&bench, &["merge", "small"]);
    assert!(
        text.contains("0 results merged") && !text.contains("difference"),
        "{text}"
    );
}

#[test]
#[cfg(unix)]
fn a_shard_that_is_told_to_end_keeps_what_is_finished() {
    let bench = planned();
    let mut child = spawn(&bench, &["run", "run", "--shard", "0/1", "--threads", "1"]);
    let start = Instant::now();
    while missing(&bench) > TASKS - 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "no progress");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = child.id().to_string();
    let told = std::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(told.unwrap().success());
    let status = child.wait().unwrap();
    let left = missing(&bench);
    // On a fast machine it may have been done before.
    if left > 0 {
        assert_eq!(status.code(), Some(75));
    }
    assert!(left <= TASKS - 2);
    bench.ok(&["run", "run", "--shard", "0/1"]);
    assert_eq!(missing(&bench), 0);
}
