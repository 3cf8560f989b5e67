//! The folder of weights: listed, filled, and used.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use blemish::backbones::{Architecture, Weights};

use crate::common::{Bench, quick};

/// Weights of ResNet-18's first layer in a file.
fn file(bench: &Bench, name: &str) {
    let weights = Weights::random_for(Architecture::Resnet18, 0, &["layer1"]).unwrap();
    weights.save(&bench.path(name)).unwrap();
}

#[test]
fn an_empty_folder_is_listed() {
    let bench = Bench::new();
    let text = bench.ok(&["weights", "list", "--weights", "w"]);
    insta::assert_snapshot!("weights_list", text);
    assert!(!bench.path("w").exists(), "a list makes no folder");
}

#[test]
fn imported_weights_are_listed_and_used() {
    let bench = Bench::with_data();
    file(&bench, "mine.pth");
    let args = ["weights", "import", "mine.pth", "--as", "resnet18-imagenet1k_v1"];
    let text = bench.ok(&args);
    let stored = "xdg/blemish/weights/resnet18-imagenet1k_v1-to-layer1.safetensors";
    assert!(bench.path(stored).exists(), "{text}");
    for part in ["not a published file", "serves layer1 to layer1", stored] {
        assert!(text.contains(part), "{text}");
    }
    let list = bench.ok(&["weights", "list"]);
    assert!(
        list.contains("resnet18-imagenet1k_v1-to-layer1.safetensors"),
        "{list}"
    );

    // The grid finds them there, and they are the file's.
    let grid = |out: &'static str, folder: Option<&'static str>| {
        let mut args: Vec<&str> = quick(out)
            .into_iter()
            .map(|arg| match arg {
                "random" => "imagenet1k_v1",
                "layer3,layer4" => "layer1",
                other => other,
            })
            .collect();
        args.extend(["--objects", "washer", "--augmented", "false"]);
        args.extend(["--detectors", "LocalOutlierFactor"]);
        args.extend(folder.iter().flat_map(|folder| ["--weights", folder]));
        bench.ok(&args);
        bench.timeless(out)
    };
    std::fs::create_dir(bench.path("w")).unwrap();
    file(&bench, "w/resnet18-imagenet1k_v1-mine.pth");
    assert_eq!(grid("own", None), grid("named", Some("w")));
}

#[test]
fn imports_that_cannot_be_say_why() {
    let bench = Bench::new();
    file(&bench, "mine.pth");
    file(&bench, "resnet18-f37072fd.pth");
    std::fs::write(bench.path("call.pth"), b"PK\x03\x04 and nothing").unwrap();
    let says = |args: &[&str], parts: &[&str]| {
        let text = bench.fails(1, &[&["weights", "import"], args].concat());
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    says(&["mine.pth"], &["mine.pth", "--as resnet18-imagenet1k_v1"]);
    says(
        &["resnet18-f37072fd.pth"],
        &["SHA-256", "must begin with f37072fd"],
    );
    says(
        &["mine.pth", "--as", "vit_b_16-imagenet1k_v1"],
        &["weights of vit_base_16"],
    );
    says(&["call.pth"], &["call.pth", "zip archive"]);
    says(&["absent.pth"], &["absent.pth"]);
    assert!(!bench.path("xdg").exists());
    bench.fails(2, &["weights", "import"]);
}

#[test]
fn fetches_that_cannot_be_say_what_to_bring() {
    let bench = Bench::new();
    let text = bench.fails(1, &["weights", "fetch", "resnet19"]);
    assert!(
        text.contains("`resnet19` is none of the published weights"),
        "{text}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/models/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request = lines.next().unwrap().unwrap();
        while !lines.next().unwrap().unwrap().is_empty() {}
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        request
    });
    let fetch = |mirror: &str| {
        let mut command = bench.command(&["weights", "fetch", "resnet50", "--mirror", mirror]);
        // This machine is not behind any proxy.
        let output = command.env("NO_PROXY", "*").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        for part in [
            "bring https://download.pytorch.org/models/resnet50-11ad3fa6.pth here",
            "blemish weights import resnet50-11ad3fa6.pth",
        ] {
            assert!(text.contains(part), "{text}");
        }
        text
    };
    let text = fetch(&mirror);
    assert!(text.contains("the server answered 404"), "{text}");
    let request = server.join().unwrap();
    assert_eq!(request, "GET /models/resnet50-11ad3fa6.pth HTTP/1.1");

    // The listener is gone with its thread: nobody answers, as when there is no network.
    let text = fetch(&mirror);
    assert!(text.contains(mirror.trim_end_matches('/')), "{text}");
}
