//! How a picture in a HEIF container is cropped and turned (`clap`, `irot`, `imir`; ISO/IEC
//! 23008-12 §6.5), in the order that MIAF requires: cropped first.

use image::metadata::Orientation;

use crate::Area;
use crate::heif_boxes::Reader;

/// What is done to the decoded picture. The default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ItemTransform {
    crop: Option<CleanAperture>,
    /// Quarter turns clockwise, after the flip.
    quarters: u8,
    /// Whether left and right are swapped, before the turn.
    is_flipped: bool,
}

impl ItemTransform {
    /// Adds `irot`: quarter turns counterclockwise.
    pub(crate) fn rotate(&mut self, quarters: u8) {
        self.quarters = (self.quarters + 4 - quarters % 4) % 4;
    }

    /// Adds `imir`: 0 swaps top and bottom, 1 left and right.
    pub(crate) fn mirror(&mut self, axis: u8) {
        // A turn and then a flip equal that flip and then the opposite turn.
        let upside_down = if axis == 0 { 2 } else { 0 };
        self.quarters = (4 - self.quarters + upside_down) % 4;
        self.is_flipped = !self.is_flipped;
    }

    /// Adds `clap`. `None` when it comes after a turn or a second time.
    pub(crate) fn crop(&mut self, aperture: CleanAperture) -> Option<()> {
        if self.crop.is_some() || self.quarters != 0 || self.is_flipped {
            return None;
        }
        self.crop = Some(aperture);
        Some(())
    }

    /// The part of a picture of `size` that is shown; `None` when nothing is.
    pub(crate) fn area(&self, size: (u32, u32)) -> Option<Area> {
        let whole = Area { x: 0, y: 0, width: size.0, height: size.1 };
        self.crop.map_or(Some(whole), |aperture| aperture.area(size))
    }

    /// How to turn the shown part upright.
    pub(crate) fn orientation(&self) -> Orientation {
        match (self.is_flipped, self.quarters) {
            (false, 0) => Orientation::NoTransforms,
            (false, 1) => Orientation::Rotate90,
            (false, 2) => Orientation::Rotate180,
            (false, _) => Orientation::Rotate270,
            (true, 0) => Orientation::FlipHorizontal,
            // The library turns first and then flips.
            (true, 1) => Orientation::Rotate270FlipH,
            (true, 2) => Orientation::FlipVertical,
            (true, _) => Orientation::Rotate90FlipH,
        }
    }
}

/// A clean aperture (ISO/IEC 14496-12 §12.1.4): fractions as numerator and denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CleanAperture {
    width: (i64, i64),
    height: (i64, i64),
    /// From the middle of the picture to the middle of the part.
    right: (i64, i64),
    down: (i64, i64),
}

impl CleanAperture {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut number = || reader.u32().map(|number| i64::from(number.cast_signed()));
        let mut fraction = || Some((number()?, number()?)).filter(|fraction| fraction.1 > 0);
        Some(Self {
            width: fraction()?,
            height: fraction()?,
            right: fraction()?,
            down: fraction()?,
        })
    }

    fn area(self, size: (u32, u32)) -> Option<Area> {
        let (x, width) = span(size.0, self.width, self.right)?;
        let (y, height) = span(size.1, self.height, self.down)?;
        Some(Area { x, y, width, height })
    }
}

/// Start and length of the part along one side. `None` unless it is whole pixels and lies within
/// the picture.
fn span(full: u32, length: (i64, i64), offset: (i64, i64)) -> Option<(u32, u32)> {
    if length.0 % length.1 != 0 {
        return None;
    }
    let length = length.0 / length.1;
    let spare = i64::from(full).checked_sub(length).filter(|spare| *spare >= 0 && length > 0)?;
    // spare / 2 + offset, as one fraction.
    let start = spare.checked_mul(offset.1)?.checked_add(offset.0.checked_mul(2)?)?;
    let start = start.checked_div_euclid(offset.1.checked_mul(2)?)?;
    (0..=spare).contains(&start).then_some((start as u32, length as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, GrayImage, Luma};

    /// A picture in which every pixel is different.
    fn picture() -> DynamicImage {
        DynamicImage::ImageLuma8(GrayImage::from_fn(3, 2, |x, y| Luma([(y * 3 + x) as u8])))
    }

    #[test]
    fn turns_and_flips_combine_as_if_done_one_by_one() {
        let steps: [(u8, u8); 6] = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (0, 0)];
        for first in steps {
            for second in steps {
                for third in steps {
                    let (mut transform, mut expected) = (ItemTransform::default(), picture());
                    for step in [first, second, third] {
                        match step {
                            (0, quarters) => {
                                transform.rotate(quarters);
                                for _ in 0..quarters {
                                    expected = expected.rotate270();
                                }
                            }
                            (_, axis) => {
                                transform.mirror(axis);
                                expected =
                                    if axis == 0 { expected.flipv() } else { expected.fliph() };
                            }
                        }
                    }
                    let mut found = picture();
                    found.apply_orientation(transform.orientation());
                    assert_eq!(found, expected, "{first:?} {second:?} {third:?}");
                }
            }
        }
    }

    #[test]
    fn a_clean_aperture_is_centred_on_the_middle() {
        assert_eq!(span(100, (60, 1), (0, 1)), Some((20, 60)));
        assert_eq!(span(100, (60, 1), (-20, 1)), Some((0, 60)));
        assert_eq!(span(100, (120, 2), (5, 1)), Some((25, 60)));
        assert_eq!(span(101, (60, 1), (1, 2)), Some((21, 60)));
        for (length, offset) in [
            ((0, 1), (0, 1)),
            ((101, 1), (0, 1)),
            ((60, 1), (21, 1)),
            ((60, 7), (0, 1)),
            ((-5, 1), (0, 1)),
        ] {
            assert_eq!(span(100, length, offset), None, "{length:?} {offset:?}");
        }
    }
}
