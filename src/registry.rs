//! Caches sites and API keys in memory, so that identifying a caller needs no query.

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

/// The longest delay until another process's change (`dossier key revoke`) takes effect.
pub const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Unknown keys reload the registry at most this often in total. They wait for the next reload,
/// which may find a key created a moment ago.
const RELOAD_INTERVAL: Duration = Duration::from_millis(50);

/// A key that is not revoked.
#[derive(Debug)]
pub struct KnownKey {
    /// Its public id.
    pub id: Uuid,
    /// The site that it grants access to.
    pub site: Arc<Site>,
    /// A label for people.
    pub name: String,
    /// Its scopes.
    pub scopes: Scopes,
}

#[derive(Default)]
struct Known {
    sites: HashMap<SiteId, Arc<Site>>,
    by_prefix: HashMap<String, Arc<Site>>,
    keys: HashMap<[u8; 32], Arc<KnownKey>>,
    keys_by_id: HashMap<Uuid, Arc<KnownKey>>,
}

/// All sites and active keys.
pub struct Registry {
    known: RwLock<Arc<Known>>,
    /// When the last reload began. Held during a reload, so that an older one never replaces the
    /// result of a newer one.
    last_reload: Mutex<Instant>,
}

/// The stored form of an API key's secret. A secret has 256 random bits, so a plain hash suffices
/// (S21).
pub fn secret_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl Registry {
    /// Loads all sites and keys.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn load(db: &Db) -> Result<Self> {
        let registry = Self { known: RwLock::default(), last_reload: Mutex::new(Instant::now()) };
        registry.refresh(db).await?;
        Ok(registry)
    }

    /// Reloads all sites and keys.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then the previous state stays.
    pub async fn refresh(&self, db: &Db) -> Result<()> {
        let mut last_reload = self.last_reload.lock().await;
        self.reload(db, &mut last_reload).await
    }

    async fn reload(&self, db: &Db, last_reload: &mut Instant) -> Result<()> {
        let started = Instant::now();
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
        *last_reload = started;
        Ok(())
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finds a key by its secret. An unknown one is looked up in the database, as it may have been
    /// created a moment ago.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn key(&self, db: &Db, secret: &str) -> Result<Option<Arc<KnownKey>>> {
        let hash = secret_hash(secret);
        self.find(db, |known| known.keys.get(&hash)).await
    }

    /// Like [`Registry::key`], but never queries the database.
    pub fn key_in_memory(&self, secret: &str) -> Option<Arc<KnownKey>> {
        self.known().keys.get(&secret_hash(secret)).map(Arc::clone)
    }

    /// Finds a key by its id, like [`Registry::key`].
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
        let called = Instant::now();
        if let Some(key) = look_up(&self.known()) {
            return Ok(Some(Arc::clone(key)));
        }
        let mut last_reload = self.last_reload.lock().await;
        // A reload that began after this call saw every key created before it.
        if *last_reload <= called {
            tokio::time::sleep_until((*last_reload + RELOAD_INTERVAL).into()).await;
            self.reload(db, &mut last_reload).await?;
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

    /// Whether there is exactly one site, so that it can be omitted (contract §16).
    pub fn has_one_site(&self) -> bool {
        self.known().sites.len() == 1
    }
}
