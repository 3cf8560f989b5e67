//! What can go wrong with the folder of weights.

use std::path::PathBuf;

/// The error of listing, importing and fetching weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file of weights cannot be read or is not what it should be.
    #[error(transparent)]
    Backbones(#[from] blemish_backbones::BackbonesError),
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The home folder is not known.
    #[error("there is no home folder to put weights into: name a folder with --weights or BLEMISH_WEIGHTS")]
    NoHome,
    /// A name is none of published weights.
    #[error("`{name}` is none of the published weights: {known}")]
    UnknownName {
        /// The name as given.
        name: String,
        /// Those that would have done.
        known: String,
    },
    /// A file holds the weights of no network here.
    #[error(
        "{} holds the weights of no known network: no network's first layer has all its tensors there",
        path.display()
    )]
    NoNetwork {
        /// The file.
        path: PathBuf,
    },
    /// It is known for which network a file is, but not which weights these are.
    #[error(
        "{} holds weights of {architecture}, but neither its name nor its SHA-256 says which: \
         give --as {architecture}-INITIALIZATION, for example --as {architecture}-imagenet1k_v1",
        path.display()
    )]
    WhichWeights {
        /// The file.
        path: PathBuf,
        /// The network.
        architecture: String,
    },
    /// A file is said to be of another network than its tensors are.
    #[error(
        "{} is named as weights of {expected}, but its tensors are not those of this network",
        path.display()
    )]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// The network that it is said to be of.
        expected: String,
    },
    /// A file's content is not what was published.
    #[error(
        "the SHA-256 of {what} begins with {found}, but must begin with {expected}: \
         it is damaged or was replaced; fetch it again"
    )]
    Hash {
        /// The file or URL.
        what: String,
        /// The digits it must begin with.
        expected: String,
        /// The same number of digits that were found.
        found: String,
    },
    /// A server answered with something else than the file.
    #[error("{url}: the server answered {status}; {advice}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What to do.
        advice: String,
    },
    /// A server sends a file that is too long.
    #[error("{url}: the server sends more than {limit} bytes, so another file; {advice}")]
    TooLong {
        /// The address.
        url: String,
        /// The most that was expected.
        limit: u64,
        /// What to do.
        advice: String,
    },
    /// A server could not be reached, or the connection broke again and again.
    #[error("{url}: {reason}; {advice}")]
    Connection {
        /// The address.
        url: String,
        /// What the client said.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// Another process fetches the same file.
    #[error("another process is fetching {}: wait for it to end", path.display())]
    Busy {
        /// The file that it writes.
        path: PathBuf,
    },
}

impl WeightsError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> WeightsError {
        let path = path.to_owned();
        move |source| WeightsError::Io { path, source }
    }
}
