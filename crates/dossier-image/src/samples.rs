//! Generates the pictures that the tests read: normal ones through encoders, odd ones by hand.

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, RgbImage, RgbaImage};
use turbojpeg::{Colorspace, Compressor, PixelFormat, Subsamp};

use crate::Rendered;

pub(crate) const RED: [u8; 3] = [230, 30, 30];
pub(crate) const GREEN: [u8; 3] = [30, 200, 30];
pub(crate) const BLUE: [u8; 3] = [30, 30, 220];
pub(crate) const WHITE: [u8; 3] = [240, 240, 240];

/// Text in metadata that must not appear in previews.
pub(crate) const SECRET: &[u8] = b"GPS-52.5200N-13.4050E";

/// Colours of the four corners of a picture: top left, top right, bottom left, bottom right.
pub(crate) type Corners = [[u8; 3]; 4];

/// A picture of four plain quarters.
pub(crate) fn quarters(width: u32, height: u32, corners: Corners) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let index = usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2);
        image::Rgb(corners[index])
    })
}

/// A picture with detail everywhere.
pub(crate) fn texture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * 7919 + y * 104_729) ^ ((x * y) >> 3);
        image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, noise as u8])
    })
}

/// How a JPEG is encoded.
#[derive(Clone, Copy)]
pub(crate) struct JpegStyle {
    pub(crate) format: PixelFormat,
    pub(crate) colorspace: Option<Colorspace>,
    pub(crate) subsampling: Subsamp,
    pub(crate) progressive: bool,
}

pub(crate) const PLAIN: JpegStyle = JpegStyle {
    format: PixelFormat::RGB,
    colorspace: None,
    subsampling: Subsamp::None,
    progressive: false,
};

/// Encodes pixels of `style.format` as a JPEG of quality 95.
pub(crate) fn jpeg_of(pixels: &[u8], width: u32, height: u32, style: JpegStyle) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(95).unwrap();
    compressor.set_subsamp(style.subsampling).unwrap();
    compressor.set_progressive(style.progressive).unwrap();
    if let Some(colorspace) = style.colorspace {
        compressor.set_colorspace(colorspace).unwrap();
    }
    let (width, height) = (width as usize, height as usize);
    let (format, pitch) = (style.format, width * style.format.size());
    compressor.compress_to_vec(turbojpeg::Image { pixels, width, pitch, height, format }).unwrap()
}

pub(crate) fn jpeg(picture: &RgbImage) -> Vec<u8> {
    jpeg_of(picture.as_raw(), picture.width(), picture.height(), PLAIN)
}

/// Inserts a segment right after the start of a JPEG.
pub(crate) fn with_segment(jpeg: &[u8], marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, payload, &jpeg[2..]].concat()
}

/// EXIF data of `orientation` (TIFF, little endian) with [`SECRET`] as its description.
pub(crate) fn exif(orientation: u16) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x02\0".to_vec();
    tiff.extend([0x0e, 0x01, 2, 0]);
    tiff.extend((SECRET.len() as u32).to_le_bytes());
    tiff.extend(38_u32.to_le_bytes());
    tiff.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0]);
    tiff.extend(u32::from(orientation).to_le_bytes());
    tiff.extend(0_u32.to_le_bytes());
    tiff.extend(SECRET);
    tiff
}

pub(crate) fn with_exif(jpeg: &[u8], orientation: u16) -> Vec<u8> {
    with_segment(jpeg, 0xe1, &[b"Exif\0\0", &exif(orientation)[..]].concat())
}

/// Inserts a colour profile into a JPEG, split into pieces of `piece_bytes`.
pub(crate) fn with_icc(jpeg: &[u8], icc: &[u8], piece_bytes: usize) -> Vec<u8> {
    let pieces: Vec<_> = icc.chunks(piece_bytes).collect();
    let count = u8::try_from(pieces.len()).unwrap();
    let mut out = jpeg.to_vec();
    for (number, piece) in (1..=count).zip(&pieces).rev() {
        let payload = [b"ICC_PROFILE\0", &[number, count][..], piece].concat();
        out = with_segment(&out, 0xe2, &payload);
    }
    out
}

pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A PNG with EXIF data and a colour profile.
pub(crate) fn png_with(picture: &RgbImage, exif: Option<Vec<u8>>, icc: Option<Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new(&mut file);
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif).unwrap();
    }
    if let Some(icc) = icc {
        encoder.set_icc_profile(icc).unwrap();
    }
    DynamicImage::ImageRgb8(picture.clone()).write_with_encoder(encoder).unwrap();
    file
}

/// A chunk of a PNG with a correct checksum.
pub(crate) fn png_chunk(name: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut sum = u32::MAX;
    for byte in name.iter().chain(payload) {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    let length = (payload.len() as u32).to_be_bytes();
    [&length[..], &name, payload, &(!sum).to_be_bytes()].concat()
}

/// The beginning of a PNG: signature and IHDR of an RGBA picture.
pub(crate) fn png_head(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n", &png_chunk(*b"IHDR", &header)[..]].concat()
}

/// Data as a zlib stream that does not compress (RFC 1950, RFC 1951 §3.2.4).
fn stored(data: &[u8]) -> Vec<u8> {
    let (low, high) = data.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    let length = data.len() as u16;
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    [&[0x78, 1, 1][..], &lengths, data, &((high << 16) | low).to_be_bytes()].concat()
}

/// A palette PNG of 2 by 2 pixels in [`RED`], [`GREEN`], [`BLUE`] and [`WHITE`], interlaced on
/// request. `last_alpha` is the alpha of the white pixel.
pub(crate) fn palette_png(interlaced: bool, last_alpha: u8) -> Vec<u8> {
    // Adam7 stores the first pixel, its right neighbour, then the lower row.
    let rows: &[u8] = if interlaced { &[0, 0, 0, 1, 0, 2, 3] } else { &[0, 0, 1, 0, 2, 3] };
    let header = [0, 0, 0, 2, 0, 0, 0, 2, 8, 3, 0, 0, u8::from(interlaced)];
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(*b"IHDR", &header),
        png_chunk(*b"PLTE", &[RED, GREEN, BLUE, WHITE].concat()),
        png_chunk(*b"tRNS", &[255, 255, 255, last_alpha]),
        png_chunk(*b"IDAT", &stored(rows)),
        png_chunk(*b"IEND", b""),
    ]
    .concat()
}

/// An animated PNG of 1 by 1 pixel: red, then blue.
pub(crate) fn animated_png() -> Vec<u8> {
    let frame = |number: u32| {
        let head = [number, 1, 1, 0, 0].map(u32::to_be_bytes).concat();
        png_chunk(*b"fcTL", &[&head[..], &[0, 1, 0, 10, 0, 0]].concat())
    };
    let pixel = |[red, green, blue]: [u8; 3]| stored(&[0, red, green, blue]);
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(*b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]),
        png_chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
        frame(0),
        png_chunk(*b"IDAT", &pixel(RED)),
        frame(1),
        png_chunk(*b"fdAT", &[&[0, 0, 0, 2][..], &pixel(BLUE)].concat()),
        png_chunk(*b"IEND", b""),
    ]
    .concat()
}

/// A GIF of `width` by `height` with one red frame of `frame` (left, top, width, height).
pub(crate) fn gif_of(width: u16, height: u16, frame: [u16; 4]) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend([width, height].map(u16::to_le_bytes).concat());
    // Two colours follow; then the frame.
    file.extend([0x80, 0, 0, 255, 0, 0, 0, 0, 255, 0x2c]);
    file.extend(frame.map(u16::to_le_bytes).concat());
    file.extend([0, 2]);
    // Codes of three bits: for each pixel clear (4) and colour 0 (0), then end (5). The clear
    // before every pixel keeps the code width at three bits.
    let pixels = usize::from(frame[2]) * usize::from(frame[3]);
    let codes = (0..pixels).flat_map(|_| [4_u8, 0]).chain([5]);
    let bits: Vec<u8> = codes.flat_map(|code| (0..3).map(move |bit| (code >> bit) & 1)).collect();
    let bytes: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().rev().fold(0, |value, bit| (value << 1) | bit))
        .collect();
    for block in bytes.chunks(255) {
        file.push(block.len() as u8);
        file.extend(block);
    }
    file.extend([0, 0x3b]);
    file
}

/// A BMP header for three bytes per pixel, and nothing after it.
pub(crate) fn bmp_head(width: i32, height: i32) -> Vec<u8> {
    let mut file = b"BM".to_vec();
    file.extend([54_u32, 0, 54, 40].map(u32::to_le_bytes).concat());
    file.extend([width, height].map(i32::to_le_bytes).concat());
    file.extend([1, 0, 24, 0]);
    file.extend([0; 24]);
    file
}

/// A JPEG whose header states this size.
pub(crate) fn jpeg_head_of(width: u16, height: u16) -> Vec<u8> {
    let mut file = jpeg(&quarters(16, 16, [RED; 4]));
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

/// Decodes a preview.
pub(crate) fn open(preview: &Rendered) -> RgbaImage {
    match preview.media_type {
        "image/png" => image::load_from_memory(&preview.bytes).unwrap().to_rgba8(),
        "image/jpeg" => {
            let decoded = turbojpeg::decompress(&preview.bytes, PixelFormat::RGBA).unwrap();
            RgbaImage::from_raw(decoded.width as u32, decoded.height as u32, decoded.pixels)
                .unwrap()
        }
        "image/webp" => open_webp(&preview.bytes),
        other => panic!("unexpected media type {other}"),
    }
}

#[expect(unsafe_code, reason = "libwebp-sys has no safe calls; the input is our own output")]
fn open_webp(bytes: &[u8]) -> RgbaImage {
    let (mut width, mut height) = (0, 0);
    // SAFETY: the decoder returns a buffer of four bytes per pixel, copied before it is released.
    let pixels = unsafe {
        let (data, size) = (bytes.as_ptr(), bytes.len());
        let decoded = libwebp_sys::WebPDecodeRGBA(data, size, &raw mut width, &raw mut height);
        assert!(!decoded.is_null(), "not a WebP");
        let pixels = std::slice::from_raw_parts(decoded, width as usize * height as usize * 4);
        let pixels = pixels.to_vec();
        libwebp_sys::WebPFree(decoded.cast());
        pixels
    };
    RgbaImage::from_raw(width as u32, height as u32, pixels).unwrap()
}

/// The colours in the middle of the four quarters of a preview.
pub(crate) fn corners_of(preview: &Rendered) -> Corners {
    let picture = open(preview);
    let (width, height) = picture.dimensions();
    let at = |x: u32, y: u32| {
        let [red, green, blue, _] = picture.get_pixel(width * x / 4, height * y / 4).0;
        [red, green, blue]
    };
    [at(1, 1), at(3, 1), at(1, 3), at(3, 3)]
}

/// Fails unless two colours differ by at most `tolerance` in each channel.
pub(crate) fn assert_close(found: [u8; 3], expected: [u8; 3], tolerance: u8) {
    let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= tolerance);
    assert!(near, "{found:?} is not {expected:?} (± {tolerance})");
}
