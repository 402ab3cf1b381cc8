//! Sites and API keys in memory, so that a request costs no query to know who is calling.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::db::{Db, Site};
use crate::domain::ids::SiteId;
use crate::domain::scope::Scopes;
use crate::error::Result;

/// How soon another process's change (`dossier key revoke`) holds at the latest.
pub const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Unknown keys make the server look into the database at most this often, whoever asks. They
/// wait for the next look: it may be the one that finds a key made a moment ago.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A key that is not revoked.
#[derive(Debug)]
pub struct KnownKey {
    /// What people name it by.
    pub id: Uuid,
    /// The site that it opens.
    pub site: Arc<Site>,
    /// A label for people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
}

#[derive(Default)]
struct Known {
    sites: HashMap<SiteId, Arc<Site>>,
    by_prefix: HashMap<String, Arc<Site>>,
    keys: HashMap<[u8; 32], Arc<KnownKey>>,
    keys_by_id: HashMap<Uuid, Arc<KnownKey>>,
}

/// All sites and live keys.
pub struct Registry {
    known: RwLock<Arc<Known>>,
    /// When the last look began. Held while looking, so that an older look never replaces what
    /// a newer one found.
    looked: Mutex<Instant>,
}

/// The stored form of an API key's secret. It has 256 random bits, so a plain hash suffices
/// (S21).
pub fn secret_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl Registry {
    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn load(db: &Db) -> Result<Self> {
        let registry = Self { known: RwLock::default(), looked: Mutex::new(Instant::now()) };
        registry.refresh(db).await?;
        Ok(registry)
    }

    /// Reads all of them again.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then what was known stays.
    pub async fn refresh(&self, db: &Db) -> Result<()> {
        let mut looked = self.looked.lock().await;
        self.look(db, &mut looked).await
    }

    async fn look(&self, db: &Db, looked: &mut Instant) -> Result<()> {
        let began = Instant::now();
        let mut known = Known::default();
        for site in db.sites().await? {
            let site = Arc::new(site);
            known.by_prefix.insert(site.media_prefix.clone(), Arc::clone(&site));
            known.sites.insert(site.id, site);
        }
        for key in db.api_keys(false).await? {
            let Some(site) = known.sites.get(&key.site_id) else { continue };
            let site = Arc::clone(site);
            let known_key =
                Arc::new(KnownKey { id: key.id, site, name: key.name, scopes: key.scopes });
            known.keys_by_id.insert(key.id, Arc::clone(&known_key));
            known.keys.insert(key.secret_hash, known_key);
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        *looked = began;
        Ok(())
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finds a key by its secret, looking into the database when it is not known: it may have
    /// been made a moment ago.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn key(&self, db: &Db, secret: &str) -> Result<Option<Arc<KnownKey>>> {
        let hash = secret_hash(secret);
        self.find(db, |known| known.keys.get(&hash)).await
    }

    /// [`Registry::key`] of those that are in memory, without looking into the database.
    pub fn key_in_memory(&self, secret: &str) -> Option<Arc<KnownKey>> {
        self.known().keys.get(&secret_hash(secret)).map(Arc::clone)
    }

    /// Finds a key by its id, as [`Registry::key`] does.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn key_by_id(&self, db: &Db, id: Uuid) -> Result<Option<Arc<KnownKey>>> {
        self.find(db, |known| known.keys_by_id.get(&id)).await
    }

    async fn find(
        &self,
        db: &Db,
        look_up: impl Fn(&Known) -> Option<&Arc<KnownKey>>,
    ) -> Result<Option<Arc<KnownKey>>> {
        let asked = Instant::now();
        if let Some(key) = look_up(&self.known()) {
            return Ok(Some(Arc::clone(key)));
        }
        let mut looked = self.looked.lock().await;
        // A look that began after the question has seen every key made before it.
        if *looked <= asked {
            tokio::time::sleep_until((*looked + LOOK_AGAIN_AFTER).into()).await;
            self.look(db, &mut looked).await?;
        }
        Ok(look_up(&self.known()).map(Arc::clone))
    }

    /// Finds a site.
    pub fn site(&self, id: SiteId) -> Option<Arc<Site>> {
        self.known().sites.get(&id).map(Arc::clone)
    }

    /// Finds the site of a media id.
    pub fn site_by_prefix(&self, prefix: &str) -> Option<Arc<Site>> {
        self.known().by_prefix.get(prefix).map(Arc::clone)
    }

    /// Whether there is exactly one site, so that it need not be named (contract §16).
    pub fn has_one_site(&self) -> bool {
        self.known().sites.len() == 1
    }
}
