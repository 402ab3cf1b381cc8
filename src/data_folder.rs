//! The data folder: used by one server at a time, private to its owner, with the secrets that the
//! server generates.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::signing::{SigningKey, SigningKeys};

/// The SQLite database.
pub const DATABASE: &str = "dossier.db";
/// Secrets that cannot be regenerated: the keys that sign links, the local CA that clients trust,
/// and the keys that sign webhooks. Sorted.
pub const SECRETS: [&str; 4] = ["signing.keys", "tls/ca-key.pem", CA_CERTIFICATE, WEBHOOK_KEYS];
/// The one of [`SECRETS`] that clients need, so others may read it.
pub const CA_CERTIFICATE: &str = "tls/ca.pem";
const WEBHOOK_KEYS: &str = "webhook.keys";
/// Largest secret.
const MAX_SECRET_BYTES: u64 = 1 << 20;
/// Attempts to lock the folder, and the delay between them.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(50);

/// An open data folder.
pub struct DataFolder {
    root: PathBuf,
}

/// A lock on the folder, released on drop.
pub struct FolderLock(#[expect(dead_code, reason = "dropping the file releases the lock")] File);

impl DataFolder {
    /// Opens the folder, creating it with mode 0700 if needed.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .with_context(|| format!("cannot create the data folder {}", root.display()))?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// Opens a folder that a server has used with SQLite before.
    ///
    /// # Errors
    ///
    /// If the folder has no database.
    pub fn existing(root: &Path) -> anyhow::Result<Self> {
        if !root.join(DATABASE).is_file() {
            bail!(
                "there is no data in {}: start `dossier serve` there first, or choose another \
                 folder with --data",
                root.display()
            );
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// The path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database file, created with mode 0600 if needed. SQLite gives its WAL files the same
    /// mode.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
    pub fn database(&self) -> anyhow::Result<PathBuf> {
        let file = self.root.join(DATABASE);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("cannot write to {}", file.display()))?;
        Ok(file)
    }

    /// The database file, which must exist.
    ///
    /// # Errors
    ///
    /// If it does not exist.
    pub fn existing_database(&self) -> anyhow::Result<PathBuf> {
        Self::existing(&self.root)?.database()
    }

    /// Writes the database during a restore, with mode 0600.
    ///
    /// # Errors
    ///
    /// If it exists, or cannot be written.
    pub fn restore_database(&self, bytes: &mut dyn Read) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let file = self.root.join(DATABASE);
        let mut file = options.create_new(true).write(true).mode(0o600).open(file)?;
        std::io::copy(bytes, &mut file).map(drop)
    }

    /// Reads the secret at an index of [`SECRETS`]; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read_secret(&self, index: usize) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.root.join(SECRETS[index]);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the secret at an index of [`SECRETS`] during a restore.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn restore_secret(&self, index: usize, bytes: &mut dyn Read) -> std::io::Result<()> {
        let path = self.root.join(SECRETS[index]);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut secret = Vec::new();
        bytes.take(MAX_SECRET_BYTES).read_to_end(&mut secret)?;
        write_secret(&path, &secret).map_err(std::io::Error::other)
    }

    /// Reads the webhook signing keys; `None` before the first subscription.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn webhook_keys(&self) -> anyhow::Result<Option<String>> {
        let read = self.read_secret(SECRETS.len() - 1)?;
        read.map(String::from_utf8).transpose().context("webhook.keys is not text")
    }

    /// Replaces the webhook signing keys.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn replace_webhook_keys(&self, text: &str) -> anyhow::Result<()> {
        write_secret(&self.root.join(WEBHOOK_KEYS), text.as_bytes())
    }

    /// Writes the first webhook signing keys, unless another process was faster.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn create_webhook_keys(&self, text: &str) -> anyhow::Result<()> {
        let own =
            self.root.join(format!("webhook-{:032x}.made", u128::from_be_bytes(random_bytes()?)));
        write_secret(&own, text.as_bytes())?;
        let linked = std::fs::hard_link(&own, self.root.join(WEBHOOK_KEYS));
        std::fs::remove_file(&own).with_context(|| format!("cannot remove {}", own.display()))?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.context("cannot write webhook.keys"),
        }
    }

    /// The folder of certificates, created with mode 0700 if needed.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created.
    pub fn tls(&self) -> anyhow::Result<PathBuf> {
        let folder = self.root.join("tls");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Locks the folder for one server. Retries briefly, because a process that is just exiting
    /// holds its lock until its last child has closed it.
    ///
    /// # Errors
    ///
    /// If another server holds the lock, or the folder is not writable.
    pub fn lock(&self) -> anyhow::Result<FolderLock> {
        self.lock_file("lock", || {
            format!(
                "another dossier server is using the data folder {}; stop it, or choose another \
                 folder with --data",
                self.root.display()
            )
        })
    }

    /// Locks the migration of stored files. A server may be running.
    ///
    /// # Errors
    ///
    /// If another migration is running, or the folder is not writable. If the folder belongs to
    /// another user, because the server could not read the files that this process would create.
    pub fn lock_moving(&self) -> anyhow::Result<FolderLock> {
        let owner = std::fs::metadata(&self.root).map(|folder| folder.uid());
        let owner = owner.with_context(|| format!("cannot open {}", self.root.display()))?;
        if owner != rustix::process::geteuid().as_raw() {
            bail!(
                "the data folder {} belongs to another user; run this command as that user",
                self.root.display()
            );
        }
        self.lock_file("moving.lock", || "another `dossier storage migrate` is running".to_owned())
    }

    fn lock_file(&self, name: &str, held: impl Fn() -> String) -> anyhow::Result<FolderLock> {
        let path = self.root.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write to the data folder {}", self.root.display()))?;
        let mut locked = file.try_lock();
        for _ in 1..LOCK_ATTEMPTS {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOCK_RETRY_DELAY);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => Ok(FolderLock(file)),
            Err(TryLockError::WouldBlock) => bail!(held()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Reads the keys that sign upload URLs and links, generating one on first use.
    ///
    /// Each line of `signing.keys` is `<id 0-255> <32 bytes in base64>`. The first key signs; all
    /// keys verify. To rotate, add a new line at the top, and remove the old one once its links
    /// have expired.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, or is malformed.
    pub fn signing_keys(&self) -> anyhow::Result<SigningKeys> {
        let path = self.root.join("signing.keys");
        if !path.exists() {
            let secret = random_bytes::<32>()?;
            write_secret(&path, format!("1 {}\n", STANDARD.encode(secret)).as_bytes())?;
        }
        let mut text = String::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut keys = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            parse_key(line).with_context(|| {
                format!("{}: expected lines of \"<id> <32 bytes in base64>\"", path.display())
            })
        });
        let signing = keys.next().with_context(|| format!("{} is empty", path.display()))??;
        Ok(SigningKeys::new(signing, keys.collect::<anyhow::Result<_>>()?))
    }
}

fn parse_key(line: &str) -> Option<SigningKey> {
    let (id, secret) = line.trim().split_once(' ')?;
    let secret = STANDARD.decode(secret.trim()).ok()?;
    Some(SigningKey::new(id.parse().ok()?, &secret.try_into().ok()?))
}

/// Returns random bytes from the operating system.
///
/// # Errors
///
/// If the operating system cannot provide them.
pub fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("no random bytes from the operating system: {error}"))?;
    Ok(bytes)
}

/// Writes a file with mode 0600, atomically and durably.
///
/// # Errors
///
/// If it cannot be written.
pub fn write_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    options
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_private_and_persist() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&root.path().join("data")).unwrap();
        folder.signing_keys().unwrap();
        let file = folder.root().join("signing.keys");
        let before = std::fs::read(&file).unwrap();
        folder.signing_keys().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), before);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.root()), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn a_second_server_is_rejected_until_the_first_stops() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let first = folder.lock().unwrap();
        let error = folder.lock().err().unwrap().to_string();
        assert!(error.contains("another dossier server is using"), "{error}");
        drop(first);
        assert!(folder.lock().is_ok());
    }

    #[test]
    fn a_damaged_key_file_is_rejected_and_left_unchanged() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let file = root.path().join("signing.keys");
        for text in ["", "1 short\n", "300 aaaa\n", "nonsense"] {
            std::fs::write(&file, text).unwrap();
            assert!(folder.signing_keys().is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
