//! Weights files: found, read, identified, and refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;

use blemish_backbones::{Architecture, BackbonesError, Initialization, Network, Weights};
use common::{PREFIX, Raw, images, reload, save, state};
use proptest::prelude::*;
use safetensors::Dtype;

const RESNET18: Architecture = Architecture::Resnet18;
const V1: Initialization = Initialization::Imagenet1kV1;

fn load_bytes(bytes: &[u8]) -> Result<Weights, BackbonesError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let loaded = Weights::load(&path);
    if let Err(error) = &loaded {
        assert!(error.to_string().contains("broken.safetensors"), "{error}");
    }
    loaded
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn damaged_files_are_errors() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("seven bytes", vec![1; 7]),
        ("header of 2^64 - 1 bytes", vec![255; 64]),
        ("header of 2^62 bytes", (1_u64 << 62).to_le_bytes().to_vec()),
        ("header longer than the file", with_header("{}", 0)[..9].to_vec()),
        ("not JSON", with_header("{\"a\":", 0)),
        ("not UTF-8", [&4_u64.to_le_bytes()[..], &[0xff; 4]].concat()),
        (
            "unknown type",
            with_header(r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, 4),
        ),
        (
            "data cut off",
            with_header(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 12),
        ),
        (
            "data left over",
            with_header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 8),
        ),
        (
            "shape and data differ",
            with_header(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}"#, 4),
        ),
        (
            "shape overflows",
            with_header(
                r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}"#,
                0,
            ),
        ),
        (
            "offsets backwards",
            with_header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4),
        ),
        (
            "negative shape",
            with_header(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4),
        ),
    ];
    for (what, bytes) in cases {
        let found = load_bytes(&bytes);
        assert!(
            matches!(found, Err(BackbonesError::Format { .. })),
            "{what}: {found:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent.safetensors")] {
        assert!(matches!(Weights::load(&path), Err(BackbonesError::Read { .. })));
    }
}

/// A header's length may look like the first bytes of another format.
#[test]
fn a_safetensors_file_is_not_taken_for_another() {
    for length in [
        usize::from(u16::from_le_bytes(*b"PK")),
        usize::from(u16::from_le_bytes([0x80, 2])),
    ] {
        let tensor = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let header = format!("{tensor:length$}");
        let weights = load_bytes(&with_header(&header, 4)).unwrap();
        assert_eq!(weights.get("a").unwrap().1, [0.0]);
    }
}

proptest! {
    /// Any bytes after any length of header: an error or weights, never a panic.
    #[test]
    fn any_bytes_are_survived(length in 0_u64..80, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let file = [&length.to_le_bytes()[..], &bytes].concat();
        if let Ok(weights) = load_bytes(&file) {
            prop_assert!(Network::new(RESNET18, &weights, &["layer1"]).is_err());
        }
    }

    #[test]
    fn any_flipped_header_byte_is_survived(at in 0_usize..90, byte: u8) {
        let header = r#"{"conv1.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
        let mut file = with_header(header, 16);
        let at = at % file.len();
        file[at] = byte;
        if let Ok(weights) = load_bytes(&file) {
            prop_assert!(weights.digest(RESNET18, "layer1").is_err());
        }
    }
}

#[test]
fn wrong_tensors_are_errors_that_name_them() {
    let good = state(&Weights::random(RESNET18, 0));
    let network = |state: &_| Network::new(RESNET18, &reload(state), &["layer1", "layer2"]);
    let name = "layer2.0.bn1.running_var";

    let mut missing = good.clone();
    missing.remove(name);
    let error = network(&missing).unwrap_err();
    assert!(matches!(
        &error,
        BackbonesError::MissingTensor { layer: "layer2", .. }
    ));
    let text = error.to_string();
    for part in [
        "layer2 of resnet18",
        name,
        "state.safetensors",
        "it can serve layer1:",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(reload(&missing).layers(RESNET18), ["layer1"]);
    Network::new(RESNET18, &reload(&missing), &["layer1"]).unwrap();

    let mut nothing = good.clone();
    nothing.remove("conv1.weight");
    assert!(
        network(&nothing)
            .unwrap_err()
            .to_string()
            .contains("it can serve no layer")
    );

    let mut shape = good.clone();
    shape.insert(name.to_owned(), Raw::f32(&[64, 2], &[1.0; 128]));
    let text = network(&shape).unwrap_err().to_string();
    for part in [name, "state.safetensors", "[64, 2]", "[128]"] {
        assert!(text.contains(part), "{text}");
    }

    let mut dtype = good.clone();
    dtype.insert(
        name.to_owned(),
        Raw {
            dtype: Dtype::I64,
            shape: vec![128],
            bytes: vec![0; 1024],
        },
    );
    let text = network(&dtype).unwrap_err().to_string();
    for part in [name, "state.safetensors", "I64", "convert it to F32"] {
        assert!(text.contains(part), "{text}");
    }

    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let mut values = good.clone();
        let mut variance = [1.0; 128];
        variance[77] = bad;
        values.insert(name.to_owned(), Raw::f32(&[128], &variance));
        let error = network(&values).unwrap_err();
        assert!(
            matches!(&error, BackbonesError::TensorValues { tensor, .. } if tensor == name),
            "{error}"
        );
        // A layer before it is not concerned.
        Network::new(RESNET18, &reload(&values), &["layer1"]).unwrap();
    }

    let mut overflow = good.clone();
    overflow.insert("bn1.weight".to_owned(), Raw::f32(&[64], &[f32::MAX; 64]));
    overflow.insert("bn1.running_var".to_owned(), Raw::f32(&[64], &[0.0; 64]));
    assert!(matches!(
        network(&overflow),
        Err(BackbonesError::TensorValues { .. })
    ));
}

/// Halves are read where a value has one: every value of the network rounded to BF16 is the same
/// network as the f32 file of these values.
#[test]
fn short_floats_become_f32() {
    let mut short = state(&Weights::random(RESNET18, 0));
    let mut long = short.clone();
    for (name, raw) in &mut short {
        let twin = long.get_mut(name).unwrap();
        let halves: Vec<[u8; 2]> = raw.bytes.chunks_exact(4).map(|b| [b[2], b[3]]).collect();
        twin.bytes = halves.iter().flat_map(|h| [0, 0, h[0], h[1]]).collect();
        raw.bytes = halves.concat();
        raw.dtype = Dtype::BF16;
    }
    let ones = |dtype, bits: u16| Raw {
        dtype,
        shape: vec![64],
        bytes: bits.to_le_bytes().repeat(64),
    };
    short.insert("bn1.weight".to_owned(), ones(Dtype::F16, 0x3e00));
    long.insert("bn1.weight".to_owned(), Raw::f32(&[64], &[1.5; 64]));
    let digest = |state| reload(state).digest(RESNET18, "layer4").unwrap();
    assert_eq!(digest(&short), digest(&long));
}

#[test]
fn the_digest_is_of_content() {
    let full = state(&Weights::random(RESNET18, 0));
    let digests = |weights: &Weights| {
        let layers = weights.layers(RESNET18);
        layers
            .iter()
            .map(|layer| weights.digest(RESNET18, layer).unwrap())
            .collect::<Vec<_>>()
    };
    let expected = digests(&Weights::random(RESNET18, 0));
    assert_eq!(expected.len(), 4);
    assert!(expected.iter().all(|d| d.len() == 64));
    assert!((1..4).all(|i| expected[i] != expected[i - 1]));

    let mut prefix = full.clone();
    prefix.retain(|name, _| !name.starts_with("layer4") && !name.starts_with("layer3.1"));
    assert_eq!(digests(&reload(&prefix)), expected[..2]);
    assert!(reload(&prefix).digest(RESNET18, "layer3").is_err());

    // What the network does not read, and what the file says about itself, do not count.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("more.safetensors");
    let mut more = full.clone();
    let count = Raw {
        dtype: Dtype::I64,
        shape: vec![],
        bytes: vec![7, 0, 0, 0, 0, 0, 0, 0],
    };
    more.insert("bn1.num_batches_tracked".to_owned(), count);
    more.insert("fc.bias".to_owned(), Raw::f32(&[1000], &[0.5; 1000]));
    save(&path, &more, Some("another file"));
    assert_eq!(digests(&Weights::load(&path).unwrap()), expected);

    // One bit in layer 3 changes layers 3 and 4 alone.
    let mut changed = full;
    changed.get_mut("layer3.0.conv1.weight").unwrap().bytes[0] ^= 1;
    let found = digests(&reload(&changed));
    assert_eq!(found[..2], expected[..2]);
    assert!(found[2] != expected[2] && found[3] != expected[3]);
}

/// A digest is part of the keys of stored results: if this fails, they are all orphaned.
#[test]
fn the_digest_of_published_weights_stays() {
    let Some(path) = blemish_testkit::data(PREFIX) else {
        return;
    };
    let weights = Weights::load(&path).unwrap();
    let found = weights.digest(RESNET18, "layer1").unwrap();
    assert_eq!(
        found,
        "87f1b76415057a9f69c1028f1376050470db559f9f23d3047bc86e4c68afe285"
    );
}

#[test]
fn published_prefix_serves_three_layers() {
    let Some(path) = blemish_testkit::data(PREFIX) else {
        return;
    };
    let found = Weights::find(path.parent().unwrap(), RESNET18, V1).unwrap();
    assert_eq!(found, path);
    let weights = Weights::load(&found).unwrap();
    assert_eq!(weights.layers(RESNET18), ["layer1", "layer2", "layer3"]);
    let network = Network::new(RESNET18, &weights, &weights.layers(RESNET18)).unwrap();
    assert_eq!(network.forward(images(1, 32, 32).view()).unwrap().len(), 3);
    let text = Network::new(RESNET18, &weights, &["layer1", "layer4"])
        .unwrap_err()
        .to_string();
    for part in [
        "layer4",
        "layer4.0.conv1.weight",
        PREFIX,
        "it can serve layer1, layer2, layer3",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

fn find(files: &[&str], initialization: Initialization) -> Result<String, BackbonesError> {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        match file.strip_suffix('/') {
            Some(name) => std::fs::create_dir(folder.path().join(name)).unwrap(),
            None => std::fs::write(folder.path().join(file), "").unwrap(),
        }
    }
    let found = Weights::find(folder.path(), RESNET18, initialization)?;
    assert_eq!(found.parent(), Some(folder.path()));
    Ok(found.file_name().unwrap().to_str().unwrap().to_owned())
}

#[test]
fn files_are_found_by_name() {
    let exact = "resnet18-imagenet1k_v1.safetensors";
    let torchvision = "resnet18-f37072fd.safetensors";
    for (file, others) in [
        (
            exact,
            vec![
                "resnet18-imagenet1k_v1-a.safetensors",
                torchvision,
                "resnet18-f37072fd.pth",
            ],
        ),
        (
            "resnet18-imagenet1k_v1-conv1-to-layer3.safetensors",
            vec!["resnet18-imagenet1k_v10.safetensors"],
        ),
        (
            "resnet18-imagenet1k_v1_b.safetensors",
            vec!["resnet18-imagenet1k_v1-a.safetensors/"],
        ),
        (
            "resnet18-imagenet1k_v1.b.safetensors",
            vec!["wide-resnet18-imagenet1k_v1.safetensors"],
        ),
        (
            torchvision,
            vec!["resnet18-f37072fd.pth", "resnet34-imagenet1k_v1.safetensors"],
        ),
    ] {
        let all = [&others[..], &[file]].concat();
        assert_eq!(find(&all, V1).unwrap(), file);
    }
    // PyTorch's own files, which the safetensors file of the same name precedes.
    for files in [
        &["resnet18-f37072fd.pth"][..],
        &["resnet18-imagenet1k_v1.pth", "resnet18-f37072fd.pth"],
        &[
            "resnet18-imagenet1k_v1.pt",
            "resnet18-imagenet1k_v1-a.safetensors",
        ],
        &["resnet18-imagenet1k_v1-mine.pth"],
        &["resnet18-f37072fd.safetensors", "resnet18-f37072fd.pth"],
    ] {
        assert_eq!(find(files, V1).unwrap(), files[0]);
    }
    let v2 = "resnet18-imagenet1k_v2-mine.safetensors";
    assert_eq!(
        find(&[v2, torchvision, exact], Initialization::Imagenet1kV2).unwrap(),
        v2
    );
}

/// torchvision's spelling of a network does too.
#[test]
fn transformers_are_found_by_either_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "vit_b_16-c867db91.pth",
        "vit_b_16-imagenet1k_v1-mine.pt",
        "vit_base_16-imagenet1k_v1-mine.pt",
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::write(folder.path().join("vit_b_32-d86f8d99.pth"), "").unwrap();
        let found = Weights::find(folder.path(), Architecture::VitBase16, V1).unwrap();
        assert_eq!(found, path);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn files_that_are_not_found_say_what_to_do() {
    for files in [
        &[][..],
        &[
            "resnet18-imagenet1k_v10-a.safetensors",
            "resnet18-imagenet1k_v1x.safetensors",
        ],
        &[
            "resnet18-imagenet1k_v1.safetensors/",
            "resnet18-imagenet1k_v2.safetensors",
        ],
        &[
            "resnet18-imagenet1k_v1.safetensors.part",
            "resnet18-f37072fd-2.safetensors",
        ],
    ] {
        let error = find(files, V1).unwrap_err();
        assert!(
            matches!(error, BackbonesError::NoWeights { .. }),
            "{files:?}: {error}"
        );
        let text = error.to_string();
        for part in [
            "resnet18-imagenet1k_v1.safetensors",
            "resnet18-f37072fd.pth",
            "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    let text = find(&[], Initialization::Imagenet1kV2).unwrap_err().to_string();
    assert!(
        text.contains("torchvision publishes no imagenet1k_v2 weights of resnet18"),
        "{text}"
    );

    let two = [
        "resnet18-imagenet1k_v1-a.safetensors",
        "resnet18-imagenet1k_v1-b.safetensors",
    ];
    let text = find(&two, V1).unwrap_err().to_string();
    assert!(
        text.contains(&two.join(", ")) && text.contains("resnet18-imagenet1k_v1.safetensors"),
        "{text}"
    );

    let folder = Path::new("no-such-folder");
    assert!(matches!(
        Weights::find(folder, RESNET18, V1),
        Err(BackbonesError::Read { .. })
    ));
    let random = Weights::find(folder, RESNET18, Initialization::Random);
    assert!(matches!(random, Err(BackbonesError::RandomHasNoFile)));
}
