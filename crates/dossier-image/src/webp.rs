//! Encodes WebP with transparency through libwebp, without metadata.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use libwebp_sys::{
    WebPConfig, WebPEncode, WebPMemoryWrite, WebPMemoryWriter, WebPMemoryWriterClear,
    WebPMemoryWriterInit, WebPPicture, WebPPictureFree, WebPPictureImportRGBA,
};

use crate::RenderError;

/// Effort, 0 to 6. `bench/README.md` lists what each costs and saves.
const METHOD: c_int = 2;

/// The memory of libwebp for one picture, released on drop.
struct Encoder {
    picture: WebPPicture,
    writer: WebPMemoryWriter,
}

impl Drop for Encoder {
    #[expect(unsafe_code, reason = "libwebp-sys has no safe calls; both are initialised")]
    fn drop(&mut self) {
        unsafe {
            WebPPictureFree(&raw mut self.picture);
            WebPMemoryWriterClear(&raw mut self.writer);
        }
    }
}

/// Encodes RGBA pixels, not premultiplied, as a WebP with lossy colour and lossless alpha.
///
/// # Errors
///
/// [`RenderError::Broken`] when the pixels do not match the size, or when libwebp fails.
pub(crate) fn encode(
    rgba: &[u8],
    (width, height): (u32, u32),
    quality: u8,
) -> Result<Vec<u8>, RenderError> {
    let failed = || RenderError::broken("WebP encoding failed");
    let expected_bytes = u64::from(width) * u64::from(height) * 4;
    if rgba.is_empty() || rgba.len() as u64 != expected_bytes {
        return Err(RenderError::broken("fewer pixels than the size requires"));
    }
    let mut config = WebPConfig::new().map_err(|()| failed())?;
    config.quality = f32::from(quality);
    config.method = METHOD;
    let mut encoder = new_encoder().ok_or_else(failed)?;
    encoder.picture.width = c_int::try_from(width).map_err(RenderError::broken)?;
    encoder.picture.height = c_int::try_from(height).map_err(RenderError::broken)?;
    let stride = encoder.picture.width.checked_mul(4).ok_or_else(failed)?;
    encoder.picture.writer = Some(WebPMemoryWrite);
    encoder.picture.custom_ptr = (&raw mut encoder.writer).cast();
    #[expect(
        unsafe_code,
        reason = "libwebp-sys has no safe calls; the buffer length is checked above"
    )]
    // SAFETY: `rgba` holds `height` rows of `stride` bytes, and the writer that `custom_ptr`
    // points to lives in `encoder`, which does not move until the last call has returned.
    let encoded = unsafe {
        WebPPictureImportRGBA(&raw mut encoder.picture, rgba.as_ptr(), stride) != 0
            && WebPEncode(&raw const config, &raw mut encoder.picture) != 0
    };
    if !encoded || encoder.writer.mem.is_null() {
        return Err(failed());
    }
    #[expect(unsafe_code, reason = "libwebp-sys has no safe calls; the writer states its size")]
    // SAFETY: after success the writer holds `size` initialised bytes at `mem`.
    let bytes = unsafe { std::slice::from_raw_parts(encoder.writer.mem, encoder.writer.size) };
    Ok(bytes.to_vec())
}

fn new_encoder() -> Option<Encoder> {
    let mut writer = MaybeUninit::uninit();
    #[expect(unsafe_code, reason = "libwebp-sys has no safe calls; this one fills the struct")]
    // SAFETY: the call initialises every field of the writer.
    let writer = unsafe {
        WebPMemoryWriterInit(writer.as_mut_ptr());
        writer.assume_init()
    };
    Some(Encoder { picture: WebPPicture::new().ok()?, writer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_do_not_match_the_size_are_rejected() {
        for (length, size) in [(0, (0, 0)), (0, (1, 1)), (15, (2, 2)), (4, (u32::MAX, 1))] {
            let rejected = encode(&vec![0; length], size, 80);
            assert!(matches!(rejected, Err(RenderError::Broken { .. })), "{length} {size:?}");
        }
    }

    #[test]
    fn a_side_that_the_format_cannot_express_is_rejected() {
        let rejected = encode(&vec![9; 16_384 * 4], (16_384, 1), 80);
        assert!(matches!(rejected, Err(RenderError::Broken { .. })));
    }
}
