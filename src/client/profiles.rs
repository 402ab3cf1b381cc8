//! The servers that a person has logged in to, with their keys: one small file that only they can read.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Failure, Kind, Result};

/// Largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// One server and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its address.
    pub server: String,
    /// The API key.
    pub key: String,
    /// The key's site, for servers with several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Uuid>,
    /// More authorities (PEM) that its certificate may come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Plain http may be spoken to another machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
}

/// All of them, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Where they are kept: `$XDG_CONFIG_HOME/dossier/profiles.toml`, by default below `~/.config`.
    ///
    /// # Errors
    ///
    /// When there is no home.
    pub fn file() -> Result<PathBuf> {
        Ok(folder("XDG_CONFIG_HOME", ".config")?.join("profiles.toml"))
    }

    /// Reads them; none when there is no file.
    ///
    /// # Errors
    ///
    /// When others could have read the keys, or the file is none of ours.
    pub fn load(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::file(path, &error)),
        };
        let shown = path.display();
        let mode = file.metadata().map_err(|error| Failure::file(path, &error))?.permissions();
        if mode.mode() & 0o077 != 0 {
            let what = format!("{shown} holds keys, and others on this machine can read it");
            return Err(Failure::failed(what).next(format!("chmod 600 {shown}")));
        }
        let mut text = String::new();
        let read = file.take(MOST_BYTES).read_to_string(&mut text);
        read.map_err(|error| Failure::file(path, &error))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            Failure::failed(format!("{shown} cannot be read: {}", error.message()))
                .next(format!("correct it, or remove it and dossier login again: rm {shown}"))
        })
    }

    /// The profile of a name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.profiles.keys().map(String::as_str).collect()
    }

    /// Adds one, or puts it in the place of the one before, and writes all of them: whole or not
    /// at all.
    ///
    /// # Errors
    ///
    /// When they cannot be written; what was there is there still.
    pub fn keep(&mut self, path: &Path, name: &str, profile: Profile) -> Result<()> {
        self.profiles.insert(name.to_owned(), profile);
        self.write(path)
    }

    /// Takes one away and writes the others; false when there is none of that name.
    ///
    /// # Errors
    ///
    /// When they cannot be written; what was there is there still.
    pub fn forget(&mut self, path: &Path, name: &str) -> Result<bool> {
        let known = self.profiles.remove(name).is_some();
        if known { self.write(path).map(|()| true) } else { Ok(false) }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self)
            .map_err(|error| Failure::failed(format!("the profile cannot be written: {error}")))?;
        write_private(path, text.as_bytes())
    }
}

/// A folder of ours in the one that a variable names, or else in the home.
pub(super) fn folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let named = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = named(variable).or_else(|| Some(named("HOME")?.join(below_home)));
    let base = base.ok_or_else(|| {
        Failure::new(Kind::Usage, "there is no home for this user")
            .next(format!("set HOME, or {variable}"))
    })?;
    Ok(base.join("dossier"))
}

/// Makes a folder that only its owner can look into.
pub(super) fn make_private_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::file(path, &error))
}

/// Writes a file that only its owner can read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    if let Some(folder) = path.parent() {
        make_private_folder(folder)?;
    }
    // A name of its own, so that two at the same time do not write into one another.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&beside)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // It may never have been made.
        let _ = std::fs::remove_file(&beside);
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
    fn what_is_kept_reads_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/profiles.toml");
        let mut profiles = Profiles::load(&path).unwrap();
        assert!(profiles.names().is_empty());
        let site = Some(Uuid::nil());
        let full = Profile { site, ca: Some("PEM\n".to_owned()), allow_http: true, ..profile("a") };
        profiles.keep(&path, "default", profile("first")).unwrap();
        profiles.keep(&path, "work", full.clone()).unwrap();
        profiles.keep(&path, "default", profile("second")).unwrap();
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
    fn a_file_that_others_can_read_or_that_is_none_of_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.toml");
        Profiles::default().keep(&path, "default", profile("secret")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let failure = Profiles::load(&path).unwrap_err();
        assert!(failure.next.starts_with("chmod 600 "), "{failure:?}");
        write_private(&path, b"[profiles.a]\nserver = 1\nkey = \"secret\"\n").unwrap();
        let failure = Profiles::load(&path).unwrap_err();
        assert!(!failure.what.contains("secret"), "{failure:?}");
    }
}
