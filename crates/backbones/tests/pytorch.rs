//! Files that PyTorch wrote, read without Python; and files that would do harm. See
//! `golden/pytorch_files.py`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use blemish_backbones::{Architecture, BackbonesError, Network, PytorchError, Weights};
use common::{images, save, state};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

const RESNET18: Architecture = Architecture::Resnet18;
const GOLDEN: &str = env!("CARGO_MANIFEST_DIR");

#[derive(serde::Deserialize)]
struct Expected {
    shape: Vec<usize>,
    values: Option<Vec<f32>>,
}

fn file(name: &str) -> PathBuf {
    Path::new(GOLDEN).join("tests/golden/pytorch").join(name)
}

fn load_bytes(bytes: &[u8]) -> Result<Weights, BackbonesError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    std::fs::write(&path, bytes).unwrap();
    let loaded = Weights::load(&path);
    if let Err(error) = &loaded {
        assert!(error.to_string().contains("hostile.pth"), "{error}");
    }
    loaded
}

/// The reason why bytes are refused.
fn refusal(bytes: &[u8]) -> PytorchError {
    match load_bytes(bytes) {
        Err(BackbonesError::Pytorch { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_hold_what_pytorch_finds_in_them() {
    let golden: BTreeMap<String, BTreeMap<String, Expected>> =
        blemish_testkit::golden(GOLDEN, "pytorch/expected.json");
    assert_eq!(golden.len(), 9);
    for (name, tensors) in golden {
        let weights = Weights::load(&file(&name)).unwrap();
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        assert_eq!(weights.names().collect::<Vec<_>>(), names, "{name}");
        for (tensor, expected) in &tensors {
            match (&expected.values, weights.get(tensor)) {
                (Some(values), Some((shape, found))) => {
                    assert_eq!(shape, expected.shape, "{name}, {tensor}");
                    assert_eq!(found, values, "{name}, {tensor}");
                }
                // Counters and masks are not numbers that a network reads.
                (None, None) => {}
                other => panic!("{name}, {tensor}: {:?}", other.1),
            }
        }
    }
}

#[test]
fn what_is_no_state_dict_is_refused_by_name() {
    let golden = |name| std::fs::read(file(name)).unwrap();
    for (name, refused) in [
        ("refused_call.pth", "posix.system"),
        ("refused_call_legacy.pth", "posix.system"),
        ("refused_module.pth", "torch.nn.modules.linear.Linear"),
        ("refused_sparse.pth", "torch._utils._rebuild_sparse_tensor"),
        ("refused_quantized.pth", "torch._utils._rebuild_qtensor"),
    ] {
        match refusal(&golden(name)) {
            PytorchError::Global { name: found } => assert_eq!(found, refused, "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
    assert!(matches!(
        refusal(&golden("refused_number.pth")),
        PytorchError::NoTensors
    ));
    assert!(matches!(
        refusal(&golden("refused_script.pt")),
        PytorchError::TorchScript
    ));
    let mut tar = vec![0; 512];
    tar[..8].copy_from_slice(b"storages");
    tar[257..262].copy_from_slice(b"ustar");
    assert!(matches!(refusal(&tar), PytorchError::Tar));
}

/// A pickle of `{"w": tensor}` with a storage of `elements`, and a tensor that is a view of it.
fn pickle(elements: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let mut out = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: i32| {
        out.push(b'J');
        out.extend(number.to_le_bytes());
    };
    out.push(b'(');
    text(&mut out, "storage");
    out.extend(b"ctorch\nFloatStorage\n");
    text(&mut out, "0");
    text(&mut out, "cpu");
    number(&mut out, elements);
    out.extend(b"tQ");
    number(&mut out, offset);
    for axes in [shape, strides] {
        out.push(b'(');
        axes.iter().for_each(|side| number(&mut out, *side));
        out.push(b't');
    }
    out.extend(b"\x89}tRs.");
    out
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    archive_with(
        members,
        SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
    )
}

fn archive_with(members: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn simple(pickle: &[u8], data: &[u8]) -> Vec<u8> {
    archive(&[("net/data.pkl", pickle), ("net/data/0", data)])
}

/// In the format before PyTorch 1.6.
fn legacy(pickle: &[u8], count: u64, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    out.extend(b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.");
    out.extend(pickle);
    out.extend(b"\x80\x02]X\x01\x00\x00\x000a.");
    out.extend(count.to_le_bytes());
    out.extend(data);
    out
}

#[test]
fn handmade_files_are_files() {
    let data: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let program = pickle(6, 1, &[2, 2], &[3, 1]);
    let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let large = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(true);
    let members = [
        ("net/data.pkl", &program[..]),
        ("net/data/0", &data),
        ("net/byteorder", b"little"),
    ];
    for bytes in [
        simple(&program, &data),
        archive_with(&members, deflated),
        archive_with(&members, large),
        archive(&[("data.pkl", &program), ("data/0", &data)]),
        legacy(&program, 6, &data),
    ] {
        let weights = load_bytes(&bytes).unwrap();
        assert_eq!(
            weights.get("w").unwrap(),
            (&[2, 2][..], &[1.0, 2.0, 4.0, 5.0][..])
        );
    }
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    let data = [0; 24];
    for (offset, shape, strides) in [
        (0, &[7][..], &[1][..]),
        (6, &[1], &[1]),
        (1, &[2, 3], &[3, 1]),
        (0, &[2], &[i32::MAX]),
        (i32::MAX, &[1], &[1]),
        (0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0]),
    ] {
        for bytes in [
            simple(&pickle(6, offset, shape, strides), &data),
            legacy(&pickle(6, offset, shape, strides), 6, &data),
        ] {
            let error = refusal(&bytes);
            assert!(
                matches!(&error, PytorchError::Tensor { tensor, .. } if tensor == "w"),
                "{error}"
            );
        }
    }
    for (offset, shape, strides) in [
        (-1, &[1][..], &[1][..]),
        (0, &[-1], &[1]),
        (0, &[1], &[-1]),
        (0, &[1], &[]),
    ] {
        let error = refusal(&simple(&pickle(6, offset, shape, strides), &data));
        assert!(matches!(error, PytorchError::Pickle { .. }), "{error}");
    }
    let axes = [1; 17];
    let error = refusal(&simple(&pickle(6, 0, &axes, &axes), &data));
    assert!(matches!(error, PytorchError::Pickle { .. }), "{error}");
}

#[test]
fn storages_that_are_not_as_long_as_claimed_are_refused() {
    let program = |elements| pickle(elements, 0, &[6], &[1]);
    for elements in [7, i32::MAX] {
        let error = refusal(&simple(&program(elements), &[0; 24]));
        assert!(matches!(error, PytorchError::Storage { .. }), "{error}");
        let error = refusal(&legacy(&program(elements), 6, &[0; 24]));
        assert!(matches!(error, PytorchError::Storage { .. }), "{error}");
        let error = refusal(&legacy(&program(elements), elements as u64, &[0; 24]));
        assert!(matches!(error, PytorchError::Truncated { .. }), "{error}");
    }
    assert!(matches!(
        refusal(&simple(&program(-1), &[0; 24])),
        PytorchError::Pickle { .. }
    ));
    let missing = archive(&[("net/data.pkl", &program(6)), ("net/data/1", &[0; 24])]);
    assert!(matches!(refusal(&missing), PytorchError::Storage { .. }));
    let mut whole = legacy(&program(6), 6, &[0; 24]);
    whole.pop();
    assert!(matches!(refusal(&whole), PytorchError::Truncated { .. }));
}

#[test]
fn big_endian_files_are_refused() {
    let program = pickle(1, 0, &[1], &[1]);
    let zipped = archive(&[
        ("n/data.pkl", &program),
        ("n/data/0", &[0; 4]),
        ("n/byteorder", b"big"),
    ]);
    assert!(matches!(refusal(&zipped), PytorchError::BigEndian));
    let mut old = legacy(&program, 1, &[0; 4]);
    let flag = old.iter().position(|b| *b == 0x88).unwrap();
    old[flag] = 0x89;
    assert!(matches!(refusal(&old), PytorchError::BigEndian));
}

/// A few kilobytes that claim to be gigabytes.
#[test]
fn bombs_do_not_go_off() {
    // One number seen two thousand million times.
    for bytes in [
        simple(&pickle(1, 0, &[i32::MAX], &[0]), &[0; 4]),
        legacy(&pickle(1, 0, &[i32::MAX], &[0]), 1, &[0; 4]),
    ] {
        assert!(matches!(refusal(&bytes), PytorchError::Limit { .. }));
    }
    // Zeros, deflated a thousandfold: 100 MB of them in 100 kB.
    let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let zeros = vec![0; 100 << 20];
    let (program, elements) = (
        pickle(25 << 20, 0, &[1], &[1]),
        pickle(25 << 20, 0, &[25 << 20], &[1]),
    );
    let bomb = archive_with(&[("n/data.pkl", &elements), ("n/data/0", &zeros)], deflated);
    assert!(bomb.len() < 200_000);
    assert!(matches!(refusal(&bomb), PytorchError::Limit { .. }));
    // A pickle that is itself one.
    let bomb = archive_with(
        &[("n/data.pkl", &zeros[..9 << 20]), ("n/data/0", &[0; 4])],
        deflated,
    );
    assert!(matches!(refusal(&bomb), PytorchError::Limit { .. }));
    let long = [&program[..program.len() - 1], &vec![b'N'; 9 << 20]].concat();
    assert!(matches!(
        refusal(&legacy(&long, 1, &[0; 4])),
        PytorchError::Limit { .. }
    ));
}

#[test]
fn a_wrong_checksum_is_seen() {
    let data: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let mut bytes = simple(&pickle(6, 0, &[6], &[1]), &data);
    let at = bytes.windows(data.len()).position(|w| w == data).unwrap();
    bytes[at] ^= 1;
    let error = refusal(&bytes);
    assert!(matches!(error, PytorchError::Io(_)), "{error}");
}

#[test]
fn other_archives_are_refused() {
    assert!(matches!(
        refusal(&archive(&[("a.txt", b"text")])),
        PytorchError::NoPickle
    ));
    assert!(matches!(refusal(&archive(&[])), PytorchError::NoPickle));
    assert!(matches!(
        refusal(b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl"),
        PytorchError::Zip(_)
    ));
    let mut protocol = legacy(b"}.", 0, b"");
    protocol[19] ^= 1;
    assert!(matches!(refusal(&protocol), PytorchError::Protocol));
}

/// A whole network in each format is the same network; the old names of a transformer's tensors are
/// its present ones.
#[test]
fn a_network_is_the_same_from_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let weights = Weights::random(RESNET18, 3);
    let (zipped, plain) = (folder.path().join("a.pth"), folder.path().join("a.safetensors"));
    write_pth(&zipped, &weights, |name| format!("module.{name}"));
    save(&plain, &state(&weights), None);
    let digest = |weights: &Weights| weights.digest(RESNET18, "layer4").unwrap();
    for path in [&zipped, &plain] {
        let all = Weights::load(path).unwrap();
        assert_eq!(digest(&all), digest(&weights));
        let part = Weights::load_for(path, RESNET18, &["layer1"]).unwrap();
        assert_eq!(part.layers(RESNET18), ["layer1"]);
        assert_eq!(part.names().count(), 5 * 5);
        let forward = |weights| {
            let network = Network::new(RESNET18, weights, &["layer1"]).unwrap();
            network.forward(images(1, 32, 32).view()).unwrap()
        };
        assert_eq!(forward(&part), forward(&all));
    }
    assert!(Weights::load_for(&plain, RESNET18, &["layer7"]).is_err());

    let vit = Architecture::VitBase32;
    let weights = Weights::random_for(vit, 3, &["layer0"]).unwrap();
    write_pth(&zipped, &weights, |name| {
        name.replace("mlp.0.", "mlp.linear_1.")
            .replace("mlp.3.", "mlp.linear_2.")
    });
    let digest = |weights: &Weights| weights.digest(vit, "layer0").unwrap();
    let read = [
        Weights::load(&zipped).unwrap(),
        Weights::load_for(&zipped, vit, &["layer0"]).unwrap(),
    ];
    assert!(
        read[0]
            .get("encoder.layers.encoder_layer_0.mlp.linear_2.bias")
            .is_some()
    );
    assert!(read[1].get("encoder.layers.encoder_layer_0.mlp.3.bias").is_some());
    for read in &read {
        assert_eq!(read.layers(vit), ["layer0"]);
        assert_eq!(digest(read), digest(&weights));
    }

    // Saved, it is the same again, under the present names.
    read[1].save(&plain).unwrap();
    let saved = Weights::load(&plain).unwrap();
    assert_eq!(digest(&saved), digest(&weights));
    assert!(saved.get("encoder.layers.encoder_layer_0.mlp.3.bias").is_some());
}

/// As `torch.save` would, with one storage for each tensor.
fn write_pth(path: &Path, weights: &Weights, rename: impl Fn(&str) -> String) {
    let mut program = b"\x80\x02}".to_vec();
    let mut members = vec![];
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: usize| {
        out.push(b'J');
        out.extend((number as u32).to_le_bytes());
    };
    for (key, name) in weights.names().enumerate() {
        let (shape, values) = weights.get(name).unwrap();
        text(&mut program, &rename(name));
        program.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut program, "storage");
        program.extend(b"ctorch\nFloatStorage\n");
        text(&mut program, &key.to_string());
        text(&mut program, "cpu");
        number(&mut program, values.len());
        program.extend(b"tQ");
        number(&mut program, 0);
        program.push(b'(');
        shape.iter().for_each(|side| number(&mut program, *side));
        program.extend(b"t(");
        (0..shape.len()).for_each(|axis| number(&mut program, shape[axis + 1..].iter().product()));
        program.extend(b"t\x89}tRs");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        members.push((format!("n/data/{key}"), bytes));
    }
    program.push(b'.');
    members.push(("n/data.pkl".to_owned(), program));
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    std::fs::write(path, archive(&members)).unwrap();
}

/// The published file of a file's first kilobytes: real programs to damage.
fn real_files() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        "zip.pth",
        "legacy.pth",
        "checkpoint.pth",
        "legacy_protocol_4.pth",
    ])
    .prop_map(|name| std::fs::read(file(name)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Weights or an error, never a panic, whatever bytes are wrong.
    #[test]
    fn damaged_files_are_survived(
        mut bytes in real_files(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = load_bytes(&bytes);
    }

    /// A file that was cut off is an error.
    #[test]
    fn truncated_files_are_errors(bytes in real_files(), at: prop::sample::Index) {
        let cut = at.index(bytes.len());
        prop_assert!(load_bytes(&bytes[..cut]).is_err());
    }

    /// Any program, made of the instructions that the machine knows.
    #[test]
    fn any_pickle_is_survived(
        parts in prop::collection::vec(prop::sample::select(vec![
            &b"("[..], b"N", b"K\x01", b"J\xff\xff\xff\xff", b")", b"]", b"}", b"t", b"\x85", b"\x86", b"\x87",
            b"a", b"e", b"s", b"u", b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"\x94", b"R", b"Q", b"b", b"\x88",
            b"X\x01\x00\x00\x000", b"X\x07\x00\x00\x00storage", b"ctorch\nFloatStorage\n",
            b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n",
            b"ccollections\nOrderedDict\n",
        ]), 0..60),
    ) {
        let program = [&parts.concat()[..], b"."].concat();
        for bytes in [simple(&program, &[0; 4]), legacy(&program, 1, &[0; 4])] {
            let _ = load_bytes(&bytes);
        }
    }

    /// Every view of a storage of 24 numbers is what its definition says, or is refused.
    #[test]
    fn views_are_their_definition(
        offset in 0..30_i32,
        axes in prop::collection::vec((0..4_i32, 0..9_i32), 0..4),
    ) {
        let (shape, strides): (Vec<i32>, Vec<i32>) = axes.into_iter().unzip();
        let data: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let mut expected = vec![offset];
        for (side, stride) in shape.iter().zip(&strides) {
            expected = expected.iter().flat_map(|at| (0..*side).map(move |i| at + i * stride)).collect();
        }
        let found = load_bytes(&simple(&pickle(24, offset, &shape, &strides), &data));
        match found {
            Ok(weights) => {
                let (_, values) = weights.get("w").unwrap();
                let values: Vec<i32> = values.iter().map(|v| *v as i32).collect();
                prop_assert_eq!(values, expected);
            }
            Err(_) => prop_assert!(expected.iter().any(|at| *at >= 24)),
        }
    }
}
