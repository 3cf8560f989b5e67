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
    bench.fails(2, &["fit", "data/washer", "-o", "m.blemish", "--method", "magic"]);
    assert!(!bench.path("m.blemish").exists());
    std::fs::write(bench.path("x.blemish"), "no model").unwrap();
    let text = bench.fails(1, &["score", "x.blemish", "data/washer/test"]);
    assert!(text.contains("no model file"), "{text}");
    let text = bench.fails(1, &["score", "x.blemish", "nowhere.png"]);
    assert!(text.contains("nowhere.png"), "{text}");
}
