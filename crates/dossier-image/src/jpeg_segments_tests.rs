//! Segments: files assembled by hand.

use super::*;
use crate::samples;

fn head(source: &[u8]) -> Option<JpegHead> {
    read_head(&mut Cursor::new(source), Detail::Profile)
}

fn plain() -> Vec<u8> {
    samples::jpeg(&samples::quarters(40, 30, [samples::RED; 4]))
}

#[test]
fn stray_and_fill_bytes_between_segments_are_skipped() {
    let plain = plain();
    let odd = [&plain[..2], &[0, 7, 0xff, 0, 0xff, 0xff, 0xff], &plain[3..]].concat();
    let found = head(&odd).expect("a frame");
    assert_eq!((found.width, found.height, found.has_scan), (40, 30, true));
}

#[test]
fn a_thumbnail_inside_a_segment_is_not_mistaken_for_the_picture() {
    let thumbnail = samples::jpeg(&samples::texture(8, 8));
    let source = samples::with_segment(&plain(), 0xe1, &[b"Exif\0\0", &thumbnail[..]].concat());
    let found = head(&source).expect("a frame");
    assert_eq!((found.width, found.height), (40, 30));
}

#[test]
fn profile_pieces_are_joined_in_order_and_only_if_complete() {
    let piece = |number: u8, count: u8, bytes: &[u8]| {
        [b"ICC_PROFILE\0", &[number, count][..], bytes].concat()
    };
    let with = |pieces: &[Vec<u8>]| {
        let mut source = plain();
        for piece in pieces.iter().rev() {
            source = samples::with_segment(&source, 0xe2, piece);
        }
        head(&source).expect("a frame").icc
    };
    let whole = Some(b"abcd".to_vec());
    assert_eq!(with(&[piece(1, 2, b"ab"), piece(2, 2, b"cd")]), whole);
    assert_eq!(with(&[piece(2, 2, b"cd"), piece(1, 2, b"ab")]), whole);
    assert_eq!(with(&[piece(2, 2, b"cd")]), None);
    assert_eq!(with(&[piece(1, 1, b"ab"), piece(1, 1, b"cd")]), None);
    assert_eq!(with(&[piece(0, 1, b"ab")]), None);
    assert_eq!(with(&[]), None);
}

#[test]
fn an_overlong_profile_is_ignored() {
    let mut source = plain();
    for number in (1..=200).rev() {
        let piece = [b"ICC_PROFILE\0", &[number, 200][..], &vec![0; 65_000]].concat();
        source = samples::with_segment(&source, 0xe2, &piece);
    }
    let found = head(&source).expect("a frame");
    assert_eq!((found.width, found.has_scan, found.icc), (40, true, None));
}

#[test]
fn the_copy_without_metadata_keeps_the_picture() {
    let plain = plain();
    let mut source = samples::with_exif(&plain, 3);
    source = samples::with_segment(&source, 0xfe, samples::SECRET);
    source = samples::with_segment(&source, 0xee, b"Adobe\0\x64\0\0\0\0\x01");
    let bare = without_metadata(&source).expect("a scan");
    assert!(!bare.windows(samples::SECRET.len()).any(|part| part == samples::SECRET));
    assert!(head(&bare).expect("a frame").has_adobe_marker);
    let open = |file: &[u8]| turbojpeg::decompress(file, turbojpeg::PixelFormat::RGB).unwrap();
    assert_eq!(open(&bare).pixels, open(&plain).pixels);
}

#[test]
fn coefficients_count_only_where_a_decoder_holds_them() {
    let style = samples::JpegStyle {
        progressive: true,
        subsampling: turbojpeg::Subsamp::Sub2x2,
        ..samples::PLAIN
    };
    let picture = samples::texture(64, 32);
    let progressive = samples::jpeg_of(picture.as_raw(), 64, 32, style);
    // Brightness has 8 * 4 blocks, each colour difference a quarter of that.
    let found = head(&progressive).expect("a frame");
    assert_eq!(found.coefficient_bytes(), (32 + 8 + 8) * 128);
    let sequential = samples::jpeg(&picture);
    assert_eq!(head(&sequential).expect("a frame").coefficient_bytes(), 0);
}
