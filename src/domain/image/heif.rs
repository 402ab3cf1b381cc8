//! Reads the container of HEIC and AVIF (ISO/IEC 23008-12 on 14496-12): which picture is the
//! primary one, how large it is, how it is turned and cut, its colours, where its bytes lie.
//!
//! The whole `meta` box is read into memory, up to a bound, and looked at as a slice.

use std::borrow::Cow;
use std::io::{Read, Seek};

use image::metadata::Orientation;

use super::cicp::Nclx;
use super::header::{WALK_MAX_PARTS, Walk};
use super::heif_boxes::{Boxes, Reader};
use super::heif_turns::{Clap, Turns};

/// Most bytes of a `meta` box: room for the largest colour profile that is looked at.
const META_MAX_BYTES: usize = 5 * 1024 * 1024;

/// Most items that one picture is made of.
pub(super) const PARTS_MAX: usize = 1_024;

/// Most properties of one item.
const PROPERTIES_MAX: usize = 64;

/// The `meta` box of a file.
pub(super) struct Heif {
    meta: Vec<u8>,
}

/// A picture of a file, as far as the container describes it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: u32,
    /// `av01`, `hvc1`, `grid` and so on.
    pub(super) coding: [u8; 4],
    /// Width and height before it is cut and turned.
    pub(super) size: (u32, u32),
    /// How it is cut and turned.
    pub(super) turns: Turns,
    pub(super) icc: Option<Vec<u8>>,
    pub(super) nclx: Option<Nclx>,
    /// What an auxiliary picture is for, as a URN.
    auxiliary: Option<Vec<u8>>,
}

/// A picture that consists of tiles, row by row.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) columns: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) tiles: Vec<Item>,
}

impl Heif {
    /// Finds the `meta` box from the beginning of `source`; `None` when there is none within the
    /// bounds.
    pub(super) fn read<R: Read + Seek>(source: &mut R) -> Option<Self> {
        let mut walk = Walk::start(source)?;
        for _ in 0..WALK_MAX_PARTS {
            let short_length = walk.u32_be()?;
            let name: [u8; 4] = walk.array()?;
            let (length, head_bytes) = match short_length {
                1 => (u64::from_be_bytes(walk.array()?), 16),
                _ => (u64::from(short_length), 8),
            };
            let payload = length.checked_sub(head_bytes)?;
            if name == *b"meta" {
                let payload = usize::try_from(payload).ok()?;
                return Some(Self { meta: walk.bytes(payload, META_MAX_BYTES)? });
            }
            walk.skip(payload)?;
        }
        None
    }

    /// The boxes inside; a `meta` box begins with its version.
    fn boxes(&self) -> Boxes<'_> {
        Boxes::new(self.meta.get(4..).unwrap_or_default())
    }

    fn find(&self, name: [u8; 4]) -> Option<&[u8]> {
        self.boxes().payload(name)
    }

    /// The picture to be shown.
    pub(super) fn primary(&self) -> Option<Item> {
        let mut pitm = Reader::new(self.find(*b"pitm")?);
        let (version, _) = pitm.version_and_flags()?;
        let id = if version == 0 { pitm.u16()?.into() } else { pitm.u32()? };
        self.item(id)
    }

    /// How the primary picture's bytes are coded: of a picture made of others, how those are.
    pub(super) fn coding(&self, item: &Item) -> [u8; 4] {
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
    pub(super) fn item(&self, id: u32) -> Option<Item> {
        let mut item = Item {
            id,
            coding: self.coding_of(id)?,
            size: (0, 0),
            turns: Turns::default(),
            icc: None,
            nclx: None,
            auxiliary: None,
        };
        let properties = Boxes::new(self.find(*b"iprp")?);
        let known: Vec<_> = Boxes::new(properties.payload(*b"ipco")?).collect();
        for index in associations(properties.payload(*b"ipma")?, id)? {
            // Indices begin with 1; 0 says that there is none.
            let Some((name, payload)) = index.checked_sub(1).and_then(|at| known.get(at)) else {
                continue;
            };
            item.take(*name, payload)?;
        }
        (item.size != (0, 0)).then_some(item)
    }

    /// `iinf` names each item's type.
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

    /// The references of one kind that `iref` holds.
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

    /// The item that says how transparent `item` is, and whether its colours are multiplied with
    /// that already.
    pub(super) fn alpha(&self, item: &Item) -> Option<(Item, bool)> {
        let alpha = self
            .references(*b"auxl")
            .filter(|reference| reference.to.contains(&item.id))
            .take(PARTS_MAX)
            .filter_map(|reference| self.item(reference.from))
            .find(Item::is_alpha)?;
        let is_multiplied = self
            .references(*b"prem")
            .any(|reference| reference.from == item.id && reference.to.contains(&alpha.id));
        Some((alpha, is_multiplied))
    }

    /// The tiles of an item of the kind `grid`.
    pub(super) fn grid(&self, item: &Item, source: &[u8]) -> Option<Grid> {
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

    /// The bytes of an item, which `iloc` finds in `source` or in `idat`. They are no more than
    /// the file holds, whatever their pieces are.
    pub(super) fn bytes<'a>(&'a self, id: u32, source: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let place = Place::find(self.find(*b"iloc")?, id)?;
        let holder = if place.in_idat { self.find(*b"idat")? } else { source };
        let mut pieces = place.pieces.iter().map(|(offset, length)| {
            let from = usize::try_from(*offset).ok()?;
            let length = usize::try_from(*length).ok()?;
            let rest = holder.get(from..)?;
            if length == 0 { Some(rest) } else { rest.get(..length) }
        });
        let first = pieces.next()??;
        if place.pieces.len() == 1 {
            return Some(Cow::Borrowed(first));
        }
        let mut bytes = first.to_vec();
        for piece in pieces {
            bytes.extend_from_slice(piece?);
            if bytes.len() > holder.len() {
                return None;
            }
        }
        Some(Cow::Owned(bytes))
    }
}

impl Item {
    /// Takes in one property. `None` when it is broken.
    fn take(&mut self, name: [u8; 4], payload: &[u8]) -> Option<()> {
        let mut reader = Reader::new(payload);
        match &name {
            b"ispe" => {
                reader.skip(4)?;
                self.size = (reader.u32()?, reader.u32()?);
            }
            b"irot" => self.turns.rotate(reader.u8()? & 3),
            b"imir" => self.turns.mirror(reader.u8()? & 1),
            b"clap" => self.turns.cut(Clap::read(&mut reader)?)?,
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

    /// Width and height after it was cut, before it is turned upright, and how to turn it.
    /// `None` when it is cut to nothing.
    pub(super) fn shown(&self) -> Option<((u32, u32), Orientation)> {
        let area = self.turns.area(self.size)?;
        Some(((area.width, area.height), self.turns.orientation()))
    }
}

/// One entry of `iref`.
struct Reference {
    from: u32,
    to: Vec<u32>,
}

/// The indices of an item's properties in the order in which they apply.
fn associations(ipma: &[u8], id: u32) -> Option<Vec<usize>> {
    let mut reader = Reader::new(ipma);
    let (version, flags) = reader.version_and_flags()?;
    for _ in 0..reader.u32()? {
        let found = if version == 0 { reader.u16()?.into() } else { reader.u32()? };
        let count = usize::from(reader.u8()?);
        let wide = flags & 1 != 0;
        if found != id {
            reader.skip(count * if wide { 2 } else { 1 })?;
            continue;
        }
        if count > PROPERTIES_MAX {
            return None;
        }
        // The highest bit says that a reader must understand the property.
        return (0..count)
            .map(|_| {
                if wide {
                    reader.u16().map(|index| usize::from(index & 0x7fff))
                } else {
                    reader.u8().map(|index| usize::from(index & 0x7f))
                }
            })
            .collect();
    }
    None
}

/// Where an item's bytes lie.
struct Place {
    in_idat: bool,
    /// Offset and length; a length of 0 is all the rest.
    pieces: Vec<(u64, u64)>,
}

impl Place {
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
            let extents = usize::from(reader.u16()?);
            if found != id {
                let extent_bytes = index_bytes + offset_bytes + length_bytes;
                reader.skip(extents * usize::from(extent_bytes))?;
                continue;
            }
            if method > 1 || extents > PARTS_MAX {
                return None;
            }
            let mut pieces = Vec::with_capacity(extents);
            for _ in 0..extents {
                reader.number(index_bytes)?;
                let offset = base.checked_add(reader.number(offset_bytes)?)?;
                pieces.push((offset, reader.number(length_bytes)?));
            }
            return Some(Self { in_idat: method == 1, pieces });
        }
        None
    }
}

#[cfg(test)]
#[path = "heif_tests.rs"]
mod tests;
