//! Reads a backup, which may be damaged or hostile. Every file is compared with the checksum list
//! while it is read, in one pass. Foreign names are reported and never opened.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::{CHECKSUMS, EntryName, FORMAT, MANIFEST, Manifest, hex};

/// Largest `backup.json` in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 10;
/// Largest `SHA256SUMS` in bytes: about fifty million files.
const MAX_SUMS_BYTES: u64 = 8 << 30;
/// Problems that are reported with their names; all are counted.
const MAX_PROBLEMS: usize = 10_000;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// The outcome of reading a backup.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The manifest of the backup.
    pub manifest: Option<Manifest>,
    /// Files that match the list.
    pub files: u64,
    /// Their total size.
    pub bytes: u64,
    /// The first 10,000 problems, each with the name of its file.
    pub problems: Vec<String>,
    /// The total number of problems.
    pub problem_count: u64,
}

/// The caller's callback for a file: its name and its bytes.
pub(super) type Visit<'a> = &'a mut dyn FnMut(EntryName, &mut dyn Read) -> anyhow::Result<()>;

/// Reads the backup at a path and passes each file to `visit` before its bytes are verified. Only
/// an outcome without problems confirms them.
///
/// # Errors
///
/// When it is not a backup, has an unsupported format, or `visit` fails.
pub fn read(source: &Path, visit: Visit<'_>) -> anyhow::Result<Outcome> {
    let mut reader = BackupReader { visit, outcome: Outcome::default(), expected: None, next: 0 };
    let metadata = fs::symlink_metadata(source)
        .with_context(|| format!("cannot read {}", source.display()))?;
    if metadata.is_dir() {
        if !source.join(MANIFEST).is_file() {
            bail!("{} is not a backup: it has no {MANIFEST}", source.display());
        }
        reader.folder(source, "")?;
    } else {
        reader.tar(source)?;
    }
    reader.end();
    Ok(reader.outcome)
}

struct Checksums {
    list_sha256: [u8; 32],
    files: Vec<(EntryName, [u8; 32])>,
}

struct BackupReader<'a> {
    visit: Visit<'a>,
    outcome: Outcome,
    expected: Option<Checksums>,
    /// The index of the next file in the list.
    next: usize,
}

impl BackupReader<'_> {
    fn problem(&mut self, what: &str, path: &str) {
        self.outcome.problem_count += 1;
        if self.outcome.problems.len() < MAX_PROBLEMS {
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
            if kind.is_dir() && is_backup_folder(&found) {
                self.folder(&path, &format!("{found}/"))?;
            } else if kind.is_dir() {
                self.problem("not of this backup", &format!("{found}/"));
            } else if kind.is_file() {
                // A link that replaces the file meanwhile is not followed.
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
                        format!("{} is not a backup: not a tar file", source.display())
                    });
                }
                Err(error) => {
                    self.problem(&format!("the rest cannot be read ({error})"), "the tar file");
                    return Ok(());
                }
            };
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if is_first && path != CHECKSUMS {
                bail!("{} is not a backup: it does not begin with {CHECKSUMS}", source.display());
            }
            is_first = false;
            if entry.header().entry_type() == tar::EntryType::Regular {
                self.file(&path, &mut entry)?;
            } else {
                self.problem("not a regular file", &path);
            }
        }
        if is_first {
            bail!("{} is not a backup: it is empty", source.display());
        }
        Ok(())
    }

    fn file(&mut self, path: &str, bytes: &mut dyn Read) -> anyhow::Result<()> {
        match path {
            CHECKSUMS if self.expected.is_none() => {
                self.expected = Some(parse_checksums(bytes)?);
                Ok(())
            }
            MANIFEST if self.outcome.manifest.is_none() => self.manifest(bytes),
            _ => {
                if let Some(name) = EntryName::parse(path) {
                    return self.listed(name, path, bytes);
                }
                self.problem("not of this backup", path);
                Ok(())
            }
        }
    }

    fn manifest(&mut self, bytes: &mut dyn Read) -> anyhow::Result<()> {
        let mut text = Vec::new();
        bytes.take(MAX_MANIFEST_BYTES).read_to_end(&mut text)?;
        let format = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|manifest| manifest["format"].as_u64())
            .with_context(|| format!("{MANIFEST} is not from a Dossier backup"))?;
        if format != u64::from(FORMAT) {
            bail!(
                "the backup has format {format}, this release reads {FORMAT}; use the release that \
                 created it or a newer one"
            );
        }
        let manifest: Manifest = serde_json::from_slice(&text)
            .with_context(|| format!("{MANIFEST} is not from a Dossier backup"))?;
        let sums = self.expected.as_ref().map(|expected| hex(&expected.list_sha256));
        if sums.as_ref() != Some(&manifest.sums_sha256) {
            self.problem("altered", CHECKSUMS);
        }
        self.outcome.manifest = Some(manifest);
        Ok(())
    }

    fn listed(&mut self, name: EntryName, path: &str, bytes: &mut dyn Read) -> anyhow::Result<()> {
        let files = self.expected.as_ref().map_or(&[][..], |expected| &expected.files);
        let Some(skipped) = files[self.next..].iter().position(|(listed, _)| *listed >= name)
        else {
            self.problem("not of this backup", path);
            return Ok(());
        };
        let at = self.next + skipped;
        let (listed, sha256) = files[at];
        if listed != name {
            self.problem("not of this backup", path);
            return Ok(());
        }
        self.missing(at);
        self.next = at + 1;
        let mut hashed =
            HashingReader { inner: bytes, sha256: Sha256::new(), bytes: 0, failed: None };
        let visited = (self.visit)(name, &mut hashed);
        if let Some(error) = hashed.failed.take() {
            self.problem(&format!("cannot be read ({error})"), path);
            return Ok(());
        }
        visited?;
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

    /// Reports listed files before the index `before` that were skipped.
    fn missing(&mut self, before: usize) {
        for index in self.next..before {
            if let Some(expected) = &self.expected {
                let path = expected.files[index].0.path();
                self.problem("missing", &path);
            }
        }
    }

    fn end(&mut self) {
        match &self.expected {
            None => self.problem("missing", CHECKSUMS),
            Some(expected) => self.missing(expected.files.len()),
        }
        if self.outcome.manifest.is_none() {
            self.problem("missing", MANIFEST);
        }
    }
}

/// `blobs`, `blobs/<site>`, `blobs/<site>/<two digits>`, and the folder of secrets.
fn is_backup_folder(path: &str) -> bool {
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

/// Parses the checksum list, which must be sorted and name each file once.
fn parse_checksums(bytes: &mut dyn Read) -> anyhow::Result<Checksums> {
    let mut hashed = HashingReader { inner: bytes, sha256: Sha256::new(), bytes: 0, failed: None };
    let mut files = Vec::new();
    let mut lines = BufReader::with_capacity(READ_BYTES, (&mut hashed).take(MAX_SUMS_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        // Longer than any line that the writer produces.
        let read = io::BufRead::read_until(&mut (&mut lines).take(256), b'\n', &mut line)
            .with_context(|| format!("cannot read {CHECKSUMS}"))?;
        if read == 0 {
            break;
        }
        let entry = parse_line(&line)
            .filter(|(name, _)| files.last().is_none_or(|(last, _)| last < name))
            .with_context(|| {
                format!("{CHECKSUMS} is not from a Dossier backup: line {}", files.len() + 1)
            })?;
        files.push(entry);
    }
    drop(lines);
    Ok(Checksums { list_sha256: hashed.sha256.finalize().into(), files })
}

fn parse_line(line: &[u8]) -> Option<(EntryName, [u8; 32])> {
    let (digits, path) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once("  ")?;
    let mut sha256 = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, index) in sha256.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[index..index + 2], 16).ok()?;
    }
    Some((EntryName::parse(path)?, sha256))
}

/// Hashes the bytes that pass, and records a read error.
struct HashingReader<'a> {
    inner: &'a mut dyn Read,
    sha256: Sha256,
    bytes: u64,
    failed: Option<String>,
}

impl Read for HashingReader<'_> {
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
