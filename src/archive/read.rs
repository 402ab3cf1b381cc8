//! Reads a backup, hostile or whole: every file is compared with the list while it is read, in one
//! pass. Names that are not a backup's are reported and never opened.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::{ABOUT, About, FORMAT, Name, SUMS, hex};

/// Bytes of `backup.json` at most.
const MAX_ABOUT_BYTES: u64 = 64 << 10;
/// Bytes of `SHA256SUMS` at most: about fifty million files.
const MAX_SUMS_BYTES: u64 = 8 << 30;
/// Problems that are kept with their names; all are counted.
const MOST_PROBLEMS: usize = 10_000;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the backup says of itself.
    pub about: Option<About>,
    /// Files that are as listed.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// The first 10,000 problems, each with the name of its file.
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
}

/// What a caller does with a file, given its name and its bytes.
pub(super) type Take<'a> = &'a mut dyn FnMut(Name, &mut dyn Read) -> anyhow::Result<()>;

/// Reads the backup at a path and gives each file to `take` before it is known whether its bytes are
/// right: only an outcome without problems says so.
///
/// # Errors
///
/// When it is no backup, is of another form, or `take` fails.
pub fn read(source: &Path, take: Take<'_>) -> anyhow::Result<Outcome> {
    let mut reading = Reading { take, outcome: Outcome::default(), expected: None, place: 0 };
    let metadata = fs::symlink_metadata(source)
        .with_context(|| format!("cannot read {}", source.display()))?;
    if metadata.is_dir() {
        if !source.join(ABOUT).is_file() {
            bail!("{} is no backup: it has no {ABOUT}", source.display());
        }
        reading.folder(source, "")?;
    } else {
        reading.tar(source)?;
    }
    reading.end();
    Ok(reading.outcome)
}

struct Expected {
    sums_sha256: [u8; 32],
    files: Vec<(Name, [u8; 32])>,
}

struct Reading<'a> {
    take: Take<'a>,
    outcome: Outcome,
    expected: Option<Expected>,
    /// Files of the list that were met.
    place: usize,
}

impl Reading<'_> {
    fn problem(&mut self, what: &str, path: &str) {
        self.outcome.problem_count += 1;
        if self.outcome.problems.len() < MOST_PROBLEMS {
            self.outcome.problems.push(format!("{what}: {}", path.escape_debug()));
        }
    }

    fn folder(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        let problem = || format!("cannot read {}", folder.display());
        let entries = fs::read_dir(folder).with_context(problem)?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .with_context(problem)?;
        names.sort();
        for name in names {
            let (path, found) = (folder.join(&name), format!("{prefix}{}", name.to_string_lossy()));
            let kind = fs::symlink_metadata(&path).with_context(problem)?.file_type();
            if kind.is_dir() && is_folder_of_ours(&found) {
                self.folder(&path, &format!("{found}/"))?;
            } else if kind.is_dir() {
                self.problem("not of this backup", &format!("{found}/"));
            } else if kind.is_file() {
                // A link that takes the file's place meanwhile is not followed.
                let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
                let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
                match opened {
                    Ok(mut file) => self.file(&found, &mut file)?,
                    Err(error) => self.problem(&format!("cannot be read ({error})"), &found),
                }
            } else {
                self.problem("not a regular file", &found);
            }
        }
        Ok(())
    }

    fn tar(&mut self, source: &Path) -> anyhow::Result<()> {
        let file =
            File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
        let mut archive = tar::Archive::new(BufReader::with_capacity(READ_BYTES, file));
        let mut is_first = true;
        for entry in archive.entries()? {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_first => {
                    return Err(error).with_context(|| {
                        format!("{} is no backup: not a tar file", source.display())
                    });
                }
                Err(error) => {
                    self.problem(&format!("cannot be read on ({error})"), "the tar file");
                    return Ok(());
                }
            };
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if is_first && path != SUMS {
                bail!("{} is no backup: it does not begin with {SUMS}", source.display());
            }
            is_first = false;
            if entry.header().entry_type() == tar::EntryType::Regular {
                self.file(&path, &mut entry)?;
            } else {
                self.problem("not a regular file", &path);
            }
        }
        if is_first {
            bail!("{} is no backup: it is empty", source.display());
        }
        Ok(())
    }

    fn file(&mut self, path: &str, bytes: &mut dyn Read) -> anyhow::Result<()> {
        match path {
            SUMS if self.expected.is_none() => {
                self.expected = Some(sums(bytes)?);
                Ok(())
            }
            ABOUT if self.outcome.about.is_none() => self.about(bytes),
            _ => {
                if let Some(name) = Name::parse(path) {
                    return self.listed(name, path, bytes);
                }
                self.problem("not of this backup", path);
                Ok(())
            }
        }
    }

    fn about(&mut self, bytes: &mut dyn Read) -> anyhow::Result<()> {
        let mut text = Vec::new();
        bytes.take(MAX_ABOUT_BYTES).read_to_end(&mut text)?;
        let format = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|about| about["format"].as_u64())
            .with_context(|| format!("{ABOUT} is not of a backup of Dossier"))?;
        if format != u64::from(FORMAT) {
            bail!(
                "the backup has form {format}, this release reads {FORMAT}; use the release that \
                 made it or a newer one"
            );
        }
        let about: About = serde_json::from_slice(&text)
            .with_context(|| format!("{ABOUT} is not of a backup of Dossier"))?;
        let sums = self.expected.as_ref().map(|expected| hex(&expected.sums_sha256));
        if sums.as_ref() != Some(&about.sums_sha256) {
            self.problem("altered", SUMS);
        }
        self.outcome.about = Some(about);
        Ok(())
    }

    fn listed(&mut self, name: Name, path: &str, bytes: &mut dyn Read) -> anyhow::Result<()> {
        let files = self.expected.as_ref().map_or(&[][..], |expected| &expected.files);
        let Some(skipped) = files[self.place..].iter().position(|(listed, _)| *listed >= name)
        else {
            self.problem("not of this backup", path);
            return Ok(());
        };
        let at = self.place + skipped;
        let (listed, sha256) = files[at];
        if listed != name {
            self.problem("not of this backup", path);
            return Ok(());
        }
        self.missing(at);
        self.place = at + 1;
        let mut hashed = Hashed { inner: bytes, sha256: Sha256::new(), bytes: 0, failed: None };
        let taken = (self.take)(name, &mut hashed);
        if let Some(error) = hashed.failed.take() {
            self.problem(&format!("cannot be read ({error})"), path);
            return Ok(());
        }
        taken?;
        if let Err(error) = io::copy(&mut hashed, &mut io::sink()) {
            self.problem(&format!("cannot be read ({error})"), path);
        } else if <[u8; 32]>::from(hashed.sha256.finalize()) == sha256 {
            self.outcome.files += 1;
            self.outcome.bytes += hashed.bytes;
        } else {
            self.problem("altered", path);
        }
        Ok(())
    }

    /// Reports what lies in the list before a place and was not met.
    fn missing(&mut self, before: usize) {
        for place in self.place..before {
            if let Some(expected) = &self.expected {
                let path = expected.files[place].0.path();
                self.problem("missing", &path);
            }
        }
    }

    fn end(&mut self) {
        match &self.expected {
            None => self.problem("missing", SUMS),
            Some(expected) => self.missing(expected.files.len()),
        }
        if self.outcome.about.is_none() {
            self.problem("missing", ABOUT);
        }
    }
}

/// `blobs`, `blobs/<site>`, `blobs/<site>/<two digits>`, and where secrets lie.
fn is_folder_of_ours(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["blobs" | "tls"] => true,
        ["blobs", site, more @ ..] => {
            let site = uuid::Uuid::try_parse(site).is_ok_and(|id| id.simple().to_string() == *site);
            let two = |text: &str| text.len() == 2 && u8::from_str_radix(text, 16).is_ok();
            site && (more.is_empty() || more.len() == 1 && two(more[0]))
        }
        _ => false,
    }
}

/// Reads the list, which must be in order, each name once.
fn sums(bytes: &mut dyn Read) -> anyhow::Result<Expected> {
    let mut hashed = Hashed { inner: bytes, sha256: Sha256::new(), bytes: 0, failed: None };
    let mut files = Vec::new();
    let mut lines = BufReader::with_capacity(READ_BYTES, (&mut hashed).take(MAX_SUMS_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        // Longer than any line that we write.
        let read = io::BufRead::read_until(&mut (&mut lines).take(256), b'\n', &mut line)
            .with_context(|| format!("cannot read {SUMS}"))?;
        if read == 0 {
            break;
        }
        let entry = parse_line(&line)
            .filter(|(name, _)| files.last().is_none_or(|(last, _)| last < name))
            .with_context(|| {
                format!("{SUMS} is not of a backup of Dossier: line {}", files.len() + 1)
            })?;
        files.push(entry);
    }
    drop(lines);
    Ok(Expected { sums_sha256: hashed.sha256.finalize().into(), files })
}

fn parse_line(line: &[u8]) -> Option<(Name, [u8; 32])> {
    let (digits, path) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once("  ")?;
    let mut sha256 = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, place) in sha256.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[place..place + 2], 16).ok()?;
    }
    Some((Name::parse(path)?, sha256))
}

/// Hashes what passes, and remembers whether reading failed.
struct Hashed<'a> {
    inner: &'a mut dyn Read,
    sha256: Sha256,
    bytes: u64,
    failed: Option<String>,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(read) => {
                self.sha256.update(&buffer[..*read]);
                self.bytes += *read as u64;
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.failed = Some(error.to_string());
            }
            Err(_) => {}
        }
        read
    }
}
