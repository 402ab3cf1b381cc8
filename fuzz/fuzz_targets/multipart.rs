//! Multipart forms: hostile ones terminate, and valid ones yield their file, however they are split
//! into chunks.
#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use dossier::http::form;
use futures_util::stream;
use libfuzzer_sys::fuzz_target;

/// The bytes of all parts, or `None` when the form is rejected.
fn read(body: &[u8], boundary: &str, chunk_size: usize, max_bytes: u64) -> Option<Vec<Vec<u8>>> {
    let chunks: Vec<Result<Bytes, Infallible>> =
        body.chunks(chunk_size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let read = async {
        let mut form = form(stream::iter(chunks), boundary.to_owned(), max_bytes);
        let mut parts = Vec::new();
        while let Some(mut part) = form.next_field().await.ok()? {
            let mut bytes = Vec::new();
            while let Some(chunk) = part.chunk().await.ok()? {
                bytes.extend_from_slice(&chunk);
            }
            let _ = (part.name(), part.file_name(), part.content_type());
            parts.push(bytes);
        }
        Some(parts)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(read)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk_size, data) = input;
    let chunk_size = usize::from(chunk_size).max(1);
    let hostile = read(data, "b", chunk_size, 4_096);
    let total: usize = hostile.iter().flatten().map(Vec::len).sum();
    assert!(total <= data.len() && (data.len() <= 4_096 || hostile.is_none() || total <= 4_096));
    let boundary = "bound-3f1d0c6a9b7e4852";
    if data.windows(boundary.len()).any(|window| window == boundary.as_bytes()) {
        return;
    }
    let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n");
    let tail = format!("\r\n--{boundary}--\r\n");
    let valid = [head.as_bytes(), data, tail.as_bytes()].concat();
    assert_eq!(read(&valid, boundary, chunk_size, 1 << 20), Some(vec![data.to_vec()]));
});
