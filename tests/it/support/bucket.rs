//! A real S3-compatible server inside the test process, with a bucket for each data folder. With
//! `TEST_BLOBS=s3` every server under test keeps its bytes in one.
#![expect(clippy::disallowed_methods, reason = "it serves until the test process ends")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use uuid::Uuid;

const ID: &str = "test-id";
const SECRET: &str = "test-secret";
const CREDENTIALS: &str = "credentials";

/// A bucket with its credentials.
pub(crate) struct Bucket {
    /// The setting `blobs`.
    pub(crate) url: String,
    /// The setting `blobs_credentials_file`.
    pub(crate) credentials: PathBuf,
    /// Where the server keeps its objects, as files.
    pub(crate) folder: PathBuf,
}

impl Bucket {
    /// The settings that name it.
    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        [("blobs", &self.url), ("blobs_credentials_file", self.credentials.to_str().unwrap())]
    }

    /// The same bucket at another address, such as a proxy's.
    pub(crate) fn at(&self, address: SocketAddr) -> String {
        self.url.replace(&server().address.to_string(), &address.to_string())
    }
}

struct Server {
    address: SocketAddr,
    root: PathBuf,
    /// The bucket of each data folder.
    buckets: Mutex<HashMap<PathBuf, String>>,
}

/// Where the server listens.
pub(crate) fn address() -> SocketAddr {
    server().address
}

/// The bucket of a data folder, if `TEST_BLOBS` asks for one.
pub(crate) fn if_enabled(data: &Path) -> Option<Bucket> {
    let enabled = std::env::var("TEST_BLOBS").is_ok_and(|stores| stores == "s3");
    enabled.then(|| get_or_create(data))
}

/// The bucket of a data folder, created on first use.
pub(crate) fn get_or_create(data: &Path) -> Bucket {
    let Server { address, root, buckets } = server();
    let name = buckets
        .lock()
        .unwrap()
        .entry(data.to_path_buf())
        .or_insert_with(|| {
            let name = format!("t-{}", Uuid::new_v4().simple());
            std::fs::create_dir(root.join(&name)).unwrap();
            name
        })
        .clone();
    let credentials = root.join(CREDENTIALS);
    let url = format!("s3://{name}/some/place?endpoint=http://{address}");
    Bucket { url, credentials, folder: root.join(name).join("some/place") }
}

/// Makes two data folders share a bucket.
pub(crate) fn share(from: &Path, to: &Path) {
    get_or_create(from);
    let mut buckets = server().buckets.lock().unwrap();
    let name = buckets[from].clone();
    buckets.insert(to.to_owned(), name);
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let root = own_folder();
        let keys =
            format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
        std::fs::write(root.join(CREDENTIALS), keys).unwrap();
        let store = s3s_fs::FileSystem::new(&root).unwrap();
        let (send, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap()).unwrap();
                let mut service = S3ServiceBuilder::new(store);
                service.set_auth(SimpleAuth::from_single(ID, SECRET));
                let service = service.build();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let service = service.clone();
                    tokio::spawn(async move {
                        let http = auto::Builder::new(TokioExecutor::new());
                        // The client sees how the connection ended.
                        let _ = http.serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            });
        });
        Server { address: address.recv().unwrap(), root, buckets: Mutex::default() }
    })
}

/// A folder for this process. Folders of processes that have ended are removed.
fn own_folder() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("buckets");
    std::fs::create_dir_all(&all).unwrap();
    for left in std::fs::read_dir(&all).unwrap() {
        let left = left.unwrap();
        let process = left.file_name().into_string().unwrap();
        if !Path::new("/proc").join(process).exists() {
            // Another test process may be removing it too.
            let _ = std::fs::remove_dir_all(left.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    std::fs::create_dir(&own).unwrap();
    own
}
