//! The worker: a process of this program that renders pictures from the files that it receives, and
//! can do nothing else.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use dossier_image::{Recipe, RenderError, RenderLimits, Rendered, heic_support, render};

use super::protocol::{self, RenderRequest, Reply};
use super::sandbox;

/// The first argument that turns this program into a worker. Its standard input is the socket.
pub const WORKER_COMMAND: &str = "render-worker";

/// Renders pictures until the server closes the socket.
pub fn work() -> ExitCode {
    match work_until_closed() {
        Ok(()) => ExitCode::SUCCESS,
        // The server sees the socket close; the error cannot be reported elsewhere.
        Err(_) => ExitCode::FAILURE,
    }
}

fn work_until_closed() -> io::Result<()> {
    sandbox::close_inherited();
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    sandbox::set_limits()?;
    warm_up();
    let filtered = sandbox::filter_calls();
    protocol::write(&mut socket, &Reply::Ready { filtered })?;
    while let Some((request, source)) = protocol::receive_request(&mut socket)? {
        match render_file(&source, &request) {
            Ok(made) => {
                let Rendered { bytes, media_type, width, height } = made;
                let (media_type, length_bytes) = (media_type.to_owned(), bytes.len() as u64);
                let reply = Reply::Made { media_type, width, height, length_bytes };
                protocol::write(&mut socket, &reply)?;
                socket.write_all(&bytes)?;
            }
            Err(rejected) => protocol::write(&mut socket, &Reply::rejected(&rejected))?,
        }
    }
    Ok(())
}

/// Does the one-time work of the first picture, while files can still be opened and nobody waits:
/// libraries are loaded, code is read from the disk, tables are built.
fn warm_up() {
    // Without the library, each picture that needs it is rejected.
    let _ = heic_support();
    // The result is discarded; a decoder that fails here will also fail on a real picture.
    let _ = render(&strip(), &Recipe::preview(), &RenderLimits::default());
}

/// A black BMP of one line. It is too wide for a preview, so that rendering includes resizing.
fn strip() -> Vec<u8> {
    const WIDTH: u32 = 700;
    let head = [b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", &WIDTH.to_le_bytes()[..]].concat();
    let mut file = [&head[..], b"\x01\0\0\0\x01\0\x18\0"].concat();
    file.resize(0x36 + WIDTH as usize * 3, 0);
    file
}

fn render_file(source: &File, request: &RenderRequest) -> Result<Rendered, RenderError> {
    let bytes = read(source, &request.limits)?;
    render(&bytes, &request.recipe, &request.limits)
}

/// Reads the whole original. Its size comes from seeking, because a worker may not query file
/// metadata.
fn read(mut source: &File, limits: &RenderLimits) -> Result<Vec<u8>, RenderError> {
    let broken = |error: io::Error| RenderError::Broken { problem: error.to_string() };
    let size_bytes = source.seek(SeekFrom::End(0)).map_err(broken)?;
    if size_bytes > limits.max_source_bytes {
        return Err(RenderError::TooLarge {
            what: "the file size in bytes",
            actual: size_bytes,
            limit: limits.max_source_bytes,
        });
    }
    let mut bytes = vec![0; size_bytes as usize];
    source.read_exact_at(&mut bytes, 0).map_err(broken)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_picture_can_be_rendered() {
        let made = render(&strip(), &Recipe::preview(), &RenderLimits::default()).unwrap();
        assert_eq!((made.width, made.height), (640, 1));
    }
}
