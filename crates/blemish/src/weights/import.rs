//! Files of weights, recognised, checked, and put into the folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use blemish_backbones::{Architecture, Initialization, PublishedWeights, Weights};
use sha2::{Digest, Sha256};

use super::{WeightsError, parse_name};

/// What was put into the folder.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network.
    pub architecture: Architecture,
    /// Which of its weights.
    pub initialization: Initialization,
    /// The layers that the file serves.
    pub layers: Vec<&'static str>,
    /// Why the file does not serve the next layer, where it does not serve all: it names the missing tensor.
    pub ends: Option<String>,
    /// The new file.
    pub path: PathBuf,
    /// The SHA-256 of the file that was imported, in hexadecimal.
    pub sha256: String,
    /// Whether it is, by its SHA-256, the very file that torchvision publishes.
    pub published: bool,
}

/// Checks `file` (safetensors, or PyTorch's `.pth` or `.pt`) and puts its tensors, as f32 and under
/// torchvision's present names, into `folder` as a safetensors file of a name by which
/// [`Weights::find`] finds it.
///
/// Whose weights they are is told by `named` (`ARCHITECTURE-INITIALIZATION`), else by the file's SHA-256, which
/// is that of a published file, else by the file's name: `ARCHITECTURE-INITIALIZATION` and something more, or a
/// published file's. A file that is named as published but has another SHA-256 is refused. The tensors
/// must be those of the network in each case: present, of its shapes, finite. A file that ends after
/// one of the network's layers is accepted for the layers that it has.
///
/// # Errors
/// [`WeightsError`]; the folder is then as it was before.
pub fn import(file: &Path, named: Option<&str>, folder: &Path) -> Result<Imported, WeightsError> {
    let sha256 = sha256(&mut File::open(file).map_err(WeightsError::io(file))?, file)?;
    let is_published = |p: &PublishedWeights| sha256.starts_with(p.sha256_prefix());
    let published = PublishedWeights::all().into_iter().find(is_published);
    let architectures = Weights::recognize(file)?;
    let (architecture, initialization) = match (named, &published) {
        (Some(named), _) => {
            let weights = parse_name(named).filter(|(_, i)| *i != Initialization::Random);
            weights.ok_or_else(|| WeightsError::UnknownName {
                name: named.to_owned(),
                known: "give ARCHITECTURE-INITIALIZATION, for example resnet18-imagenet1k_v1".to_owned(),
            })?
        }
        (None, Some(published)) => (published.architecture, published.initialization),
        (None, None) => by_name(file, &sha256)?.map_or_else(
            || match architectures[..] {
                [architecture, ..] => Err(WeightsError::WhichWeights {
                    path: file.to_owned(),
                    architecture: architecture.to_string(),
                }),
                [] => Err(WeightsError::NoNetwork {
                    path: file.to_owned(),
                }),
            },
            Ok,
        )?,
    };
    if !architectures.contains(&architecture) {
        return Err(WeightsError::OtherNetwork {
            path: file.to_owned(),
            expected: architecture.to_string(),
        });
    }
    let Put { layers, ends, path } = put(file, architecture, initialization, folder)?;
    Ok(Imported {
        architecture,
        initialization,
        layers,
        ends,
        path,
        sha256,
        published: published.is_some(),
    })
}

/// By the file's name alone.
fn by_name(file: &Path, sha256: &str) -> Result<Option<(Architecture, Initialization)>, WeightsError> {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if let Some(published) = PublishedWeights::all().into_iter().find(|p| p.stem == stem) {
        // Another format has another hash; the tensors are checked in any case.
        if file
            .extension()
            .is_some_and(|extension| extension != "safetensors")
        {
            let expected = published.sha256_prefix();
            return Err(WeightsError::Hash {
                what: file.display().to_string(),
                expected: expected.to_owned(),
                found: sha256.chars().take(expected.len()).collect(),
            });
        }
        return Ok(Some((published.architecture, published.initialization)));
    }
    let pairs = Architecture::ALL
        .into_iter()
        .flat_map(|a| Initialization::ALL.map(|i| (a, i)))
        .filter(|(_, i)| *i != Initialization::Random);
    let named = |(a, i): &(Architecture, Initialization)| {
        [a.name(), a.constructor()].iter().any(|a| {
            let rest = stem.strip_prefix(&format!("{a}-{i}"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
        })
    };
    Ok(pairs.into_iter().find(named))
}

/// What [`put`] wrote; see [`Imported`].
pub(super) struct Put {
    pub(super) layers: Vec<&'static str>,
    pub(super) ends: Option<String>,
    pub(super) path: PathBuf,
}

/// Converts a file whose weights are known.
pub(super) fn put(
    file: &Path,
    architecture: Architecture,
    initialization: Initialization,
    folder: &Path,
) -> Result<Put, WeightsError> {
    let weights = Weights::load_for(file, architecture, architecture.layers())?;
    let layers = weights.layers(architecture);
    // Reads every tensor up to the last layer that is there: all of the right shape, finite. Where not
    // even the first layer is whole, this is the error that names the missing tensor.
    let last = layers.last().copied().unwrap_or(architecture.layers()[0]);
    weights.digest(architecture, last)?;
    let next = architecture.layers().get(layers.len());
    let ends = next.and_then(|next| weights.digest(architecture, next).err());
    let stem = format!("{architecture}-{initialization}");
    let name = if layers.len() == architecture.layers().len() {
        format!("{stem}.safetensors")
    } else {
        format!("{stem}-to-{last}.safetensors")
    };
    std::fs::create_dir_all(folder).map_err(WeightsError::io(folder))?;
    let path = folder.join(name);
    let temporary = tempfile::Builder::new()
        .prefix(".importing-")
        .tempfile_in(folder)
        .map_err(WeightsError::io(folder))?
        .into_temp_path();
    weights.save(&temporary)?;
    temporary
        .persist(&path)
        .map_err(|error| WeightsError::io(&path)(error.error))?;
    // The rename itself; not every system has folders that can be opened, and the file is whole either way.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(Put {
        layers,
        ends: ends.map(|e| e.to_string()),
        path,
    })
}

/// The SHA-256 of what is left of a file to read, in hexadecimal.
pub(super) fn sha256(file: &mut File, path: &Path) -> Result<String, WeightsError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WeightsError::io(path)(error)),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESNET18: Architecture = Architecture::Resnet18;

    /// Weights of the first layers in `folder` under `name`.
    fn file(folder: &Path, name: &str, layers: &[&str]) -> PathBuf {
        let path = folder.join(name);
        Weights::random_for(RESNET18, 0, layers)
            .unwrap()
            .save(&path)
            .unwrap();
        path
    }

    #[test]
    fn a_file_is_found_after_its_import() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/weights");
        for (name, named, layers, expected) in [
            (
                "resnet18-imagenet1k_v1-mine.safetensors",
                None,
                &["layer2"][..],
                "resnet18-imagenet1k_v1-to-layer2.safetensors",
            ),
            (
                "resnet18-f37072fd.safetensors",
                None,
                &["layer4"],
                "resnet18-imagenet1k_v1.safetensors",
            ),
            // The content decides, not the extension.
            (
                "any.pth",
                Some("resnet18-imagenet1k_v2"),
                &["layer1"],
                "resnet18-imagenet1k_v2-to-layer1.safetensors",
            ),
        ] {
            let source = file(folder.path(), name, layers);
            let imported = import(&source, named, &target).unwrap();
            assert_eq!(imported.path, target.join(expected));
            assert_eq!(imported.layers.last(), layers.last());
            assert!(!imported.published);
            // Of a file that ends early it is said where.
            let ends = imported.ends.as_deref().unwrap_or_default();
            assert_eq!(ends.is_empty(), layers == ["layer4"], "{ends}");
            assert!(ends.is_empty() || ends.contains(".0.conv1.weight"), "{ends}");
            let found = Weights::find(&target, RESNET18, imported.initialization).unwrap();
            assert_eq!(found, imported.path);
            let digest = |path: &Path| Weights::load(path).unwrap().digest(RESNET18, layers[0]).unwrap();
            assert_eq!(digest(&found), digest(&source));
        }
        // Nothing else is left.
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 3);
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("weights");
        let refused = |path: &Path, named| import(path, named, &target).unwrap_err();

        let unnamed = file(folder.path(), "mine.pt", &["layer1"]);
        let error = refused(&unnamed, None);
        assert!(matches!(error, WeightsError::WhichWeights { .. }), "{error}");
        assert!(
            error.to_string().contains("--as resnet18-imagenet1k_v1"),
            "{error}"
        );
        for wrong in ["resnet18", "resnet18-random", "x-imagenet1k_v1"] {
            let error = refused(&unnamed, Some(wrong));
            assert!(matches!(error, WeightsError::UnknownName { .. }), "{error}");
        }
        let error = refused(&unnamed, Some("resnet50-imagenet1k_v1"));
        assert!(matches!(error, WeightsError::OtherNetwork { .. }), "{error}");

        // Named as published, but of another content.
        let replaced = file(folder.path(), "resnet18-f37072fd.pth", &["layer1"]);
        let error = refused(&replaced, None);
        assert!(
            matches!(&error, WeightsError::Hash { expected, .. } if expected == "f37072fd"),
            "{error}"
        );

        let other = file(folder.path(), "resnet50-imagenet1k_v1.safetensors", &["layer1"]);
        assert!(matches!(refused(&other, None), WeightsError::OtherNetwork { .. }));

        let none = file(folder.path(), "none.safetensors", &[]);
        assert!(matches!(refused(&none, None), WeightsError::NoNetwork { .. }));
        let text = folder.path().join("text.pth");
        std::fs::write(&text, "a text, and no weights").unwrap();
        assert!(matches!(refused(&text, None), WeightsError::Backbones(_)));
        assert!(matches!(
            refused(&folder.path().join("absent"), None),
            WeightsError::Io { .. }
        ));
        assert!(!target.exists(), "nothing was written");
    }

    #[test]
    fn hashes_are_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-4's example.
        assert_eq!(
            sha256(&mut File::open(&path).unwrap(), &path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
