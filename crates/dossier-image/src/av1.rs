//! Decodes one picture of AV1 through rav1d, whose interface is the C one of dav1d. All `unsafe`
//! code for it is in this file; it hands out slices only.
//!
//! The crate's own wrapper is not used: it panics on colour codes that a damaged stream may state.

#![expect(unsafe_code, reason = "rav1d's interface is that of dav1d's C library")]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use re_rav1d::Dav1dResult;
use re_rav1d::include::dav1d::data::Dav1dData;
use re_rav1d::include::dav1d::dav1d::{Dav1dContext, Dav1dSettings};
use re_rav1d::include::dav1d::headers::{
    DAV1D_PIXEL_LAYOUT_I400, DAV1D_PIXEL_LAYOUT_I420, DAV1D_PIXEL_LAYOUT_I422,
};
use re_rav1d::include::dav1d::picture::Dav1dPicture;
use re_rav1d::src::lib::{
    dav1d_close, dav1d_data_create, dav1d_data_unref, dav1d_default_settings, dav1d_get_picture,
    dav1d_open, dav1d_picture_unref, dav1d_send_data,
};

use crate::RenderError;
use crate::cicp::Nclx;
use crate::planes::{Chroma, Plane, Planes};

/// Most calls to the decoder for one picture. Each but the last consumes some of the data.
const ROUNDS_MAX: usize = 1_000;

const AGAIN: Dav1dResult = Dav1dResult(-libc::EAGAIN);

/// A decoded picture, which owns memory of the decoder.
pub(crate) struct Av1Picture {
    picture: Dav1dPicture,
}

/// Decodes the first picture in `data`, on the calling thread only.
///
/// # Errors
///
/// [`RenderError::Broken`], including for a picture of more than `max_pixels`, before its memory is
/// allocated.
pub(crate) fn decode(data: &[u8], max_pixels: u64) -> Result<Av1Picture, RenderError> {
    if data.is_empty() {
        return Err(RenderError::broken("no AV1 data"));
    }
    let mut decoder = Decoder::open(u32::try_from(max_pixels).unwrap_or(u32::MAX))?;
    let mut input = Input::copied(data)?;
    for _ in 0..ROUNDS_MAX {
        let is_sent = decoder.send(&mut input)?;
        if let Some(picture) = decoder.receive()? {
            return Ok(picture);
        }
        if is_sent {
            break;
        }
    }
    Err(RenderError::broken("AV1 data without a picture"))
}

struct Decoder {
    context: Option<Dav1dContext>,
}

impl Decoder {
    fn open(max_pixels: u32) -> Result<Self, RenderError> {
        let mut settings = MaybeUninit::<Dav1dSettings>::uninit();
        // SAFETY: the pointer is valid for writing, and the call initialises the whole value.
        let mut settings = unsafe {
            dav1d_default_settings(NonNull::from(&mut settings).cast());
            settings.assume_init()
        };
        settings.n_threads = 1;
        settings.max_frame_delay = 1;
        settings.all_layers = 0;
        settings.frame_size_limit = max_pixels;
        let mut context = None;
        // SAFETY: both pointers are valid for the call.
        let result = unsafe {
            dav1d_open(Some(NonNull::from(&mut context)), Some(NonNull::from(&mut settings)))
        };
        check(result)?;
        Ok(Self { context })
    }

    /// Sends data; true when all of it has been consumed.
    fn send(&mut self, input: &mut Input) -> Result<bool, RenderError> {
        if input.data.sz == 0 {
            return Ok(true);
        }
        // SAFETY: the context is open, and the data was made by dav1d_data_create.
        let result = unsafe { dav1d_send_data(self.context, Some(NonNull::from(&mut input.data))) };
        if result != AGAIN {
            check(result)?;
        }
        Ok(input.data.sz == 0)
    }

    fn receive(&mut self) -> Result<Option<Av1Picture>, RenderError> {
        let mut picture = Dav1dPicture::default();
        // SAFETY: the context is open, the pointer valid for writing.
        let result = unsafe { dav1d_get_picture(self.context, Some(NonNull::from(&mut picture))) };
        if result == AGAIN {
            return Ok(None);
        }
        check(result)?;
        Ok(Some(Av1Picture { picture }))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the context was opened once and is closed once, which leaves `None`.
        unsafe { dav1d_close(Some(NonNull::from(&mut self.context))) }
    }
}

/// Input data, in the decoder's own memory.
struct Input {
    data: Dav1dData,
}

impl Input {
    fn copied(bytes: &[u8]) -> Result<Self, RenderError> {
        let mut data = Dav1dData::default();
        // SAFETY: the pointer is valid for writing.
        let buffer = unsafe { dav1d_data_create(Some(NonNull::from(&mut data)), bytes.len()) };
        if buffer.is_null() {
            return Err(RenderError::broken("no memory for AV1 data"));
        }
        // SAFETY: the memory at `buffer` has that length, is new, and is not shared yet.
        unsafe { buffer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(Self { data })
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: allocated by dav1d_data_create, or emptied by dav1d_send_data.
        unsafe { dav1d_data_unref(Some(NonNull::from(&mut self.data))) }
    }
}

fn check(result: Dav1dResult) -> Result<(), RenderError> {
    if result.0 == 0 {
        return Ok(());
    }
    Err(RenderError::broken(format!("AV1 decoder error {}", result.0)))
}

impl Av1Picture {
    /// The colour coding that the stream itself states.
    pub(crate) fn coding(&self) -> Option<Nclx> {
        let header = self.picture.seq_hdr?;
        // SAFETY: the picture keeps its sequence header alive.
        let header = unsafe { header.as_ref() };
        Some(Nclx {
            primaries: header.pri as u16,
            transfer: header.trc as u16,
            matrix: header.mtrx as u16,
            full_range: header.color_range != 0,
        })
    }

    /// The samples; `None` when the decoder's description is inconsistent.
    pub(crate) fn planes(&self) -> Option<Planes<'_>> {
        let parameters = &self.picture.p;
        let (width, height) =
            (u32::try_from(parameters.w).ok()?, u32::try_from(parameters.h).ok()?);
        let chroma = match parameters.layout {
            DAV1D_PIXEL_LAYOUT_I400 => Chroma::None,
            DAV1D_PIXEL_LAYOUT_I420 => Chroma::Quarter,
            DAV1D_PIXEL_LAYOUT_I422 => Chroma::Half,
            _ => Chroma::Full,
        };
        let (across, down) = chroma.size((width, height));
        let y = self.plane(0, width, height)?;
        let uv = match chroma {
            Chroma::None => None,
            _ => Some([self.plane(1, across, down)?, self.plane(2, across, down)?]),
        };
        Some(Planes { width, height, depth: u8::try_from(parameters.bpc).ok()?, chroma, y, uv })
    }

    fn plane(&self, index: usize, width: u32, height: u32) -> Option<Plane<'_>> {
        let data = (*self.picture.data.get(index)?)?;
        let stride = *self.picture.stride.get(usize::from(index > 0))?;
        let stride = usize::try_from(stride).ok()?;
        let row_bytes = width as usize * if self.picture.p.bpc > 8 { 2 } else { 1 };
        if stride < row_bytes || height == 0 {
            return None;
        }
        let length = stride.checked_mul(height as usize - 1)?.checked_add(row_bytes)?;
        // SAFETY: a plane has `stride` bytes per row, and a row of samples for the last one. It
        // lives as long as the picture. Nothing writes to it: the decoder has been closed.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>().as_ptr(), length) };
        Some(Plane { bytes, stride })
    }
}

impl Drop for Av1Picture {
    fn drop(&mut self) {
        // SAFETY: returned by dav1d_get_picture and released once.
        unsafe { dav1d_picture_unref(Some(NonNull::from(&mut self.picture))) }
    }
}
