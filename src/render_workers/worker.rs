//! The worker: a process of this program that makes pictures of files that it is handed, and can
//! do nothing else.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use super::protocol::{self, Answer, Order};
use super::sandbox;
use crate::domain::image::{Recipe, RenderLimits, RenderRefused, Rendered, heic_support, render};

/// The first argument that makes a worker of this program. Its standard input is the socket.
pub const WORKER_COMMAND: &str = "render-worker";

/// Makes pictures until the server closes the socket.
pub fn work() -> ExitCode {
    match work_until_closed() {
        Ok(()) => ExitCode::SUCCESS,
        // The server sees it as an end of the socket; there is no one else to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn work_until_closed() -> io::Result<()> {
    sandbox::close_inherited();
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    sandbox::set_bounds()?;
    prepare();
    let filtered = sandbox::filter_calls();
    protocol::write(&mut socket, &Answer::Ready { filtered })?;
    while let Some((order, source)) = protocol::receive_order(&mut socket)? {
        match make(&source, &order) {
            Ok(made) => {
                let Rendered { bytes, media_type, width, height } = made;
                let (media_type, length_bytes) = (media_type.to_owned(), bytes.len() as u64);
                let answer = Answer::Made { media_type, width, height, length_bytes };
                protocol::write(&mut socket, &answer)?;
                socket.write_all(&bytes)?;
            }
            Err(refused) => protocol::write(&mut socket, &Answer::refused(&refused))?,
        }
    }
    Ok(())
}

/// Does once what happens when something is made for the first time, while files can still be opened
/// and nobody waits: libraries are loaded, code is read from the disk, tables are made.
fn prepare() {
    // Without the library, pictures that need it are refused one by one.
    let _ = heic_support();
    // Its picture is nobody's; a decoder that fails here will say so about a real one.
    let _ = render(&strip(), &Recipe::preview(), &RenderLimits::default());
}

/// A black BMP of one line, too wide for a preview, so that it is resized as well.
fn strip() -> Vec<u8> {
    const WIDTH: u32 = 700;
    let head = [b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", &WIDTH.to_le_bytes()[..]].concat();
    let mut file = [&head[..], b"\x01\0\0\0\x01\0\x18\0"].concat();
    file.resize(0x36 + WIDTH as usize * 3, 0);
    file
}

fn make(source: &File, order: &Order) -> Result<Rendered, RenderRefused> {
    let bytes = read(source, &order.limits)?;
    render(&bytes, &order.recipe, &order.limits)
}

/// Reads the original from its beginning. Its size comes from seeking: asking for what else is
/// known of a file is not among what a worker may do.
fn read(mut source: &File, limits: &RenderLimits) -> Result<Vec<u8>, RenderRefused> {
    let broken = |error: io::Error| RenderRefused::Broken { problem: error.to_string() };
    let size_bytes = source.seek(SeekFrom::End(0)).map_err(broken)?;
    if size_bytes > limits.max_source_bytes {
        return Err(RenderRefused::TooLarge {
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
    fn the_picture_that_prepares_a_worker_can_be_made() {
        let made = render(&strip(), &Recipe::preview(), &RenderLimits::default()).unwrap();
        assert_eq!((made.width, made.height), (640, 1));
    }
}
