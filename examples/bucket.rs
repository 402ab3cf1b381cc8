//! A bucket for the benches: `bucket FOLDER` serves the subfolder `bench` of a folder with s3s-fs,
//! prints its address, and runs until it is stopped. The keys come from the environment.
#![expect(clippy::disallowed_methods, reason = "the keys are in the environment as for any client")]

use std::path::Path;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).context("usage: bucket FOLDER")?;
    std::fs::create_dir_all(Path::new(&folder).join("bench"))?;
    let key = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let store = s3s_fs::FileSystem::new(&folder)
        .map_err(|error| anyhow::anyhow!("the folder cannot be served: {error:?}"))?;
    let mut service = S3ServiceBuilder::new(store);
    service.set_auth(SimpleAuth::from_single(
        key("AWS_ACCESS_KEY_ID")?,
        key("AWS_SECRET_ACCESS_KEY")?,
    ));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "it is this program's output")]
    {
        println!("http://{}", listener.local_addr()?);
    }
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            // The client sees how the connection ended.
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
