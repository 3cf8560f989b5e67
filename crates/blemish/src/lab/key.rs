//! Stable keys. A result is found again by the content it was computed from, never by its place.

use serde_json::Value;

/// Version of each part that can change a result. Raise one by hand when its numbers change; a
/// change of a report raises none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Versions {
    /// Decoding, views, preprocessing.
    pub(crate) images: u32,
    /// Forward pass.
    pub(crate) features: u32,
    /// Inner products.
    pub(crate) products: u32,
    /// Detectors and AUROC.
    pub(crate) detectors: u32,
}

/// The versions of this build.
pub(crate) const VERSIONS: Versions = Versions {
    images: 1,
    features: 4,
    products: 4,
    detectors: 2,
};

/// What computes networks from ONNX files: part of the keys of their features alone.
pub(crate) const ONNX_RUNTIME: &str = "rten 0.24";

impl Versions {
    pub(crate) fn to_json(self) -> Value {
        serde_json::json!({
            "images": self.images,
            "features": self.features,
            "products": self.products,
            "detectors": self.detectors,
        })
    }
}

/// Canonical text of a JSON value: object keys in byte order, no spaces, numbers in shortest form.
///
/// `serde_json`'s default map keeps keys sorted; sorting here too keeps keys stable should a
/// dependency switch on `preserve_order`.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let fields: Vec<_> = keys
                .iter()
                .map(|k| format!("{}:{}", Value::from(k.as_str()), canonical(&map[k.as_str()])))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Key of what `value` describes: 32 hexadecimal digits (128 bits of BLAKE3).
pub(crate) fn key(value: &Value) -> String {
    blake3::hash(canonical(value).as_bytes()).to_hex()[..32].to_owned()
}

/// A seed that depends on `parent` (a key), the purpose and the user's seed alone.
pub(crate) fn derive_seed(parent: &str, purpose: &str, seed: u64) -> u64 {
    let text = canonical(&serde_json::json!([parent, purpose, seed]));
    let hash = blake3::hash(text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_stable_across_releases() {
        // A change here discards every stored result of every user: it must be meant.
        assert_eq!(
            key(&json!({"b": 1, "a": [true, "x", 0.5]})),
            key(&json!({"a": [true, "x", 0.5], "b": 1}))
        );
        assert_eq!(
            canonical(&json!({"b": 1, "a": [true, "x", 0.5]})),
            r#"{"a":[true,"x",0.5],"b":1}"#
        );
    }

    #[test]
    fn seeds_differ_by_purpose_and_seed() {
        let a = derive_seed("k", "IsolationForest", 0);
        assert_eq!(a, derive_seed("k", "IsolationForest", 0));
        assert_ne!(a, derive_seed("k", "IsolationForest", 1));
        assert_ne!(a, derive_seed("k", "EllipticEnvelope", 0));
        assert_ne!(a, derive_seed("l", "IsolationForest", 0));
    }
}
