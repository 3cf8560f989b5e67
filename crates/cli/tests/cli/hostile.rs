//! Wrong input, each with its clear error: what is wrong, where, and what to do.

use std::fs;

use crate::common::{Bench, copy_folder, quick};

/// Arguments for a selection that is cheap even if it should run.
fn grid<'a>(data: &'a str, out: &'a str) -> Vec<&'a str> {
    vec![
        "grid",
        data,
        "--out",
        out,
        "--initializations",
        "random",
        "--layers",
        "layer4",
        "--augmented",
        "false",
    ]
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let bench = Bench::new();
    bench.fails(2, &["grid"]);
    bench.fails(2, &["grid", "x", "--out", "y", "--augmented", "maybe"]);
    says(
        &bench.fails(2, &["grid", "x", "--out", "y", "--architectures", "resnet19"]),
        &["resnet19", "resnet18"],
    );
    says(
        &bench.fails(2, &["grid", "x", "--out", "y", "--detectors", "LOF"]),
        &["LOF", "LocalOutlierFactor"],
    );
    says(
        &bench.fails(2, &["grid", "x", "--out", "y", "--initializations", "imagenet"]),
        &["imagenet1k_v1"],
    );
    bench.fails(2, &["grid", "x", "--out", "y", "--threads", "0"]);
    bench.fails(2, &["compare", "only-one"]);
    says(
        &bench.fails(2, &["grid", "x", "--out", "y", "--seed", "-1"]),
        &["'-1' for '--seed", "whole number from 0"],
    );
    bench.fails(2, &["export", "run", "--format", "xlsx", "-o", "x"]);
}

#[test]
fn no_such_folder() {
    let bench = Bench::new();
    says(&bench.fails(1, &grid("nowhere", "run")), &["nowhere"]);
    assert!(
        !bench.path("run").exists(),
        "nothing is made for a run that cannot be"
    );
    says(&bench.fails(1, &["results", "nowhere"]), &["no run in nowhere"]);
    says(
        &bench.fails(1, &["export", "nowhere", "-o", "x.csv"]),
        &["no run in nowhere"],
    );
}

#[test]
fn a_folder_without_train_good() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("data/part/test/good")).unwrap();
    says(&bench.fails(1, &grid("data", "run")), &["data", "train/good"]);
}

#[test]
fn test_images_of_one_kind_alone_are_found_before_anything_runs() {
    let bench = Bench::with_data();
    let good = bench.path("data/weave/test/good");
    fs::rename(&good, bench.path("aside")).unwrap();
    says(
        &bench.fails(1, &grid("data", "run")),
        &["weave", "no good test images", "--objects"],
    );
    assert!(!bench.path("run").exists());
    fs::rename(bench.path("aside"), &good).unwrap();
    for entry in fs::read_dir(bench.path("data/weave/test")).unwrap() {
        let folder = entry.unwrap().path();
        if folder != good {
            fs::remove_dir_all(folder).unwrap();
        }
    }
    let _ = fs::remove_dir_all(bench.path("data/weave/ground_truth"));
    says(
        &bench.fails(1, &grid("data", "run")),
        &["weave", "no defective test images"],
    );
}

#[test]
fn an_object_or_layer_that_is_not_there() {
    let bench = Bench::with_data();
    let mut args = grid("data", "run");
    args.extend(["--objects", "bottel"]);
    says(&bench.fails(1, &args), &["bottel", "weave", "washer"]);
    let mut args = quick("run");
    args.extend(["--augmented", "false"]);
    let args: Vec<&str> = args
        .into_iter()
        .map(|a| if a == "layer3,layer4" { "layer5" } else { a })
        .collect();
    says(&bench.fails(1, &args), &["layer5", "layer4"]);
}

#[test]
fn an_image_cut_off_in_the_middle() {
    let bench = Bench::with_data();
    let image = bench.path("data/weave/train/good/002.png");
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() / 2]).unwrap();
    says(&bench.fails(1, &grid("data", "run")), &["002.png"]);
    // Mended, the same command works.
    fs::write(&image, &bytes).unwrap();
    bench.ok(&grid("data", "run"));
}

#[test]
fn images_that_changed_since_the_run_was_made() {
    let bench = Bench::with_data();
    bench.ok(&grid("data", "run"));
    let good = bench.path("data/weave/test/good");
    fs::copy(good.join("000.png"), good.join("001.png")).unwrap();
    says(
        &bench.fails(1, &grid("data", "run")),
        &[
            "run holds a run of another configuration",
            "the images of weave (test/good/001.png has changed) have changed",
        ],
    );
}

#[test]
fn a_mask_without_its_image() {
    let bench = Bench::with_data();
    let masks = bench.path("data/weave/ground_truth");
    let defect = fs::read_dir(&masks).unwrap().next().unwrap().unwrap().path();
    let mask = fs::read_dir(&defect).unwrap().next().unwrap().unwrap().path();
    fs::copy(&mask, defect.join("999_mask.png")).unwrap();
    says(&bench.fails(1, &grid("data", "run")), &["999_mask.png"]);
}

#[test]
fn weights_missing_cut_off_or_incomplete() {
    let bench = Bench::with_data();
    let with = |weights: Option<&'static str>| {
        let mut args: Vec<&str> = grid("data", "run")
            .into_iter()
            .map(|a| if a == "random" { "imagenet1k_v1" } else { a })
            .collect();
        if let Some(folder) = weights {
            args.extend(["--weights", folder]);
        }
        args
    };
    says(
        &bench.fails(1, &with(None)),
        &["--weights FOLDER", "blemish weights fetch resnet18-imagenet1k_v1"],
    );
    says(&bench.fails(1, &with(Some("nowhere"))), &["nowhere"]);
    fs::create_dir(bench.path("w")).unwrap();
    says(
        &bench.fails(1, &with(Some("w"))),
        &["resnet18-imagenet1k_v1", "w"],
    );
    fs::write(
        bench.path("w/resnet18-imagenet1k_v1.safetensors"),
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
    )
    .unwrap();
    says(
        &bench.fails(1, &with(Some("w"))),
        &["resnet18-imagenet1k_v1.safetensors"],
    );

    let Some(real) = blemish_testkit::data("weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors")
    else {
        return;
    };
    let bytes = fs::read(real).unwrap();
    fs::write(
        bench.path("w/resnet18-imagenet1k_v1.safetensors"),
        &bytes[..bytes.len() - 1000],
    )
    .unwrap();
    says(
        &bench.fails(1, &with(Some("w"))),
        &["resnet18-imagenet1k_v1.safetensors"],
    );
    // Complete, but it ends at layer3.
    fs::write(bench.path("w/resnet18-imagenet1k_v1.safetensors"), &bytes).unwrap();
    says(&bench.fails(1, &with(Some("w"))), &["layer4", "layer3"]);
    assert!(!bench.path("run").exists());
}

#[test]
fn a_run_folder_of_another_configuration_or_of_something_else() {
    let bench = Bench::with_data();
    bench.ok(&grid("data", "run"));
    let mut other = grid("data", "run");
    other.extend(["--seed", "7"]);
    says(
        &bench.fails(1, &other),
        &[
            "run holds a run of another configuration",
            "seed: 0 there, 7 here",
        ],
    );
    let mut other = grid("data", "run");
    other.extend(["--resize", "paper"]);
    says(&bench.fails(1, &other), &["resize", "antialias", "paper"]);
    says(
        &bench.fails(1, &grid("data", "data")),
        &["data is not empty and holds no run"],
    );
    fs::write(bench.path("file"), "x").unwrap();
    says(
        &bench.fails(1, &grid("data", "file")),
        &["file: ", "give an --out folder"],
    );
    // A store that is none.
    fs::create_dir(bench.path("junk")).unwrap();
    fs::write(
        bench.path("junk/store.sqlite"),
        "this is no database, however long it may be",
    )
    .unwrap();
    says(&bench.fails(1, &grid("data", "junk")), &["store.sqlite"]);
    says(&bench.fails(1, &["results", "junk"]), &["store.sqlite"]);
}

#[test]
fn a_moved_data_folder_is_the_same_data() {
    let bench = Bench::with_data();
    bench.ok(&grid("data", "run"));
    copy_folder(&bench.path("data"), &bench.path("elsewhere/parts"));
    bench.ok(&grid("elsewhere/parts", "run"));
}

#[test]
fn exports_leave_devices_alone_and_say_where_they_failed() {
    let bench = Bench::with_data();
    bench.ok(&grid("data", "run"));
    bench.ok(&["export", "run", "-o", "results.csv"]);
    bench.ok(&["export", "run", "--format", "json", "-o", "results.json"]);
    says(
        &bench.fails(1, &["export", "run", "-o", "no/such/folder.csv"]),
        &["no/such/folder.csv", "there is no folder no/such"],
    );
    says(
        &bench.fails(1, &["export", "run", "-o", "data"]),
        &["data: this is a folder"],
    );
    if std::path::Path::new("/dev/full").exists() {
        says(
            &bench.fails(1, &["export", "run", "-o", "/dev/full"]),
            &["disk is full", "/dev/full"],
        );
        bench.ok(&["export", "run", "-o", "/dev/null"]);
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
    let text = fs::read_to_string(bench.path("results.csv")).unwrap();
    assert_eq!(text.lines().count(), 1 + 2 * 71);
    fs::write(bench.path("cut.csv"), &text[..text.len() / 2]).unwrap();
    says(
        &bench.fails(1, &["compare", "run", "cut.csv"]),
        &["cut.csv, line "],
    );
    fs::write(bench.path("other.csv"), "a,b\n1,2\n").unwrap();
    says(
        &bench.fails(1, &["compare", "run", "other.csv"]),
        &["other.csv, line 1", "no column `object`"],
    );
    fs::write(bench.path("noise.csv.gz"), "no gzip").unwrap();
    says(
        &bench.fails(1, &["compare", "run", "noise.csv.gz"]),
        &["noise.csv.gz"],
    );
    // A run beside its own export does not differ.
    let same = bench.ok(&["compare", "run", "results.csv"]);
    assert!(same.contains("142 rows in both tables"), "{same}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_on_a_read_only_disk_can_be_read() {
    use std::process::Command;
    let bench = Bench::with_data();
    // A name that means something in a URI.
    let (run, new) = ("disk/50% of #1?", "disk/new");
    fs::create_dir(bench.path("disk")).unwrap();
    let disk = bench.path("disk");
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&disk)
            .output()
    };
    if !mount("size=16m").is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: only root may mount a read-only disk");
        return;
    }
    let made = bench.run(&grid("data", run));
    let before = bench.run(&["export", run, "-o", "-"]);
    let read_only = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .status();
    let after = bench.run(&["export", run, "-o", "-"]);
    let again = bench.run(&grid("data", run));
    let other = bench.run(&grid("data", new));
    Command::new("umount").arg(&disk).status().unwrap();

    assert!(made.status.success() && read_only.is_ok_and(|s| s.success()));
    assert!(
        after.status.success(),
        "{}",
        String::from_utf8_lossy(&after.stderr)
    );
    assert!(!before.stdout.is_empty());
    assert_eq!(before.stdout, after.stdout);
    for failed in [again, other] {
        assert_eq!(failed.status.code(), Some(1));
        says(
            &String::from_utf8_lossy(&failed.stderr),
            &["disk/", "give an --out folder that can be written"],
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_nothing_that_was_stored() {
    use std::process::Command;
    let bench = Bench::with_data();
    let disk = bench.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |size: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(&disk)
            .output()
    };
    if !mount("size=400k").is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: only root may mount a small disk to fill");
        return;
    }
    let unmount = || Command::new("umount").arg(&disk).status();
    // Too small from the beginning: that is said before anything is computed.
    let small = bench.run(&quick("disk/small"));
    let resized = Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&disk)
        .status();
    // Filled by somebody else once there are some results.
    let args = quick("disk/run");
    let child = bench
        .command(&args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    let stored = || bench.run(&["export", "disk/run", "-o", "-"]).stdout;
    while !String::from_utf8_lossy(&stored()).contains(",done,") {
        assert!(start.elapsed().as_secs() < 120, "no progress");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    for block in [1 << 16, 1 << 12, 1] {
        while std::io::Write::write_all(&mut filler, &vec![1; block]).is_ok() {}
    }
    drop(filler);
    let full = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&full.stderr).into_owned();
    let before = bench.run(&["export", "disk/run", "-o", "-"]);
    fs::remove_file(disk.join("filler")).unwrap();
    let finished = bench.run(&args);
    let after = if finished.status.success() {
        bench.timeless("disk/run")
    } else {
        String::new()
    };
    unmount().unwrap();

    assert!(resized.is_ok_and(|s| s.success()));
    let text_of_small = String::from_utf8_lossy(&small.stderr).into_owned();
    assert_eq!(small.status.code(), Some(1));
    says(&text_of_small, &["disk"]);
    assert_eq!(full.status.code(), Some(1), "{text}");
    says(&text, &["disk is full", "repeat the same command"]);
    assert!(
        finished.status.success(),
        "{}",
        String::from_utf8_lossy(&finished.stderr)
    );
    let kept = String::from_utf8_lossy(&before.stdout)
        .lines()
        .filter(|l| l.contains(",done,"))
        .count();
    let resumed = String::from_utf8_lossy(&finished.stderr).into_owned();
    if kept > 0 {
        says(&resumed, &[&format!("resuming: {kept} of ")]);
    }
    bench.ok(&quick("undisturbed"));
    assert_eq!(bench.timeless("undisturbed"), after);
}
