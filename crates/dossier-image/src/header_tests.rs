//! Headers of every format, assembled by hand where there is no encoder.

use std::io::{Cursor, SeekFrom};

use super::*;
use crate::forward::{BUFFER_BYTES, READ_MAX_BYTES};
use crate::samples;

fn size(source: &[u8]) -> Option<(ImageKind, u32, u32)> {
    read_header(&mut Cursor::new(source)).map(|found| (found.kind, found.width, found.height))
}

/// A source that counts the bytes read from it.
struct Counted<'a> {
    inner: Cursor<&'a [u8]>,
    read_bytes: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read_bytes += count;
        Ok(count)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(position)
    }
}

fn boxed(name: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 8).to_be_bytes()[..], &name, payload].concat()
}

#[test]
fn sizes_of_formats_without_a_decoder_are_read() {
    let ispe = boxed(*b"ispe", &[0, 0, 0, 0, 0, 0, 0x0f, 0xc0, 0, 0, 0x0b, 0xd0]);
    let irot = boxed(*b"irot", &[1]);
    let meta = |properties: &[u8]| {
        let ipco = boxed(*b"ipco", properties);
        boxed(*b"meta", &[&[0; 4], &boxed(*b"iprp", &ipco)[..]].concat())
    };
    let ftyp = boxed(*b"ftyp", b"heic\0\0\0\0mif1heic");
    let heic = [&ftyp[..], &meta(&ispe), &boxed(*b"mdat", &[0; 32])].concat();
    assert_eq!(size(&heic), Some((ImageKind::Other, 4032, 3024)));
    let turned = [&ftyp[..], &meta(&[ispe, irot].concat()), &boxed(*b"mdat", &[0; 32])].concat();
    assert_eq!(size(&turned), Some((ImageKind::Other, 3024, 4032)), "irot swaps the sides");

    let psd = [&b"8BPS\0\x01\0\0\0\0\0\0\0\x03"[..], &[0, 0, 1, 0, 0, 0, 2, 0]].concat();
    assert_eq!(size(&psd), Some((ImageKind::Other, 512, 256)));

    let ihdr = boxed(*b"ihdr", &[0, 0, 1, 0, 0, 0, 2, 0, 0, 3, 7, 7, 0, 0]);
    let signature = b"\0\0\0\x0cjP  \r\n\x87\n";
    let jp2 = [&signature[..], &boxed(*b"ftyp", b"jp2 \0\0\0\0jp2 "), &boxed(*b"jp2h", &ihdr)];
    assert_eq!(size(&jp2.concat()), Some((ImageKind::Other, 512, 256)));

    // Height and width follow the header's size and flags, little endian.
    let dds = [&b"DDS \x7c\0\0\0\x07\x10\0\0"[..], &[0, 1, 0, 0, 0, 2, 0, 0], &[0; 112]];
    assert_eq!(size(&dds.concat()), Some((ImageKind::Other, 512, 256)));

    let siz = [0, 0, 2, 10, 0, 0, 1, 5, 0, 0, 0, 10, 0, 0, 0, 5];
    let codestream = [&b"\xff\x4f\xff\x51\0\x2f\0\0"[..], &siz].concat();
    assert_eq!(size(&codestream), Some((ImageKind::Other, 512, 256)));
}

#[test]
fn sizes_of_decoded_formats_are_read() {
    assert_eq!(size(&samples::png_head(3000, 2000)), Some((ImageKind::Png, 3000, 2000)));
    assert_eq!(size(&samples::bmp_head(300, -200)), Some((ImageKind::Bmp, 300, 200)));
    let gif = samples::gif_of(300, 200, [0, 0, 1, 1]);
    assert_eq!(size(&gif), Some((ImageKind::Gif, 300, 200)));
    let jpeg = samples::jpeg_head_of(3000, 2000);
    assert_eq!(size(&jpeg), Some((ImageKind::Jpeg, 3000, 2000)));
    let old_bmp = [&b"BM"[..], &[0; 12], &[12, 0, 0, 0], &[44, 1, 200, 0], &[1, 0, 24, 0]];
    assert_eq!(size(&old_bmp.concat()), Some((ImageKind::Bmp, 300, 200)));
}

#[test]
fn implausible_sizes_are_no_header() {
    assert_eq!(size(&samples::png_head(0, 10)), None);
    assert_eq!(size(&samples::png_head(10, 1_000_001)), None);
    assert!(size(&samples::png_head(10, 1_000_000)).is_some());
    assert_eq!(size(&samples::bmp_head(-5, 5)), None);
    assert_eq!(size(&samples::bmp_head(5, i32::MIN)), None);
    assert_eq!(size(&samples::jpeg_head_of(0, 10)), None);
    let psd = [&b"8BPS\0\x01\0\0\0\0\0\0\0\x03"[..], &[0xff; 8]].concat();
    assert_eq!(size(&psd), None);
}

#[test]
fn reading_a_large_file_is_bounded() {
    // Endless empty boxes, chunks and segments, and stray bytes without any marker.
    let boxes =
        [&b"\0\0\0\x0cjP  \r\n\x87\n"[..], &boxed(*b"free", b"").repeat(3_000_000)].concat();
    let segments = [&[0xff, 0xd8][..], &[0xff, 0xe5, 0, 2].repeat(6_000_000)].concat();
    let stray = [&[0xff, 0xd8, 0xff, 0xe5, 0, 2][..], &vec![0; 24_000_000]].concat();
    let fill = [&[0xff, 0xd8][..], &vec![0xff; 24_000_000]].concat();
    let chunks = [samples::png_head(5, 5), samples::png_chunk(*b"teXt", b"").repeat(2_000_000)];
    for source in [boxes, segments, stray, fill, chunks.concat()] {
        let mut counted = Counted { inner: Cursor::new(&source), read_bytes: 0 };
        read_header(&mut counted);
        let most = 2 * (READ_MAX_BYTES as usize + BUFFER_BYTES);
        assert!(counted.read_bytes <= most, "{} bytes were read", counted.read_bytes);
    }
}

#[test]
fn a_usual_header_costs_few_bytes() {
    let mut source = samples::jpeg(&samples::texture(1500, 1500));
    for _ in 0..20 {
        source = samples::with_segment(&source, 0xe5, &vec![0; 60_000]);
    }
    let mut counted = Counted { inner: Cursor::new(&source), read_bytes: 0 };
    assert!(read_header(&mut counted).is_some());
    assert!(counted.read_bytes < 200_000, "{} bytes were read", counted.read_bytes);
}

#[test]
fn reading_starts_at_the_beginning_whatever_the_position_of_the_source() {
    let source = samples::png_head(30, 20);
    let mut cursor = Cursor::new(&source);
    cursor.set_position(15);
    assert!(read_header(&mut cursor).is_some());
}
