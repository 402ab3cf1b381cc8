//! Reads the container of HEIC and AVIF (ISO/IEC 23008-12 on 14496-12): which picture is the
//! primary one, its size, how it is cropped and turned, its colours, and where its bytes are.
//!
//! The whole `meta` box is read into memory, up to a bound, and parsed as a slice.

use std::borrow::Cow;

use image::metadata::Orientation;

use crate::cicp::Nclx;
use crate::forward::{self, ForwardReader, Source};
use crate::heif_boxes::{Boxes, Reader};
use crate::heif_transform::{CleanAperture, ItemTransform};

/// Most bytes of a `meta` box: room for the largest colour profile that is applied.
const META_MAX_BYTES: usize = 5 * 1024 * 1024;

/// Most items that one picture is made of, and most extents of one item.
const PARTS_MAX: usize = 1_024;

/// Most properties of one item.
const PROPERTIES_MAX: usize = 64;

/// The `meta` box of a file.
pub(crate) struct Heif {
    meta: Vec<u8>,
}

/// A picture of a file, as far as the container describes it.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) id: u32,
    /// `av01`, `hvc1`, `grid` and so on.
    pub(crate) coding: [u8; 4],
    /// Width and height before cropping and turning.
    pub(crate) size: (u32, u32),
    /// How it is cropped and turned.
    pub(crate) transform: ItemTransform,
    pub(crate) icc: Option<Vec<u8>>,
    pub(crate) nclx: Option<Nclx>,
    /// The purpose of an auxiliary picture, as a URN.
    auxiliary: Option<Vec<u8>>,
}

/// A picture made of tiles, in row order.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) columns: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) tiles: Vec<Item>,
}

impl Heif {
    /// Finds the `meta` box of `source`. `None` when there is none within the bounds.
    pub(crate) fn read(source: &mut dyn Source) -> Option<Self> {
        let mut reader = ForwardReader::start(source)?;
        for _ in 0..forward::PARTS_MAX {
            let header = reader.box_header()?;
            let payload_bytes = header.payload_bytes?;
            if header.name == *b"meta" {
                let payload_bytes = usize::try_from(payload_bytes).ok()?;
                return Some(Self { meta: reader.bytes(payload_bytes, META_MAX_BYTES)? });
            }
            reader.skip(payload_bytes)?;
        }
        None
    }

    /// The boxes inside, after the version with which a `meta` box begins.
    fn boxes(&self) -> Boxes<'_> {
        Boxes::new(self.meta.get(4..).unwrap_or_default())
    }

    fn find(&self, name: [u8; 4]) -> Option<&[u8]> {
        self.boxes().payload(name)
    }

    /// The picture to show.
    pub(crate) fn primary(&self) -> Option<Item> {
        let mut pitm = Reader::new(self.find(*b"pitm")?);
        let (version, _) = pitm.version_and_flags()?;
        let id = if version == 0 { pitm.u16()?.into() } else { pitm.u32()? };
        self.item(id)
    }

    /// The coding of a picture. For one that is derived from others, the coding of those.
    pub(crate) fn coding(&self, item: &Item) -> [u8; 4] {
        match item.coding {
            [b'g', b'r', b'i', b'd'] | [b'i', b'd', b'e', b'n'] | [b'i', b'o', b'v', b'l'] => self
                .references(*b"dimg")
                .find(|reference| reference.from == item.id)
                .and_then(|reference| self.coding_of(*reference.to.first()?))
                .unwrap_or(item.coding),
            coding => coding,
        }
    }

    /// An item with its properties.
    pub(crate) fn item(&self, id: u32) -> Option<Item> {
        let mut item = Item {
            id,
            coding: self.coding_of(id)?,
            size: (0, 0),
            transform: ItemTransform::default(),
            icc: None,
            nclx: None,
            auxiliary: None,
        };
        let properties = Boxes::new(self.find(*b"iprp")?);
        let known: Vec<_> = Boxes::new(properties.payload(*b"ipco")?).collect();
        for index in associations(properties.payload(*b"ipma")?, id)? {
            // Indices begin with 1; 0 means none.
            let Some((name, payload)) = index.checked_sub(1).and_then(|at| known.get(at)) else {
                continue;
            };
            item.apply(*name, payload)?;
        }
        (item.size != (0, 0)).then_some(item)
    }

    /// The type of an item, which `iinf` lists.
    fn coding_of(&self, id: u32) -> Option<[u8; 4]> {
        let mut iinf = Reader::new(self.find(*b"iinf")?);
        let (version, _) = iinf.version_and_flags()?;
        iinf.skip(if version == 0 { 2 } else { 4 })?;
        Boxes::new(iinf.rest()).filter(|(name, _)| name == b"infe").find_map(|(_, payload)| {
            let mut entry = Reader::new(payload);
            let (version, _) = entry.version_and_flags()?;
            let found = match version {
                2 => entry.u16()?.into(),
                3 => entry.u32()?,
                _ => return None,
            };
            entry.skip(2)?;
            let coding = entry.array()?;
            (found == id).then_some(coding)
        })
    }

    /// The references of one type in `iref`.
    fn references(&self, kind: [u8; 4]) -> impl Iterator<Item = Reference> {
        let mut iref = Reader::new(self.find(*b"iref").unwrap_or_default());
        let version = iref.version_and_flags().map_or(0, |(version, _)| version);
        Boxes::new(iref.rest()).filter(move |(name, _)| *name == kind).filter_map(
            move |(_, payload)| {
                let mut reader = Reader::new(payload);
                let id = |reader: &mut Reader<'_>| {
                    if version == 0 { reader.u16().map(u32::from) } else { reader.u32() }
                };
                let from = id(&mut reader)?;
                let count = usize::from(reader.u16()?);
                let to = (0..count).map_while(|_| id(&mut reader)).take(PARTS_MAX).collect();
                Some(Reference { from, to })
            },
        )
    }

    /// The alpha plane of `item`, and whether its colours are premultiplied.
    pub(crate) fn alpha(&self, item: &Item) -> Option<(Item, bool)> {
        let alpha = self
            .references(*b"auxl")
            .filter(|reference| reference.to.contains(&item.id))
            .take(PARTS_MAX)
            .filter_map(|reference| self.item(reference.from))
            .find(Item::is_alpha)?;
        let is_premultiplied = self
            .references(*b"prem")
            .any(|reference| reference.from == item.id && reference.to.contains(&alpha.id));
        Some((alpha, is_premultiplied))
    }

    /// The tiles of an item of the type `grid`.
    pub(crate) fn grid(&self, item: &Item, source: &[u8]) -> Option<Grid> {
        let description = self.bytes(item.id, source)?;
        let mut reader = Reader::new(&description);
        let [_, flags, rows, columns] = reader.array()?;
        let (rows, columns) = (u32::from(rows) + 1, u32::from(columns) + 1);
        let mut edge = || if flags & 1 == 0 { reader.u16().map(u32::from) } else { reader.u32() };
        let (width, height) = (edge()?, edge()?);
        let reference = self.references(*b"dimg").find(|reference| reference.from == item.id)?;
        if reference.to.len() != (rows * columns) as usize || (width, height) != item.size {
            return None;
        }
        let tiles: Option<Vec<_>> = reference.to.iter().map(|id| self.item(*id)).collect();
        Some(Grid { columns, width, height, tiles: tiles? })
    }

    /// The bytes of an item, which `iloc` locates in `source` or in `idat`. Overlapping extents
    /// cannot make them more than the file holds.
    pub(crate) fn bytes<'a>(&'a self, id: u32, source: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let location = ItemLocation::find(self.find(*b"iloc")?, id)?;
        let container = if location.is_in_idat { self.find(*b"idat")? } else { source };
        let mut extents = location.extents.iter().map(|(offset, length)| {
            let from = usize::try_from(*offset).ok()?;
            let length = usize::try_from(*length).ok()?;
            let rest = container.get(from..)?;
            if length == 0 { Some(rest) } else { rest.get(..length) }
        });
        let first = extents.next()??;
        if location.extents.len() == 1 {
            return Some(Cow::Borrowed(first));
        }
        let mut bytes = first.to_vec();
        for extent in extents {
            bytes.extend_from_slice(extent?);
            if bytes.len() > container.len() {
                return None;
            }
        }
        Some(Cow::Owned(bytes))
    }
}

impl Item {
    /// Applies one property. `None` when it is malformed.
    fn apply(&mut self, name: [u8; 4], payload: &[u8]) -> Option<()> {
        let mut reader = Reader::new(payload);
        match &name {
            b"ispe" => {
                reader.skip(4)?;
                self.size = (reader.u32()?, reader.u32()?);
            }
            b"irot" => self.transform.rotate(reader.u8()? & 3),
            b"imir" => self.transform.mirror(reader.u8()? & 1),
            b"clap" => self.transform.crop(CleanAperture::read(&mut reader)?)?,
            b"auxC" => {
                reader.skip(4)?;
                self.auxiliary = Some(reader.rest().to_vec());
            }
            b"colr" => match &reader.array()? {
                b"nclx" => {
                    let (primaries, transfer) = (reader.u16()?, reader.u16()?);
                    let matrix = reader.u16()?;
                    let full_range = reader.u8()? & 0x80 != 0;
                    self.nclx = Some(Nclx { primaries, transfer, matrix, full_range });
                }
                b"prof" | b"rICC" => self.icc = Some(reader.rest().to_vec()),
                _ => {}
            },
            _ => {}
        }
        Some(())
    }

    fn is_alpha(&self) -> bool {
        const NAMES: [&[u8]; 2] =
            [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"];
        let name = self.auxiliary.as_deref().unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        NAMES.contains(&name)
    }

    /// Width and height after cropping and before turning, and how to turn it upright. `None` when
    /// nothing is left of it.
    pub(crate) fn shown(&self) -> Option<((u32, u32), Orientation)> {
        let area = self.transform.area(self.size)?;
        Some(((area.width, area.height), self.transform.orientation()))
    }
}

/// An entry of `iref`.
struct Reference {
    from: u32,
    to: Vec<u32>,
}

/// The indices of an item's properties, in the order in which they apply.
fn associations(ipma: &[u8], id: u32) -> Option<Vec<usize>> {
    let mut reader = Reader::new(ipma);
    let (version, flags) = reader.version_and_flags()?;
    for _ in 0..reader.u32()? {
        let found = if version == 0 { reader.u16()?.into() } else { reader.u32()? };
        let count = usize::from(reader.u8()?);
        let is_wide = flags & 1 != 0;
        if found != id {
            reader.skip(count * if is_wide { 2 } else { 1 })?;
            continue;
        }
        if count > PROPERTIES_MAX {
            return None;
        }
        // The highest bit marks a property that a reader must understand.
        return (0..count)
            .map(|_| {
                if is_wide {
                    reader.u16().map(|index| usize::from(index & 0x7fff))
                } else {
                    reader.u8().map(|index| usize::from(index & 0x7f))
                }
            })
            .collect();
    }
    None
}

/// Where the bytes of an item are (`iloc`).
struct ItemLocation {
    is_in_idat: bool,
    /// Offset and length; a length of 0 means up to the end.
    extents: Vec<(u64, u64)>,
}

impl ItemLocation {
    fn find(iloc: &[u8], id: u32) -> Option<Self> {
        let mut reader = Reader::new(iloc);
        let (version, _) = reader.version_and_flags()?;
        let [sizes, more_sizes] = reader.array()?;
        let (offset_bytes, length_bytes) = (sizes >> 4, sizes & 15);
        let (base_bytes, index_bytes) =
            (more_sizes >> 4, if version == 0 { 0 } else { more_sizes & 15 });
        let count = if version < 2 { reader.u16()?.into() } else { reader.u32()? };
        for _ in 0..count {
            let found = if version < 2 { reader.u16()?.into() } else { reader.u32()? };
            let method = if version == 0 { 0 } else { reader.u16()? & 15 };
            reader.skip(2)?;
            let base = reader.number(base_bytes)?;
            let extent_count = usize::from(reader.u16()?);
            if found != id {
                let extent_bytes = index_bytes + offset_bytes + length_bytes;
                reader.skip(extent_count * usize::from(extent_bytes))?;
                continue;
            }
            if method > 1 || extent_count > PARTS_MAX {
                return None;
            }
            let mut extents = Vec::with_capacity(extent_count);
            for _ in 0..extent_count {
                reader.number(index_bytes)?;
                let offset = base.checked_add(reader.number(offset_bytes)?)?;
                extents.push((offset, reader.number(length_bytes)?));
            }
            return Some(Self { is_in_idat: method == 1, extents });
        }
        None
    }
}

#[cfg(test)]
#[path = "heif_tests.rs"]
mod tests;
