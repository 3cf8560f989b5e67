//! What the program says, as snapshots; times and other floats are blanked.

use crate::common::{Bench, quick};

#[test]
fn help_texts() {
    let bench = Bench::new();
    for command in [
        vec![],
        vec!["grid"],
        vec!["plan"],
        vec!["run"],
        vec!["missing"],
        vec!["merge"],
        vec!["submit", "slurm"],
        vec!["results"],
        vec!["export"],
        vec!["report"],
        vec!["import-published"],
        vec!["compare"],
        vec!["demo"],
        vec!["synth"],
        vec!["check"],
        vec!["eval"],
        vec!["weights"],
        vec!["weights", "list"],
        vec!["weights", "import"],
        vec!["weights", "fetch"],
    ] {
        let mut args = command.clone();
        args.push("--help");
        let name = match command[..] {
            [] => "help_blemish".to_owned(),
            _ => format!("help_{}", command.join("_")),
        };
        insta::assert_snapshot!(name, bench.ok(&args));
    }
}

#[test]
fn the_columns_of_an_export() {
    let bench = Bench::with_data();
    let mut args = quick("run");
    args.extend(["--objects", "washer", "--detectors", "EllipticEnvelope"]);
    bench.ok(&args);
    let csv = bench.ok(&["export", "run", "-o", "-"]);
    assert_eq!(
        csv.lines().next().unwrap(),
        "object,augmented,architecture,initialization,layer,train_samples,dimensions,model,hyperparameter,auroc,\
         train_time_s,test_time_s,status,error"
    );
    let json: serde_json::Value =
        serde_json::from_str(&bench.ok(&["export", "run", "--format", "json", "-o", "-"])).unwrap();
    let first = &json[0];
    assert_eq!(first["object"], "washer");
    assert_eq!(first["augmented"], false);
    assert_eq!(first["train_samples"], 6);
    // More components than images: all that there are.
    assert_eq!(first["dimensions"], 6);
    assert_eq!(first["hyperparameter"]["dim_reduction_components"], 32);
    assert_eq!(json.as_array().unwrap().len(), 2 * 2 * 4);
}

#[test]
fn a_pipe_that_closes_is_no_error() {
    use std::process::Stdio;
    let bench = Bench::with_data();
    bench.ok(&quick("run"));
    let mut child = bench
        .command(&["export", "run", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
