//! The saved profiles: servers that a user has logged in to, with their keys, in one private file.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Failure, Kind, Result};

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// A server and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The base URL.
    pub server: String,
    /// The API key.
    pub key: String,
    /// The key's site, for servers with several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Uuid>,
    /// Additional CA certificates (PEM) to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether plain http to another machine is allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
}

/// All profiles, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// The file's path: `$XDG_CONFIG_HOME/dossier/profiles.toml`, by default in `~/.config`.
    ///
    /// # Errors
    ///
    /// If there is no home directory.
    pub fn file() -> Result<PathBuf> {
        Ok(folder("XDG_CONFIG_HOME", ".config")?.join("profiles.toml"))
    }

    /// Reads the profiles; a missing file means none.
    ///
    /// # Errors
    ///
    /// If other users can read the file, or it is malformed.
    pub fn load(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::file(path, &error)),
        };
        let shown = path.display();
        let mode = file.metadata().map_err(|error| Failure::file(path, &error))?.permissions();
        if mode.mode() & 0o077 != 0 {
            let what =
                format!("{shown} contains keys and is readable by other users of this machine");
            return Err(Failure::failed(what).next(format!("chmod 600 {shown}")));
        }
        let mut text = String::new();
        let read = file.take(MAX_BYTES).read_to_string(&mut text);
        read.map_err(|error| Failure::file(path, &error))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            Failure::failed(format!("{shown} cannot be read: {}", error.message()))
                .next(format!("correct it, or remove it and log in again: rm {shown}"))
        })
    }

    /// Returns the profile with a name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// The names of all profiles.
    pub fn names(&self) -> Vec<&str> {
        self.profiles.keys().map(String::as_str).collect()
    }

    /// Adds or replaces a profile and writes the file atomically.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; it is then unchanged.
    pub fn insert(&mut self, path: &Path, name: &str, profile: Profile) -> Result<()> {
        self.profiles.insert(name.to_owned(), profile);
        self.write(path)
    }

    /// Removes a profile and writes the file atomically; returns false if there is no such profile.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; it is then unchanged.
    pub fn remove(&mut self, path: &Path, name: &str) -> Result<bool> {
        let known = self.profiles.remove(name).is_some();
        if known { self.write(path).map(|()| true) } else { Ok(false) }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self)
            .map_err(|error| Failure::failed(format!("cannot write the profile: {error}")))?;
        write_private(path, text.as_bytes())
    }
}

/// The `dossier` folder in the folder that `variable` names, or else in `$HOME/<below_home>`.
pub(super) fn folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let named = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = named(variable).or_else(|| Some(named("HOME")?.join(below_home)));
    let base = base.ok_or_else(|| {
        Failure::new(Kind::Usage, "this user has no home directory")
            .next(format!("set HOME, or {variable}"))
    })?;
    Ok(base.join("dossier"))
}

/// Creates a folder with mode 0700.
pub(super) fn create_private_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::file(path, &error))
}

/// Writes a file with mode 0600 atomically.
pub(super) fn write_private(path: &Path, text: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    if let Some(folder) = path.parent() {
        create_private_folder(folder)?;
    }
    // The process id keeps concurrent writers apart.
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The temporary file may not exist.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(key: &str) -> Profile {
        let server = "https://files.example.net/".to_owned();
        Profile { server, key: key.to_owned(), site: None, ca: None, allow_http: false }
    }

    #[test]
    fn saved_profiles_read_back_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/profiles.toml");
        let mut profiles = Profiles::load(&path).unwrap();
        assert!(profiles.names().is_empty());
        let site = Some(Uuid::nil());
        let full = Profile { site, ca: Some("PEM\n".to_owned()), allow_http: true, ..profile("a") };
        profiles.insert(&path, "default", profile("first")).unwrap();
        profiles.insert(&path, "work", full.clone()).unwrap();
        profiles.insert(&path, "default", profile("second")).unwrap();
        let read = Profiles::load(&path).unwrap();
        assert_eq!(read.names(), ["default", "work"]);
        assert_eq!(
            (read.get("default"), read.get("work")),
            (Some(&profile("second")), Some(&full))
        );
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_readable_by_others_or_malformed_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.toml");
        Profiles::default().insert(&path, "default", profile("secret")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let failure = Profiles::load(&path).unwrap_err();
        assert!(failure.next.starts_with("chmod 600 "), "{failure:?}");
        write_private(&path, b"[profiles.a]\nserver = 1\nkey = \"secret\"\n").unwrap();
        let failure = Profiles::load(&path).unwrap_err();
        assert!(!failure.what.contains("secret"), "{failure:?}");
    }
}
