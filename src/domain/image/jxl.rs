//! Reads and decodes JPEG XL through the decoder of its makers.

use std::io::{Read, Seek, SeekFrom};

use jxl::api::{
    AlphaMode, Event, ExtraChannel, JxlColorProfile, JxlColorType, JxlDataFormat, JxlDecoder,
    JxlDecoderOptions, JxlOutputBuffer, JxlPixelFormat, JxlTransferFunction, ProfileLevel,
};

use super::picture::{Channels, Decoded, Picture};
use super::{ICC_MAX_BYTES, RenderLimits, RenderRefused};

/// Bytes in which most headers end.
const HEADER_BYTES: u64 = 4 * 1024;

/// Most bytes read to find the end of a header, which may hold a colour profile.
const HEADER_MAX_BYTES: u64 = 1024 * 1024;

/// Most channels of a picture: colours, transparency, and others that are decoded in vain.
const CHANNELS_MAX: u64 = 8;

/// Bytes of a sample while it is decoded.
const SAMPLE_BYTES: u64 = 4;

/// Events until the first frame is there: header, frame header, frame.
const ROUNDS_MAX: usize = 16;

/// Width and height of the upright picture, from the beginning of a file.
pub(super) fn read_size<R: Read + Seek>(source: &mut R) -> Option<(u64, u64)> {
    [HEADER_BYTES, HEADER_MAX_BYTES].into_iter().find_map(|most| {
        source.seek(SeekFrom::Start(0)).ok()?;
        let mut head = Vec::new();
        source.by_ref().take(most).read_to_end(&mut head).ok()?;
        let mut decoder = JxlDecoder::new(options(None));
        let event = decoder.process(&mut &head[..], None, None).ok()?;
        let info = decoder.basic_info().filter(|_| event == Event::BasicInfo)?;
        Some((info.size.0 as u64, info.size.1 as u64))
    })
}

/// Level 10 is what the format's largest and most precise pictures need; limits are ours.
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
/// As [`super::make_preview`].
pub(super) fn decode(source: &[u8], limits: &RenderLimits) -> Result<Decoded, RenderRefused> {
    let sample_limit = usize::try_from(limits.max_decoded_bytes / SAMPLE_BYTES);
    let mut decoder = JxlDecoder::new(options(sample_limit.ok()));
    let mut input = source;
    if decoder.process(&mut input, None, None).map_err(RenderRefused::broken)? != Event::BasicInfo {
        return Err(RenderRefused::broken("the header is cut off"));
    }
    let info = decoder.basic_info().ok_or_else(|| RenderRefused::broken("no header"))?;
    let (width, height) = info.size;
    let extra_count = info.extra_channels.len();
    super::check("the number of channels", extra_count as u64 + 3, CHANNELS_MAX)?;
    let pixels = width as u64 * height as u64;
    super::check("the number of pixels", pixels, limits.max_pixels)?;
    super::check_decoded(pixels.saturating_mul((extra_count as u64 + 3) * SAMPLE_BYTES), limits)?;

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
    decoder.set_pixel_format(format).map_err(RenderRefused::broken)?;
    // Only now: the pixel format takes part in choosing it.
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
) -> Result<(), RenderRefused> {
    let mut outputs = [output];
    for _ in 0..ROUNDS_MAX {
        let event = decoder.process(&mut input, Some(&mut outputs), None);
        match event.map_err(RenderRefused::broken)? {
            Event::FrameComplete { .. } => return Ok(()),
            Event::NeedMoreInput { .. } => {
                // A file that ends early shows what is there, as a JPEG does.
                let shown = decoder.flush_pixels(&mut outputs, None);
                let shown = shown.map_err(RenderRefused::broken)?;
                let cut_off = || RenderRefused::broken("the file is cut off");
                return shown.then_some(()).ok_or_else(cut_off);
            }
            Event::Complete => break,
            Event::BasicInfo | Event::FrameHeader => {}
        }
    }
    Err(RenderRefused::broken("no frame"))
}

/// What pixels to ask for: as many colours as there are, and transparency where there is some.
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

/// The profile of the decoded pixels. High dynamic range is shown flat, as sRGB: its literal
/// reading would be nearly black.
fn icc(profile: &JxlColorProfile) -> Option<Vec<u8>> {
    let is_bright = matches!(
        profile.transfer_function(),
        Some(JxlTransferFunction::PQ | JxlTransferFunction::HLG)
    );
    if is_bright {
        return None;
    }
    let icc = profile.try_as_icc()?.into_owned();
    (icc.len() <= ICC_MAX_BYTES).then_some(icc)
}
