//! The data folder: one process at a time, private to its owner, with the secrets that the
//! server makes for itself.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::signing::{SigningKey, SigningKeys};

/// The rows.
pub const DATABASE: &str = "dossier.db";
/// Secrets that cannot be made again: what signs links, the local authority that people have told
/// their machines to trust, and what signs webhooks. Sorted.
pub const SECRETS: [&str; 4] = ["signing.keys", "tls/ca-key.pem", "tls/ca.pem", WEBHOOK_KEYS];
const WEBHOOK_KEYS: &str = "webhook.keys";
/// Bytes of a secret at most.
const MAX_SECRET_BYTES: u64 = 1 << 20;
/// How often the folder's lock is tried, and the time between.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// An open data folder.
pub struct DataFolder {
    root: PathBuf,
}

/// Held for as long as a process works on the folder.
pub struct FolderLock(#[expect(dead_code, reason = "dropping the file frees the lock")] File);

impl DataFolder {
    /// Opens the folder, making it with mode 0700.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .with_context(|| format!("cannot make the data folder {}", root.display()))?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// Opens a folder that a server has used before.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn existing(root: &Path) -> anyhow::Result<Self> {
        if !root.join(DATABASE).is_file() {
            bail!(
                "there is no data in {}: start `dossier serve` there first, or name another \
                 folder with --data",
                root.display()
            );
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// Where the folder is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database's file, made with mode 0600 if it is not there; SQLite gives its companions
    /// the same mode.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
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

    /// The database's file, which must be there.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn existing_database(&self) -> anyhow::Result<PathBuf> {
        Self::existing(&self.root)?.database()
    }

    /// Writes a database that is restored, with mode 0600.
    ///
    /// # Errors
    ///
    /// When there is one already, or it cannot be written.
    pub fn restore_database(&self, bytes: &mut dyn Read) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let file = self.root.join(DATABASE);
        let mut file = options.create_new(true).write(true).mode(0o600).open(file)?;
        std::io::copy(bytes, &mut file).map(drop)
    }

    /// Reads one of [`SECRETS`]; `None` when it was never made.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read_secret(&self, place: usize) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.root.join(SECRETS[place]);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes one of [`SECRETS`] that is restored.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn restore_secret(&self, place: usize, bytes: &mut dyn Read) -> std::io::Result<()> {
        let path = self.root.join(SECRETS[place]);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut secret = Vec::new();
        bytes.take(MAX_SECRET_BYTES).read_to_end(&mut secret)?;
        write_secret(&path, &secret).map_err(std::io::Error::other)
    }

    /// Reads the keys that sign webhooks; `None` before the first subscription.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn webhook_keys(&self) -> anyhow::Result<Option<String>> {
        let read = self.read_secret(SECRETS.len() - 1)?;
        read.map(String::from_utf8).transpose().context("webhook.keys is not text")
    }

    /// Writes the keys that sign webhooks in place of those before.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn replace_webhook_keys(&self, text: &str) -> anyhow::Result<()> {
        write_secret(&self.root.join(WEBHOOK_KEYS), text.as_bytes())
    }

    /// Writes the first keys that sign webhooks, unless another process was faster.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn first_webhook_keys(&self, text: &str) -> anyhow::Result<()> {
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

    /// Where certificates are.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn tls(&self) -> anyhow::Result<PathBuf> {
        let folder = self.root.join("tls");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Takes the folder for one server. A process that is just ending gets a moment: its lock goes
    /// when the last of what it started has let go of it.
    ///
    /// # Errors
    ///
    /// When another server has it, or it cannot be written.
    pub fn lock(&self) -> anyhow::Result<FolderLock> {
        self.take("lock", || {
            format!(
                "another dossier server is using the data folder {}; stop it, or give this one a \
                 folder of its own with --data",
                self.root.display()
            )
        })
    }

    /// Takes the moving of bytes, beside a server or without one. The lock goes with the process.
    ///
    /// # Errors
    ///
    /// When another process moves them, or the folder cannot be written. When it is another user's than
    /// this process: the server could not read what is written into it.
    pub fn lock_moving(&self) -> anyhow::Result<FolderLock> {
        let owner = std::fs::metadata(&self.root).map(|folder| folder.uid());
        let owner = owner.with_context(|| format!("cannot open {}", self.root.display()))?;
        if owner != rustix::process::geteuid().as_raw() {
            bail!(
                "the data folder {} belongs to another user: run this as the user of the server",
                self.root.display()
            );
        }
        self.take("moving.lock", || "another `dossier storage migrate` is at work".to_owned())
    }

    fn take(&self, name: &str, taken_by: impl Fn() -> String) -> anyhow::Result<FolderLock> {
        let path = self.root.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write to the data folder {}", self.root.display()))?;
        let mut taken = file.try_lock();
        for _ in 1..LOCK_TRIES {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOCK_PAUSE);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => Ok(FolderLock(file)),
            Err(TryLockError::WouldBlock) => bail!(taken_by()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Reads the keys that sign upload URLs and links, making one on first use.
    ///
    /// Each line of `signing.keys` is `<id 0-255> <32 bytes in base64>`. The first line signs,
    /// every one verifies: put a new line on top to rotate, and drop the old one when its links
    /// have expired.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or is not of this form.
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
                format!("{}: a line is not \"<id> <32 bytes in base64>\"", path.display())
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

/// Random bytes from the operating system.
///
/// # Errors
///
/// When the system has none.
pub fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// Writes a file with mode 0600, as a whole or not at all, durably.
///
/// # Errors
///
/// When it cannot be written.
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
    fn secrets_are_private_and_stay_the_same() {
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
    fn a_second_server_is_refused_until_the_first_stops() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let first = folder.lock().unwrap();
        let error = folder.lock().err().unwrap().to_string();
        assert!(error.contains("another dossier server is using"), "{error}");
        drop(first);
        assert!(folder.lock().is_ok());
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_kept() {
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
