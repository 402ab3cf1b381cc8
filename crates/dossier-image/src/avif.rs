//! Decodes AVIF: the primary picture of the container, in one piece or in tiles, with its alpha.

use std::io::Cursor;

use crate::cicp::Nclx;
use crate::heif::{Heif, Item};
use crate::limits::{ICC_MAX_BYTES, RenderLimits};
use crate::picture::{Decoded, Picture};
use crate::planes::{self, Alpha};
use crate::{Area, RenderError, av1};

/// Most bytes that a decoder holds per sample.
const SAMPLE_BYTES: u64 = 2;

/// The colour coding of AV1 that states none: the primaries of BT.709, the matrix and range of
/// JPEG.
const UNSPECIFIED: Nclx = Nclx { primaries: 2, transfer: 2, matrix: 2, full_range: true };

/// Decodes the primary picture, reduced as far as its longer side stays at least twice `wanted_px`.
/// It is cropped, but not turned.
///
/// # Errors
///
/// As [`crate::make_preview`].
pub(crate) fn decode(
    source: &[u8],
    wanted_px: u32,
    limits: &RenderLimits,
) -> Result<Decoded, RenderError> {
    let broken = || RenderError::broken("the container is malformed");
    let heif = Heif::read(&mut Cursor::new(source)).ok_or_else(broken)?;
    let item = heif.primary().ok_or_else(broken)?;
    let alpha = heif.alpha(&item);
    let area = item.transform.area(item.size).ok_or_else(broken)?;
    check(item.size, alpha.is_some(), limits)?;
    let file = File { heif: &heif, source, limits };
    let size = (area.width, area.height);
    // Means of translucent pixels would include invisible colours.
    let can_shrink = item.coding != *b"grid" && alpha.is_none();
    let shrink = if can_shrink { planes::shrink_for(size, wanted_px) } else { 1 };
    let (picture, coding) = if item.coding == *b"grid" {
        let (picture, coding) = file.grid(&item, alpha.as_ref())?;
        (crop(picture, area)?, coding)
    } else {
        file.single(&item, alpha.as_ref(), (area, shrink))?
    };
    let icc = item.icc.filter(|icc| icc.len() <= ICC_MAX_BYTES);
    let icc = icc.or_else(|| coding.profile());
    Ok(Decoded::reduced(picture, size, shrink, icc))
}

/// Checks the memory for three or four planes of this size.
fn check(size: (u32, u32), has_alpha: bool, limits: &RenderLimits) -> Result<(), RenderError> {
    let pixels = u64::from(size.0) * u64::from(size.1);
    limits.check_pixels(pixels)?;
    // Chroma is usually halved both ways. Where it is not, the decoder's own limit on pixels holds.
    let samples = pixels + pixels / 2 + if has_alpha { pixels } else { 0 };
    limits.check_decoded(samples.saturating_mul(SAMPLE_BYTES))
}

struct File<'a> {
    heif: &'a Heif,
    source: &'a [u8],
    limits: &'a RenderLimits,
}

impl File<'_> {
    /// Decodes an item that is not made of tiles.
    fn single(
        &self,
        item: &Item,
        alpha: Option<&(Item, bool)>,
        part: (Area, u32),
    ) -> Result<(Picture, Nclx), RenderError> {
        check(item.size, alpha.is_some(), self.limits)?;
        let decoded = self.av1(item)?;
        let planes = Self::planes(&decoded, item)?;
        let coding = item.nclx.or_else(|| decoded.coding()).unwrap_or(UNSPECIFIED);
        let Some((alpha, is_premultiplied)) = alpha else {
            return Ok((planes::to_picture(&planes, None, coding, part)?, coding));
        };
        if alpha.size != item.size {
            return Err(RenderError::broken("the alpha plane has another size"));
        }
        let decoded_alpha = self.av1(alpha)?;
        let full_range = decoded_alpha.coding().is_none_or(|coding| coding.full_range);
        let alpha_planes = Self::planes(&decoded_alpha, alpha)?;
        let alpha = Alpha { planes: alpha_planes, full_range, is_premultiplied: *is_premultiplied };
        Ok((planes::to_picture(&planes, Some(&alpha), coding, part)?, coding))
    }

    fn av1(&self, item: &Item) -> Result<av1::Av1Picture, RenderError> {
        if item.coding != *b"av01" {
            return Err(RenderError::Unsupported);
        }
        let data = self.heif.bytes(item.id, self.source);
        let data = data.ok_or_else(|| RenderError::broken("the picture's bytes are missing"))?;
        // Bounded by the stated size, which has been checked.
        let (width, height) = item.size;
        let pixels = u64::from(width) * u64::from(height);
        av1::decode(&data, pixels.min(self.limits.max_pixels))
    }

    fn planes<'p>(
        decoded: &'p av1::Av1Picture,
        item: &Item,
    ) -> Result<planes::Planes<'p>, RenderError> {
        let planes = decoded.planes().filter(|planes| (planes.width, planes.height) == item.size);
        planes.ok_or_else(|| RenderError::broken("the picture does not have the stated size"))
    }

    /// Decodes an item that is made of tiles, one after the other, at full size.
    fn grid(
        &self,
        item: &Item,
        alpha: Option<&(Item, bool)>,
    ) -> Result<(Picture, Nclx), RenderError> {
        let broken = || RenderError::broken("the tiles do not form a picture");
        let grid = self.heif.grid(item, self.source).ok_or_else(broken)?;
        let alphas = match alpha {
            Some((alpha, is_premultiplied)) => {
                let grid = self.heif.grid(alpha, self.source).ok_or_else(broken)?;
                Some((grid, *is_premultiplied))
            }
            None => None,
        };
        let pixels = u64::from(grid.width) * u64::from(grid.height);
        self.limits.check_decoded(pixels.saturating_mul(4))?;
        let tile_size = grid.tiles.first().ok_or_else(broken)?.size;
        let mut canvas: Option<Picture> = None;
        let mut coding = item.nclx;
        for (index, tile) in grid.tiles.iter().enumerate() {
            let alpha = match &alphas {
                Some((grid, is_premultiplied)) => {
                    let tile = grid.tiles.get(index).ok_or_else(broken)?;
                    Some((tile.clone(), *is_premultiplied))
                }
                None => None,
            };
            if tile.size != tile_size {
                return Err(broken());
            }
            let whole = Area { x: 0, y: 0, width: tile_size.0, height: tile_size.1 };
            let mut tile = tile.clone();
            tile.nclx = coding.or(tile.nclx);
            let (picture, found) = self.single(&tile, alpha.as_ref(), (whole, 1))?;
            coding = coding.or(Some(found));
            let canvas = canvas.get_or_insert_with(|| Picture {
                width: grid.width,
                height: grid.height,
                channels: picture.channels,
                pixels: vec![0; pixels as usize * picture.channels.count()],
            });
            let (column, row) = (index as u32 % grid.columns, index as u32 / grid.columns);
            place(canvas, &picture, column * tile_size.0, row * tile_size.1).ok_or_else(broken)?;
        }
        let canvas = canvas.ok_or_else(broken)?;
        Ok((canvas, coding.unwrap_or(UNSPECIFIED)))
    }
}

/// Copies a tile to its position, clipped to the canvas.
fn place(canvas: &mut Picture, tile: &Picture, left: u32, top: u32) -> Option<()> {
    if canvas.channels != tile.channels || left >= canvas.width || top >= canvas.height {
        return None;
    }
    let count = canvas.channels.count();
    let width = tile.width.min(canvas.width - left) as usize * count;
    let rows = tile.height.min(canvas.height - top) as usize;
    let canvas_row = canvas.width as usize * count;
    let from = tile.pixels.chunks_exact(tile.width as usize * count);
    let to = canvas.pixels.chunks_exact_mut(canvas_row).skip(top as usize);
    for (to, from) in to.zip(from).take(rows) {
        let start = left as usize * count;
        to.get_mut(start..start + width)?.copy_from_slice(from.get(..width)?);
    }
    Some(())
}

/// Cuts a part out of a picture at full size.
fn crop(picture: Picture, area: Area) -> Result<Picture, RenderError> {
    if (area.width, area.height) == (picture.width, picture.height) {
        return Ok(picture);
    }
    let count = picture.channels.count();
    let mut pixels = Vec::with_capacity(area.width as usize * area.height as usize * count);
    let rows = picture.pixels.chunks_exact(picture.width as usize * count);
    for row in rows.skip(area.y as usize).take(area.height as usize) {
        let (start, length) = (area.x as usize * count, area.width as usize * count);
        let part = row.get(start..start + length);
        pixels.extend_from_slice(
            part.ok_or_else(|| RenderError::broken("the crop lies outside the picture"))?,
        );
    }
    Ok(Picture { width: area.width, height: area.height, channels: picture.channels, pixels })
}
