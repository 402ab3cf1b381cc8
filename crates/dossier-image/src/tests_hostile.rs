//! Hostile and damaged files are rejected or rendered in part, quickly, without a panic.

use std::sync::LazyLock;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat};
use proptest::prelude::*;

use crate::samples::{self, BLUE, GREEN, JpegStyle, PLAIN, RED, WHITE};
use crate::*;

/// Small valid files of every format that is always decoded, with metadata.
static VALID: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let picture = samples::quarters(90, 60, [RED, GREEN, BLUE, WHITE]);
    let icc = moxcms::ColorProfile::new_display_p3().encode().expect("encodes");
    let progressive = JpegStyle { progressive: true, ..PLAIN };
    let dynamic = DynamicImage::ImageRgb8(picture.clone());
    vec![
        samples::with_icc(&samples::with_exif(&samples::jpeg(&picture), 6), &icc, 300),
        samples::jpeg_of(picture.as_raw(), 90, 60, progressive),
        samples::png_with(&picture, Some(samples::exif(8)), Some(icc)),
        samples::encoded(&dynamic, ImageFormat::Gif),
        samples::gif_of(20, 10, [10, 5, 10, 5]),
        samples::palette_png(true, 9),
        samples::animated_png(),
        samples::encoded(&dynamic, ImageFormat::Bmp),
    ]
});

fn rejection(source: &[u8]) -> RenderError {
    make_preview(source, &RenderLimits::default()).expect_err("must be rejected")
}

/// Runs the public functions on `source`. Header and preview must agree.
fn exercise(source: &[u8]) {
    let limits = RenderLimits::default();
    let header = read_header(&mut Cursor::new(source));
    let Ok(preview) = make_preview(source, &limits) else { return };
    let header = header.expect("a preview without a header");
    assert!(can_preview(&header, source.len() as u64, &limits));
    assert!(preview.width.max(preview.height) <= PREVIEW_EDGE_PX);
    let expected = geometry::plan((header.width, header.height), &Recipe::preview());
    assert_eq!((preview.width, preview.height), expected.expect("a plan").target);
}

#[test]
fn s7_bombs_are_rejected_from_their_header() {
    let bombs = [
        samples::jpeg_head_of(65_000, 65_000),
        samples::jpeg_head_of(64_250, 64_250),
        samples::png_head(65_000, 65_000),
        samples::png_head(16_384, 16_384),
        samples::gif_of(65_000, 65_000, [0, 0, 1, 1]),
        samples::bmp_head(65_000, 65_000),
        samples::bmp_head(65_000, -65_000),
    ];
    for bomb in bombs {
        let header = read_header(&mut Cursor::new(&bomb)).expect("a header");
        assert!(!can_preview(&header, bomb.len() as u64, &RenderLimits::default()));
        assert!(matches!(rejection(&bomb), RenderError::TooLarge { .. }), "{header:?}");
    }
}

#[test]
fn a_side_beyond_65535_is_rejected() {
    let header = ImageHeader { kind: ImageKind::Png, width: 65_536, height: 1 };
    assert!(!can_preview(&header, 100, &RenderLimits::default()));
    let header = ImageHeader { width: 65_535, ..header };
    assert!(can_preview(&header, 100, &RenderLimits::default()));
}

#[test]
fn each_limit_holds_on_its_own() {
    let header = ImageHeader { kind: ImageKind::Gif, width: 100, height: 100 };
    let exact =
        RenderLimits { max_pixels: 10_000, max_source_bytes: 500, max_decoded_bytes: 40_000 };
    assert!(can_preview(&header, 500, &exact));
    assert!(!can_preview(&header, 501, &exact));
    assert!(!can_preview(&header, 500, &RenderLimits { max_pixels: 9_999, ..exact }));
    assert!(!can_preview(&header, 500, &RenderLimits { max_decoded_bytes: 39_999, ..exact }));
    let other = ImageHeader { kind: ImageKind::Other, ..header };
    assert!(!can_preview(&other, 500, &RenderLimits::default()));
}

#[test]
fn coefficients_of_a_progressive_jpeg_count_as_memory() {
    let picture = samples::texture(640, 480);
    let progressive = JpegStyle { progressive: true, ..PLAIN };
    let progressive = samples::jpeg_of(picture.as_raw(), 640, 480, progressive);
    let sequential = samples::jpeg(&picture);
    // The pixels alone are 640 * 480 * 3 bytes, the coefficients twice that.
    let limits = RenderLimits { max_decoded_bytes: 640 * 480 * 3 + 1, ..RenderLimits::default() };
    assert!(make_preview(&sequential, &limits).is_ok());
    let rejected = make_preview(&progressive, &limits).expect_err("too large");
    assert!(matches!(rejected, RenderError::TooLarge { actual, .. } if actual == 640 * 480 * 9));
}

#[test]
fn a_jpeg_of_a_thousand_scans_is_rejected() {
    let progressive = JpegStyle { progressive: true, ..PLAIN };
    let picture = samples::texture(64, 64);
    let file = samples::jpeg_of(picture.as_raw(), 64, 64, progressive);
    let starts: Vec<_> =
        (0..file.len() - 1).filter(|at| file[*at..*at + 2] == [0xff, 0xda]).collect();
    // The last scan refines one component and can be repeated any number of times.
    let end = file.len() - 2;
    let last = &file[*starts.last().expect("a scan")..end];
    let repeated = |times: usize| [&file[..end], &last.repeat(times), &file[end..]].concat();
    assert!(make_preview(&repeated(20), &RenderLimits::default()).is_ok());
    assert!(matches!(rejection(&repeated(1_000)), RenderError::Broken { .. }));
}

#[test]
fn unpacking_a_compressed_profile_is_bounded() {
    // 64 MiB of zeros as an iCCP chunk: one repeated distance code.
    let mut zlib = vec![0x78, 0x01];
    zlib.extend(deflated_zeros());
    // Adler-32 of that many zeros: the low half stays 1, the high half counts bytes.
    let adler = (((1 + COPIES * 258) % 65_521) << 16) | 1;
    zlib.extend(adler.to_be_bytes());
    let profile = [b"p\0\0", &zlib[..]].concat();
    let source = samples::png_with(&samples::quarters(32, 32, [RED; 4]), None, None);
    let bomb = [&source[..33], &samples::png_chunk(*b"iCCP", &profile), &source[33..]].concat();
    let mut unlimited = PngDecoder::new(Cursor::new(&bomb)).expect("a PNG");
    let unpacked_bytes = unlimited.icc_profile().expect("unpacks").map_or(0, |icc| icc.len());
    assert!(unpacked_bytes > 64_000_000, "the sample is not a bomb");
    let preview = make_preview(&bomb, &RenderLimits::default()).expect("the profile is ignored");
    assert_eq!((preview.width, preview.height), (32, 32));
}

/// Copies in [`deflated_zeros`], of 258 bytes each.
const COPIES: u32 = 260_000;

/// A deflate block (RFC 1951 §3.2.6, fixed codes): one zero, then many copies of 258 bytes.
fn deflated_zeros() -> Vec<u8> {
    let mut bits: Vec<u8> = vec![1, 1, 0];
    bits.extend([0, 0, 1, 1, 0, 0, 0, 0]);
    for _ in 0..COPIES {
        // Length 258 is code 285 (11000101), distance 1 is code 0 of five bits.
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([0; 7]);
    bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| (sum << 1) | bit)).collect()
}

#[test]
fn files_truncated_anywhere_are_safe() {
    for source in VALID.iter() {
        exercise(source);
        make_preview(source, &RenderLimits::default()).expect("valid");
        for cut in (0..source.len().min(1_200)).chain((1_200..source.len()).step_by(97)) {
            exercise(&source[..cut]);
        }
    }
}

#[test]
fn a_jpeg_truncated_in_its_header_is_rejected() {
    let source = samples::jpeg(&samples::texture(100, 100));
    let scan = source.windows(2).position(|pair| pair == [0xff, 0xda]).expect("a scan");
    for cut in 0..=scan + 2 {
        let rejected = rejection(&source[..cut]);
        assert!(!matches!(rejected, RenderError::TooLarge { .. }), "cut at {cut}");
    }
}

#[test]
fn files_of_other_formats_are_unsupported() {
    let files: [&[u8]; 3] = [b"", &[0; 64], b"RIFF....WEBP"];
    for source in files {
        assert!(matches!(rejection(source), RenderError::Unsupported));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_are_safe(
        which in 0..8_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut source = VALID[which].clone();
        for (index, byte) in changes {
            let at = index.index(source.len());
            source[at] = byte;
        }
        exercise(&source);
    }

    #[test]
    fn flipped_bits_in_the_header_are_safe(
        which in 0..8_usize,
        at in 0..200_usize,
        bit in 0..8_u8,
    ) {
        let mut source = VALID[which].clone();
        if let Some(byte) = source.get_mut(at) {
            *byte ^= 1 << bit;
        }
        exercise(&source);
    }

    #[test]
    fn random_bytes_after_a_signature_are_safe(
        signature in prop::sample::select(vec![
            &b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
            b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif", b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a",
            b"8BPS", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"RIFF\0\0\0\0WEBPVP8X",
            b"\0\0\x01\0", b"v/1\x01", b"qoif", b"farbfeld", b"P6\n", b"#?RGBE\n", b"FORM\0\0\0\0ILBM",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        exercise(&[signature, &rest].concat());
    }
}
