//! Reads and decodes JPEG XL through the decoder of the libjxl project.

use std::io::{Read as _, SeekFrom};

use jxl::api::{
    AlphaMode, Event, ExtraChannel, JxlColorProfile, JxlColorType, JxlDataFormat, JxlDecoder,
    JxlDecoderOptions, JxlOutputBuffer, JxlPixelFormat, JxlTransferFunction, ProfileLevel,
};

use crate::RenderError;
use crate::forward::Source;
use crate::limits::{ICC_MAX_BYTES, RenderLimits, check};
use crate::picture::{Channels, Decoded, Picture};

/// Bytes within which most headers end.
const HEADER_BYTES: u64 = 4 * 1024;

/// Most bytes read to find the end of a header, which may hold a colour profile.
const HEADER_MAX_BYTES: u64 = 1024 * 1024;

/// Most channels of a picture: colours, alpha, and others that are decoded but not used.
const CHANNELS_MAX: u64 = 8;

/// Bytes of a sample while it is decoded.
const SAMPLE_BYTES: u64 = 4;

/// Most events before the first frame is complete: header, frame header, frame.
const ROUNDS_MAX: usize = 16;

/// Width and height of the upright picture, from the beginning of a file.
pub(crate) fn read_size(source: &mut dyn Source) -> Option<(u64, u64)> {
    [HEADER_BYTES, HEADER_MAX_BYTES].into_iter().find_map(|most| {
        source.seek(SeekFrom::Start(0)).ok()?;
        let mut head = Vec::new();
        (&mut *source).take(most).read_to_end(&mut head).ok()?;
        let mut decoder = JxlDecoder::new(options(None));
        let event = decoder.process(&mut &head[..], None, None).ok()?;
        let info = decoder.basic_info().filter(|_| event == Event::BasicInfo)?;
        Some((info.size.0 as u64, info.size.1 as u64))
    })
}

/// Level 10 admits the format's largest and most precise pictures; our own limits apply instead.
fn options(sample_limit: Option<usize>) -> JxlDecoderOptions {
    let mut options = JxlDecoderOptions::default();
    options.max_profile_level = ProfileLevel::Main10;
    options.sample_limit = sample_limit;
    options.alpha_mode = AlphaMode::Unpremultiplied;
    options
}

/// Decodes the first frame; the decoder turns it upright.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderError> {
    let sample_limit = usize::try_from(limits.max_decoded_bytes / SAMPLE_BYTES);
    let mut decoder = JxlDecoder::new(options(sample_limit.ok()));
    let mut input = source;
    if decoder.process(&mut input, None, None).map_err(RenderError::broken)? != Event::BasicInfo {
        return Err(RenderError::broken("the header is cut off"));
    }
    let info = decoder.basic_info().ok_or_else(|| RenderError::broken("no header"))?;
    let (width, height) = info.size;
    let extra_count = info.extra_channels.len();
    check("the number of channels", extra_count as u64 + 3, CHANNELS_MAX)?;
    let pixels = width as u64 * height as u64;
    limits.check_pixels(pixels)?;
    limits.check_decoded(pixels.saturating_mul((extra_count as u64 + 3) * SAMPLE_BYTES))?;

    let colour_type = colour_type(&decoder);
    let channels = match colour_type {
        JxlColorType::Grayscale => Channels::Grey,
        JxlColorType::GrayscaleAlpha => Channels::GreyAlpha,
        JxlColorType::Rgba => Channels::Rgba,
        _ => Channels::Rgb,
    };
    let format = JxlPixelFormat {
        color_type: colour_type,
        color_data_format: Some(JxlDataFormat::U8 { bit_depth: 8 }),
        extra_channel_format: vec![None; extra_count],
    };
    decoder.set_pixel_format(format).map_err(RenderError::broken)?;
    // Only now: the profile depends on the pixel format.
    let profile = decoder.output_color_profile().cloned();
    let row_bytes = width * channels.count();
    let mut pixels = vec![0; row_bytes * height];
    first_frame(&mut decoder, input, JxlOutputBuffer::new(&mut pixels, height, row_bytes))?;
    let (width, height) = (width as u32, height as u32);
    let picture = Picture { width, height, channels, pixels };
    Ok(Decoded::whole(picture, profile.and_then(|p| icc(&p))))
}

fn first_frame(
    decoder: &mut JxlDecoder,
    mut input: &[u8],
    output: JxlOutputBuffer<'_>,
) -> Result<(), RenderError> {
    let mut outputs = [output];
    for _ in 0..ROUNDS_MAX {
        let event = decoder.process(&mut input, Some(&mut outputs), None);
        match event.map_err(RenderError::broken)? {
            Event::FrameComplete { .. } => return Ok(()),
            Event::NeedMoreInput { .. } => {
                // A file that ends early gives what is there, like a JPEG.
                let has_pixels = decoder.flush_pixels(&mut outputs, None);
                let has_pixels = has_pixels.map_err(RenderError::broken)?;
                let cut_off = || RenderError::broken("the file is cut off");
                return has_pixels.then_some(()).ok_or_else(cut_off);
            }
            Event::Complete => break,
            Event::BasicInfo | Event::FrameHeader => {}
        }
    }
    Err(RenderError::broken("no frame"))
}

/// The pixels to request: as many colours as the file has, and alpha if it has any.
fn colour_type(decoder: &JxlDecoder) -> JxlColorType {
    let is_grey = decoder.output_color_profile().is_some_and(|profile| profile.channels() == 1);
    let has_alpha = decoder.basic_info().is_some_and(|info| {
        info.extra_channels.iter().any(|channel| channel.ec_type == ExtraChannel::Alpha)
    });
    match (is_grey, has_alpha) {
        (true, true) => JxlColorType::GrayscaleAlpha,
        (true, false) => JxlColorType::Grayscale,
        (false, true) => JxlColorType::Rgba,
        (false, false) => JxlColorType::Rgb,
    }
}

/// The profile of the decoded pixels. High dynamic range is treated as sRGB, which looks flat: a
/// literal conversion would be nearly black.
fn icc(profile: &JxlColorProfile) -> Option<Vec<u8>> {
    let is_hdr = matches!(
        profile.transfer_function(),
        Some(JxlTransferFunction::PQ | JxlTransferFunction::HLG)
    );
    if is_hdr {
        return None;
    }
    let icc = profile.try_as_icc()?.into_owned();
    (icc.len() <= ICC_MAX_BYTES).then_some(icc)
}
