//! Published weights over HTTPS.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use blemish_backbones::PublishedWeights;
use ureq::http::{StatusCode, header};

use super::WeightsError;
use super::import::{Imported, Put, put, sha256};

/// How often a connection may break before it is the user's turn.
const ATTEMPTS: usize = 4;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes that are here, with those of an earlier call.
    pub received: u64,
    /// Bytes in all, where the server says so.
    pub total: Option<u64>,
}

/// Fetches published weights from torchvision's server, or from `mirror` (what the URL begins with
/// instead), checks their SHA-256, and puts them into `folder` as [`import`](super::import) does.
///
/// What has arrived stays in the folder when the connection breaks or the process is killed, and the
/// next call goes on from there. The proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
/// `NO_PROXY` name are used.
///
/// # Errors
/// [`WeightsError`]. When the server cannot be reached, the error says which file to bring by other
/// means.
pub fn fetch(
    weights: &PublishedWeights,
    mirror: Option<&str>,
    folder: &Path,
    on_progress: &mut dyn FnMut(FetchProgress),
) -> Result<Imported, WeightsError> {
    let url = match mirror {
        Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), weights.file_name()),
        None => weights.url(),
    };
    let job = Job {
        url,
        file_name: weights.file_name(),
        sha256_prefix: weights.sha256_prefix().to_owned(),
        limit: (weights.mebibytes * 1_048_576.0) as u64 + (1 << 20),
        pause: Duration::from_secs(2),
    };
    job.run(weights, folder, on_progress)
}

/// One download.
struct Job {
    url: String,
    file_name: String,
    sha256_prefix: String,
    /// No file of the name has more bytes.
    limit: u64,
    /// Before another attempt.
    pause: Duration,
}

impl Job {
    fn run(
        &self,
        weights: &PublishedWeights,
        folder: &Path,
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Imported, WeightsError> {
        std::fs::create_dir_all(folder).map_err(WeightsError::io(folder))?;
        let path = folder.join(format!(".{}.part", self.file_name));
        let mut part = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(WeightsError::io(&path))?;
        // Two writers would spoil each other's work.
        match part.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(WeightsError::Busy { path }),
            Err(std::fs::TryLockError::Error(source)) => return Err(WeightsError::Io { path, source }),
        }
        let done = self.download(&mut part, &path, on_progress);
        if let Err(error) = done {
            // Nothing worth keeping.
            if part.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                let _ = std::fs::remove_file(&path);
            }
            return Err(error);
        }
        part.seek(SeekFrom::Start(0)).map_err(WeightsError::io(&path))?;
        let sha256 = sha256(&mut part, &path)?;
        // Where locks are binding, nobody else could open the file to read it.
        drop(part);
        if !sha256.starts_with(&self.sha256_prefix) {
            // Whatever it is, going on with it would not make it better.
            std::fs::remove_file(&path).map_err(WeightsError::io(&path))?;
            return Err(WeightsError::Hash {
                what: self.url.clone(),
                expected: self.sha256_prefix.clone(),
                found: sha256.chars().take(self.sha256_prefix.len()).collect(),
            });
        }
        let (architecture, initialization) = (weights.architecture, weights.initialization);
        let Put {
            layers,
            ends,
            path: target,
        } = put(&path, architecture, initialization, folder)?;
        // What is left over harms nobody, and another process may have removed it.
        let _ = std::fs::remove_file(&path);
        Ok(Imported {
            architecture,
            initialization,
            layers,
            ends,
            path: target,
            sha256,
            published: true,
        })
    }

    /// Until the file is complete.
    fn download(
        &self,
        part: &mut File,
        path: &Path,
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<(), WeightsError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("blemish/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let mut attempt = 1;
        loop {
            let before = part.metadata().map_err(WeightsError::io(path))?.len();
            let reason = match self.receive(&agent, part, path, before, on_progress)? {
                Received::Whole => return Ok(()),
                Received::Broken(reason) => reason,
            };
            // A connection that brought something is worth another.
            let after = part.metadata().map_err(WeightsError::io(path))?.len();
            attempt = if after > before { 1 } else { attempt + 1 };
            if attempt > ATTEMPTS || after == 0 {
                return Err(WeightsError::Connection {
                    url: self.url.clone(),
                    reason,
                    advice: if after == 0 {
                        self.advice()
                    } else {
                        format!("{after} bytes are kept: the same command goes on from there")
                    },
                });
            }
            std::thread::sleep(self.pause);
        }
    }

    /// One connection.
    fn receive(
        &self,
        agent: &ureq::Agent,
        part: &mut File,
        path: &Path,
        have: u64,
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Received, WeightsError> {
        let mut request = agent.get(&self.url).header(header::ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let mut response = match request.call() {
            Ok(response) => response,
            Err(error) => return Ok(Received::Broken(error.to_string())),
        };
        let head = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (start, length) = match response.status() {
            StatusCode::OK => (0, head(header::CONTENT_LENGTH).and_then(|n| n.parse().ok())),
            StatusCode::PARTIAL_CONTENT => {
                // "bytes FIRST-LAST/TOTAL"
                let range = head(header::CONTENT_RANGE).unwrap_or_default();
                let total = range.rsplit('/').next().and_then(|n| n.parse().ok());
                if !range.starts_with(&format!("bytes {have}-")) {
                    return Ok(Received::Broken(
                        "the server sent another part than was asked for".into(),
                    ));
                }
                (have, total)
            }
            // There is nothing after what is here: it is complete, or it is of another file.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                if head(header::CONTENT_RANGE) == Some(&format!("bytes */{have}")) {
                    return Ok(Received::Whole);
                }
                part.set_len(0).map_err(WeightsError::io(path))?;
                return Ok(Received::Broken("the server has another file than before".into()));
            }
            status => {
                return Err(WeightsError::Status {
                    url: self.url.clone(),
                    status: status.as_u16(),
                    advice: self.advice(),
                });
            }
        };
        if length.is_some_and(|length| length > self.limit) {
            return Err(self.too_long());
        }
        // A server that knows no ranges sends everything again.
        part.set_len(start).map_err(WeightsError::io(path))?;
        part.seek(SeekFrom::Start(start))
            .map_err(WeightsError::io(path))?;
        let mut received = start;
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            on_progress(FetchProgress {
                received,
                total: length,
            });
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    received += count as u64;
                    if received > self.limit {
                        part.set_len(0).map_err(WeightsError::io(path))?;
                        return Err(self.too_long());
                    }
                    part.write_all(&buffer[..count]).map_err(WeightsError::io(path))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Received::Broken(error.to_string())),
            }
        }
        match length {
            Some(length) if received != length => Ok(Received::Broken(format!(
                "the connection ended after {received} of {length} bytes"
            ))),
            _ => {
                part.sync_all().map_err(WeightsError::io(path))?;
                Ok(Received::Whole)
            }
        }
    }

    fn too_long(&self) -> WeightsError {
        WeightsError::TooLong {
            url: self.url.clone(),
            limit: self.limit,
            advice: self.advice(),
        }
    }

    /// For those whom the network does not serve.
    fn advice(&self) -> String {
        let file = &self.file_name;
        format!(
            "bring {}/{file} here by other means and `blemish weights import {file}`",
            PublishedWeights::BASE_URL
        )
    }
}

/// How a connection ended.
enum Received {
    Whole,
    Broken(String),
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use blemish_backbones::{Architecture, Initialization, Weights};

    use super::*;

    /// What the server does with one connection.
    #[derive(Clone, Copy)]
    enum Answer {
        /// Serves what is asked for.
        Serve,
        /// The same, but hangs up after so many bytes.
        Cut(usize),
        /// Knows no ranges.
        Everything,
        Status(&'static str),
        /// Claims this length and sends nothing.
        Claim(usize),
    }

    /// A server on this machine that gives each connection the next answer, and its log of the ranges
    /// that were asked for.
    struct Server {
        url: String,
        log: Arc<Mutex<Vec<Option<usize>>>>,
    }

    impl Server {
        fn start(file: Vec<u8>, answers: Vec<Answer>) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/models/net.pth", listener.local_addr().unwrap());
            let log = Arc::new(Mutex::new(vec![]));
            let seen = Arc::clone(&log);
            std::thread::spawn(move || {
                for answer in answers {
                    let (stream, _) = listener.accept().unwrap();
                    seen.lock().unwrap().push(respond(stream, &file, answer));
                }
            });
            Server { url, log }
        }

        fn ranges(&self) -> Vec<Option<usize>> {
            self.log.lock().unwrap().clone()
        }
    }

    fn respond(mut stream: TcpStream, file: &[u8], answer: Answer) -> Option<usize> {
        let mut range = None;
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(first) = line.strip_prefix("range: bytes=") {
                range = Some(first.trim_end_matches('-').parse::<usize>().unwrap());
            }
        }
        let whole = file.len();
        let mut say = |head: String, body: &[u8]| {
            // A client that has seen enough hangs up.
            let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
            let _ = stream.write_all(body);
        };
        match (answer, range) {
            (Answer::Serve | Answer::Cut(_), Some(first)) if first >= whole => {
                say(
                    format!(
                        "416 Range Not Satisfiable\r\nContent-Range: bytes */{whole}\r\nContent-Length: 0"
                    ),
                    b"",
                );
            }
            (Answer::Serve | Answer::Cut(_), Some(first)) => {
                let body = &file[first..];
                let sent = if let Answer::Cut(bytes) = answer {
                    &body[..bytes]
                } else {
                    body
                };
                let length = body.len();
                let last = whole - 1;
                say(
                    format!(
                        "206 Partial Content\r\nContent-Length: {length}\r\nContent-Range: bytes {first}-{last}/{whole}"
                    ),
                    sent,
                );
            }
            (Answer::Serve | Answer::Everything, _) => {
                say(format!("200 OK\r\nContent-Length: {whole}"), file)
            }
            (Answer::Cut(bytes), None) => say(format!("200 OK\r\nContent-Length: {whole}"), &file[..bytes]),
            (Answer::Status(status), _) => say(format!("{status}\r\nContent-Length: 0"), b""),
            (Answer::Claim(length), _) => say(format!("200 OK\r\nContent-Length: {length}"), b""),
        }
        range
    }

    struct Bench {
        folder: tempfile::TempDir,
        file: Vec<u8>,
        prefix: String,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("source");
            let weights = Weights::random_for(Architecture::Resnet18, 0, &["layer1"]).unwrap();
            weights.save(&path).unwrap();
            let prefix = sha256(&mut File::open(&path).unwrap(), &path).unwrap()[..8].to_owned();
            let file = std::fs::read(&path).unwrap();
            Bench { folder, file, prefix }
        }

        fn weights(&self) -> PathBuf {
            self.folder.path().join("weights")
        }

        fn part(&self) -> PathBuf {
            self.weights().join(".net.pth.part")
        }

        fn run(&self, server: &Server) -> Result<Imported, WeightsError> {
            self.run_with(server, &mut |_| {})
        }

        fn run_with(
            &self,
            server: &Server,
            on_progress: &mut dyn FnMut(FetchProgress),
        ) -> Result<Imported, WeightsError> {
            let published =
                PublishedWeights::of(Architecture::Resnet18, Initialization::Imagenet1kV1).unwrap();
            let job = Job {
                url: server.url.clone(),
                file_name: "net.pth".into(),
                sha256_prefix: self.prefix.clone(),
                limit: self.file.len() as u64 + 100,
                pause: Duration::ZERO,
            };
            job.run(&published, &self.weights(), on_progress)
        }

        fn arrived(&self, result: Result<Imported, WeightsError>) {
            let imported = result.unwrap();
            let found = Weights::find(
                &self.weights(),
                Architecture::Resnet18,
                Initialization::Imagenet1kV1,
            );
            assert_eq!(found.unwrap(), imported.path);
            let names: Vec<_> = std::fs::read_dir(self.weights()).unwrap().collect();
            assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
        }
    }

    #[test]
    fn a_file_arrives() {
        let bench = Bench::new();
        let server = Server::start(bench.file.clone(), vec![Answer::Serve]);
        let mut seen = vec![];
        bench.arrived(bench.run_with(&server, &mut |progress| seen.push(progress)));
        let whole = bench.file.len() as u64;
        assert!(seen.iter().all(|p| p.total == Some(whole)));
        assert_eq!(seen.first().unwrap().received, 0);
        assert_eq!(seen.last().unwrap().received, whole);
    }

    #[test]
    fn a_broken_connection_is_taken_up_again() {
        let bench = Bench::new();
        let answers = vec![Answer::Cut(100_000), Answer::Cut(50_000), Answer::Serve];
        let server = Server::start(bench.file.clone(), answers);
        bench.arrived(bench.run(&server));
        assert_eq!(server.ranges(), [None, Some(100_000), Some(150_000)]);
    }

    #[test]
    fn another_call_goes_on_from_what_is_there() {
        let bench = Bench::new();
        let mut answers = vec![Answer::Cut(70_000)];
        answers.resize(1 + ATTEMPTS, Answer::Cut(0));
        let server = Server::start(bench.file.clone(), answers);
        let error = bench.run(&server).unwrap_err();
        assert!(error.to_string().contains("70000 bytes are kept"), "{error}");
        assert_eq!(std::fs::metadata(bench.part()).unwrap().len(), 70_000);

        let server = Server::start(bench.file.clone(), vec![Answer::Serve]);
        bench.arrived(bench.run(&server));
        assert_eq!(server.ranges(), [Some(70_000)]);
    }

    #[test]
    fn a_server_without_ranges_serves_too() {
        let bench = Bench::new();
        let server = Server::start(bench.file.clone(), vec![Answer::Cut(9_000), Answer::Everything]);
        bench.arrived(bench.run(&server));
        assert_eq!(server.ranges(), [None, Some(9_000)]);
    }

    #[test]
    fn a_part_that_is_whole_or_too_long_is_no_hindrance() {
        for part in [Bench::new().file, vec![1; 1 << 20]] {
            let bench = Bench::new();
            std::fs::create_dir(bench.weights()).unwrap();
            std::fs::write(bench.part(), &part).unwrap();
            let complete = part.len() == bench.file.len();
            let server = Server::start(bench.file.clone(), vec![Answer::Serve, Answer::Serve]);
            let result = bench.run(&server);
            if complete {
                bench.arrived(result);
            } else {
                // What was there is given up; the next call begins anew.
                assert!(matches!(result, Err(WeightsError::Connection { .. })));
                bench.arrived(bench.run(&server));
            }
        }
    }

    #[test]
    fn a_wrong_file_is_refused() {
        let bench = Bench::new();
        let mut other = bench.file.clone();
        other[1000] ^= 1;
        let server = Server::start(other, vec![Answer::Serve]);
        let error = bench.run(&server).unwrap_err();
        let text = error.to_string();
        assert!(matches!(&error, WeightsError::Hash { expected, .. } if *expected == bench.prefix));
        assert!(
            text.contains(&bench.prefix) && text.contains(&server.url),
            "{text}"
        );
        assert!(!bench.part().exists());
    }

    #[test]
    fn refusals_say_what_to_bring() {
        let bench = Bench::new();
        let asks = |answer: Answer| {
            let server = Server::start(bench.file.clone(), vec![answer]);
            let error = bench.run(&server).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("https://download.pytorch.org/models/net.pth")
                    && text.contains("blemish weights import net.pth"),
                "{text}"
            );
            assert!(!bench.part().exists());
            error
        };
        for status in ["404 Not Found", "403 Forbidden", "500 Internal Server Error"] {
            let code: u16 = status[..3].parse().unwrap();
            let error = asks(Answer::Status(status));
            assert!(
                matches!(error, WeightsError::Status { status, .. } if status == code),
                "{error}"
            );
        }
        let long = asks(Answer::Claim(bench.file.len() + 101));
        assert!(matches!(long, WeightsError::TooLong { .. }), "{long}");

        // Nobody is there.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = Server {
            url: format!("http://{closed}/net.pth"),
            log: Arc::default(),
        };
        let error = bench.run(&server).unwrap_err();
        assert!(matches!(error, WeightsError::Connection { .. }), "{error}");
        assert!(
            error.to_string().contains("blemish weights import net.pth"),
            "{error}"
        );
    }

    #[test]
    fn two_do_not_write_the_same_file() {
        let bench = Bench::new();
        std::fs::create_dir(bench.weights()).unwrap();
        let held = File::create(bench.part()).unwrap();
        held.lock().unwrap();
        let server = Server::start(vec![], vec![]);
        assert!(matches!(bench.run(&server), Err(WeightsError::Busy { .. })));
    }
}
