//! `blemish fit` and `blemish score`, from the outside.

use crate::common::Bench;

fn fit<'a>(data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "fit",
        data,
        "-o",
        out,
        "--initialization",
        "random",
        "--size",
        "48",
        "--layers",
        "layer1,layer2",
        "--bank",
        "64",
        "--candidates",
        "300",
        "--method",
        "memory-bank",
    ];
    args.extend(more);
    args
}

#[test]
fn a_folder_becomes_a_model_that_scores() {
    let bench = Bench::with_data();
    let text = bench.ok(&fit("data/washer", "washer.blemish", &[]));
    assert!(text.contains("threshold") && text.contains("too few"), "{text}");
    let table = bench.ok(&["score", "washer.blemish", "data/washer/test"]);
    assert!(
        table.contains("p-value") && table.contains("test/good/000.png"),
        "{table}"
    );

    let json = bench.ok(&["score", "washer.blemish", "data/washer/test", "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let csv = bench.ok(&["score", "washer.blemish", "data/washer/test", "--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        assert_eq!(row["image"], record[0]);
        // To the last bit.
        assert_eq!(row["score"].as_f64().unwrap(), record[1].parse::<f64>().unwrap());
        assert_eq!(row["verdict"], record[3]);
    }
}

#[test]
fn threads_and_a_second_fit_change_no_byte() {
    let bench = Bench::with_data();
    bench.ok(&fit("data/weave/train/good", "one.blemish", &["--threads", "1"]));
    bench.ok(&fit("data/weave/train/good", "two.blemish", &["--threads", "2"]));
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    assert_eq!(read("one.blemish"), read("two.blemish"));
    let score = |model, threads| {
        bench.ok(&[
            "score",
            model,
            "data/weave/test",
            "--format",
            "csv",
            "--threads",
            threads,
        ])
    };
    assert_eq!(score("one.blemish", "1"), score("two.blemish", "2"));
    // With the weights inside, the file is larger and says the same.
    bench.ok(&fit(
        "data/weave/train/good",
        "whole.blemish",
        &["--embed-weights"],
    ));
    assert!(read("whole.blemish").len() > read("one.blemish").len() + 1_000_000);
    assert_eq!(score("whole.blemish", "2"), score("one.blemish", "2"));
}

#[test]
fn a_corrupt_image_is_a_row_and_the_exit_code_says_so() {
    let bench = Bench::with_data();
    bench.ok(&fit("data/washer", "m.blemish", &[]));
    std::fs::write(bench.path("data/washer/test/good/a, b.png"), "no image").unwrap();
    let output = bench.run(&["score", "m.blemish", "data/washer/test/good", "--format", "csv"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let broken: Vec<_> = records.iter().filter(|r| !r[4].is_empty()).collect();
    assert_eq!(broken.len(), 1);
    assert!(broken[0][0].ends_with("a, b.png") && broken[0][1].is_empty());
    assert!(records.len() > 1);
    let json = bench
        .run(&["score", "m.blemish", "data/washer/test/good", "--format", "json"])
        .stdout;
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    assert_eq!(rows.iter().filter(|r| r.get("error").is_some()).count(), 1);
}

#[test]
fn maps_are_written_where_the_images_lie() {
    let bench = Bench::with_data();
    bench.ok(&fit("data/washer", "m.blemish", &[]));
    bench.ok(&["score", "m.blemish", "data/washer/test", "--maps", "maps"]);
    let map = bench.path("maps/good/000.png");
    let (map, _) = blemish::images::read_map(&map).unwrap();
    assert_eq!(map.dim(), (64, 64));
    bench.ok(&[
        "score",
        "m.blemish",
        "data/washer/test",
        "--maps",
        "over",
        "--overlay",
    ]);
    let picture = blemish::images::load_rgb(&bench.path("over/good/000.png")).unwrap();
    assert_eq!(picture.dimensions(), (64, 64));
    // Two files of one name do not overwrite each other.
    let one = "data/washer/test/good/000.png";
    bench.ok(&["score", "m.blemish", one, one, "--maps", "twice"]);
    assert!(bench.path("twice/000.png").is_file() && bench.path("twice/000-2.png").is_file());
    bench.ok(&fit("data/washer", "lof.blemish", &["--seed", "1"])
        .iter()
        .map(|a| if *a == "memory-bank" { "knn" } else { *a })
        .collect::<Vec<_>>());
    let text = bench.fails(1, &["score", "lof.blemish", one, "--maps", "none"]);
    assert!(text.contains("no maps"), "{text}");
}

#[test]
fn what_is_there_is_not_written_over() {
    let bench = Bench::with_data();
    let image = bench.path("data/washer/train/good/000.png");
    let before = std::fs::read(&image).unwrap();
    let text = bench.fails(1, &fit("data/washer", "data/washer/train/good/000.png", &[]));
    assert!(text.contains("no model of blemish"), "{text}");
    std::fs::write(bench.path("notes.txt"), "mine").unwrap();
    let text = bench.fails(1, &fit("data/washer", "notes.txt", &[]));
    assert!(text.contains("no model of blemish"), "{text}");
    // A broken test image costs its row, not the model.
    let broken = bench.path("data/washer/test/good/000.png");
    std::fs::write(&broken, "no image").unwrap();
    bench.ok(&fit("data/washer", "m.blemish", &[]));
    // A model may be made again.
    bench.ok(&fit("data/washer", "m.blemish", &[]));
    std::fs::copy(&image, &broken).unwrap();

    let folder = "data/washer/train/good";
    let text = bench.fails(1, &["score", "m.blemish", folder, "--maps", folder]);
    assert!(text.contains("written over an image"), "{text}");
    assert_eq!(std::fs::read(&image).unwrap(), before);
    let csv = bench.ok(&["score", "m.blemish", folder, "--maps", "maps", "--format", "csv"]);
    assert!(
        csv.starts_with("image,score,p_value,verdict,error,map\n"),
        "{csv}"
    );
    assert!(csv.contains(",maps/000.png\n"), "{csv}");
    let json = bench.ok(&["score", "m.blemish", folder, "--maps", "maps", "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["map"], "maps/000.png");
}

#[test]
fn mistakes_are_named() {
    let bench = Bench::with_data();
    let text = bench.fails(1, &fit("data", "m.blemish", &[]));
    assert!(
        text.contains("several objects") && text.contains("washer"),
        "{text}"
    );
    let text = bench.fails(1, &fit("nowhere", "m.blemish", &[]));
    assert!(text.contains("no such folder"), "{text}");
    let text = bench.fails(1, &fit("data/washer", "no/folder/m.blemish", &[]));
    assert!(text.contains("m.blemish"), "{text}");
    let text = bench.fails(1, &fit("data/washer", "m.blemish", &["--memory", "10M"]));
    assert!(text.contains("--memory"), "{text}");
    bench.fails(2, &fit("data/washer", "m.blemish", &["--memory", "much"]));
    bench.fails(2, &fit("data/washer", "m.blemish", &["--false-reject-rate", "0"]));
    let text = bench.fails(2, &["fit", "data/washer", "-o", "m.blemish", "--method", "magic"]);
    assert!(text.contains("there are auto, memory-bank"), "{text}");
    // Wrong usage, whatever it takes to see it.
    for (wrong, expected) in [
        (&["--layers", "layer9"][..], "layer9"),
        (&["--size", "0"], "32"),
        (&["--size", "4096"], "32 to 2048"),
        (&["--bank", "0"], "2 to 50000000"),
        (&["--candidates", "1"], "2 to 50000000"),
        (&["--tile", "100"], "96 or 128"),
        (&["--tile", "0"], "64"),
        (&["--tile-overlap", "32"], "--tile"),
        (&["--tile", "64", "--tile-overlap", "64"], "0 to 32"),
        (&["--tile", "64", "--method", "knn"], "no use for tiles"),
    ] {
        let mut args = vec![
            "fit",
            "data/washer",
            "-o",
            "m.blemish",
            "--initialization",
            "random",
        ];
        args.extend(wrong);
        let text = bench.fails(2, &args);
        assert!(text.contains(expected), "{wrong:?}: {text}");
    }
    assert!(!bench.path("m.blemish").exists());
    std::fs::write(bench.path("x.blemish"), "no model").unwrap();
    let text = bench.fails(1, &["score", "x.blemish", "data/washer/test"]);
    assert!(text.contains("no model file"), "{text}");
    let text = bench.fails(1, &["score", "x.blemish", "nowhere.png"]);
    assert!(text.contains("nowhere.png"), "{text}");
}

#[test]
fn tiles_give_the_same_bytes_from_the_program_and_the_library() {
    use blemish::backbones::Initialization;
    use blemish::inspector::{FitConfig, Inspector, Method, Samples, Tiling};
    let bench = Bench::with_data();
    let tiles = ["--tile", "64", "--tile-overlap", "16", "--embed-weights"];
    let mut args = fit("data/washer", "m.blemish", &tiles);
    args[7] = "128";
    bench.ok(&args);
    let config = FitConfig {
        method: Method::MemoryBank,
        initialization: Some(Initialization::Random),
        layers: Some(vec!["layer1".into(), "layer2".into()]),
        size: Some(128),
        bank: Some(64),
        candidates: Some(300),
        tiling: Some(Tiling {
            size: 64,
            overlap: 16,
        }),
        ..FitConfig::new()
    };
    let samples = Samples::open(&bench.path("data/washer")).unwrap();
    let inspector = Inspector::fit(&samples, &config, &|_| {}).unwrap();
    let written = std::fs::read(bench.path("m.blemish")).unwrap();
    assert!(
        written == inspector.to_bytes(true).unwrap(),
        "the model files differ"
    );
    let csv = bench.ok(&["score", "m.blemish", "data/washer/test", "--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    for record in reader.records() {
        let record = record.unwrap();
        let image = blemish::images::load_rgb(&bench.path(&record[0])).unwrap();
        let score = inspector.score(&image).unwrap().score;
        assert_eq!(record[1].parse::<f64>().unwrap(), score);
    }
    // The choice tries methods that have maps alone.
    let mut args: Vec<&str> = fit("data/washer/train/good", "auto.blemish", &tiles);
    args[7] = "128";
    let args: Vec<&str> = args
        .iter()
        .map(|a| if *a == "memory-bank" { "auto" } else { *a })
        .collect();
    bench.ok(&["synth", "more", "--size", "64", "--train", "8"]);
    let args: Vec<&str> = args
        .iter()
        .map(|a| {
            if *a == "data/washer/train/good" {
                "more/washer"
            } else {
                *a
            }
        })
        .collect();
    let text = String::from_utf8(bench.run(&args).stderr).unwrap();
    assert!(text.contains("padim on") && !text.contains("knn"), "{text}");
}

/// Waits until `done`, at most for a minute.
#[cfg(unix)]
fn wait(done: impl Fn() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it takes too long");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_scoring_with_whole_output_and_a_fit_without_a_model() {
    use std::process::Stdio;
    let bench = Bench::with_data();
    bench.ok(&fit("data/washer", "m.blemish", &[]));
    // Enough of them to be in the middle.
    let image = bench.path("data/washer/test/good/000.png");
    std::fs::create_dir(bench.path("many")).unwrap();
    for i in 0..3000 {
        std::fs::hard_link(&image, bench.path(&format!("many/{i:04}.png"))).unwrap();
    }
    let out = bench.path("rows.json");
    let mut child = bench
        .command(&["score", "m.blemish", "many", "--format", "json"])
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait(|| std::fs::metadata(&out).unwrap().len() > 500);
    let kill = |child: &std::process::Child, signal: &str| {
        let id = child.id().to_string();
        let killed = std::process::Command::new("kill").args([signal, &id]).status();
        assert!(killed.unwrap().success());
    };
    kill(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert!(!rows.is_empty() && rows.len() < 3000, "{}", rows.len());

    let args = fit("many", "many.blemish", &[]);
    let log = bench.path("log");
    let mut child = bench
        .command(&args)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    wait(|| std::fs::read_to_string(&log).unwrap().contains("3000 images as"));
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert!(
        std::fs::read_to_string(&log)
            .unwrap()
            .contains("no model was written")
    );
    let left: Vec<String> = std::fs::read_dir(bench.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("many.blemish"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
