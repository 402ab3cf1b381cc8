//! Previews: whatever comes in, what comes out is a small picture of the size that it says.
#![no_main]

use std::io::Cursor;

use dossier::domain::image::{
    ImageKind, PREVIEW_EDGE_PX, RenderLimits, make_preview, read_header,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = RenderLimits {
        max_pixels: 1_000_000,
        max_source_bytes: 1024 * 1024,
        max_decoded_bytes: 8 * 1024 * 1024,
    };
    let Ok(preview) = make_preview(data, &limits) else { return };
    assert!(preview.width.max(preview.height) <= PREVIEW_EDGE_PX);
    let source = read_header(&mut Cursor::new(data)).expect("it was decoded");
    assert!(u64::from(source.width) * u64::from(source.height) <= limits.max_pixels);
    assert!(preview.width <= source.width && preview.height <= source.height, "enlarged");
    let header = read_header(&mut Cursor::new(&preview.bytes)).expect("a picture");
    assert_eq!((header.width, header.height), (preview.width, preview.height));
    let kind = if preview.media_type == "image/png" { ImageKind::Png } else { ImageKind::Jpeg };
    assert_eq!(header.kind, kind);
});
