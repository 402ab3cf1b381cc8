//! Containers assembled by hand: what is found in them, and what hostile ones cost.

use std::io::Cursor;
use std::time::{Duration, Instant};

use super::*;

fn boxed(name: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 8).to_be_bytes()[..], &name, payload].concat()
}

/// A box with version and flags 0.
fn full(name: [u8; 4], payload: &[u8]) -> Vec<u8> {
    boxed(name, &[&[0; 4], payload].concat())
}

fn ispe(width: u32, height: u32) -> Vec<u8> {
    full(*b"ispe", &[width.to_be_bytes(), height.to_be_bytes()].concat())
}

/// A file of one item, with the id 1 and these properties in this order.
fn file(coding: [u8; 4], properties: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let infe = boxed(*b"infe", &[&[2, 0, 0, 0, 0, 1, 0, 0][..], &coding, b"\0"].concat());
    let iinf = full(*b"iinf", &[&[0, 1][..], &infe].concat());
    let ipco = boxed(*b"ipco", &properties.concat());
    let mut ipma = vec![0, 0, 0, 1, 0, 1, properties.len() as u8];
    ipma.extend(1..=properties.len() as u8);
    let iprp = boxed(*b"iprp", &[ipco, full(*b"ipma", &ipma)].concat());
    let pitm = full(*b"pitm", &[0, 1]);
    let meta = full(*b"meta", &[&pitm[..], &iinf, &iprp, more].concat());
    [boxed(*b"ftyp", b"mif1\0\0\0\0mif1"), meta].concat()
}

fn read(file: &[u8]) -> Option<Heif> {
    Heif::read(&mut Cursor::new(file))
}

fn primary(file: &[u8]) -> Option<Item> {
    read(file)?.primary()
}

#[test]
fn properties_of_the_primary_picture_are_found() {
    let nclx = boxed(*b"colr", b"nclx\0\x09\0\x10\0\x09\x80");
    let icc = boxed(*b"colr", b"profICC!");
    let item = primary(&file(*b"av01", &[ispe(40, 30), nclx, icc], b"")).expect("an item");
    assert_eq!(
        (item.coding, item.size, item.icc.as_deref()),
        (*b"av01", (40, 30), Some(&b"ICC!"[..]))
    );
    let expected = Nclx { primaries: 9, transfer: 16, matrix: 9, full_range: true };
    assert_eq!(item.nclx, Some(expected));
    assert_eq!(item.shown(), Some(((40, 30), Orientation::NoTransforms)));
}

#[test]
fn turns_and_flips_apply_in_the_order_of_the_file() {
    let turn = boxed(*b"irot", &[1]);
    let flip = boxed(*b"imir", &[1]);
    let shown = |properties: &[Vec<u8>]| {
        primary(&file(*b"hvc1", properties, b"")).and_then(|item| item.shown()).map(|shown| shown.1)
    };
    let size = ispe(40, 30);
    let (size, turn, flip) = (|| size.clone(), || turn.clone(), || flip.clone());
    assert_eq!(shown(&[size(), turn()]), Some(Orientation::Rotate270));
    assert_eq!(shown(&[size(), turn(), flip()]), Some(Orientation::Rotate270FlipH));
    assert_eq!(shown(&[size(), flip(), turn()]), Some(Orientation::Rotate90FlipH));
}

#[test]
fn an_item_without_a_size_or_with_a_malformed_property_is_none() {
    assert!(primary(&file(*b"av01", &[], b"")).is_none());
    assert!(primary(&file(*b"av01", &[ispe(4, 3)[..16].to_vec()], b"")).is_none());
    let clap = boxed(*b"clap", &[0; 32]);
    assert!(primary(&file(*b"av01", &[ispe(4, 3), clap], b"")).is_none());
}

/// `iloc` of version 1 for item 1, with offsets and lengths of four bytes.
fn iloc(method: u8, extents: &[(u32, u32)]) -> Vec<u8> {
    let mut payload = vec![1, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, method, 0, 0];
    payload.extend((extents.len() as u16).to_be_bytes());
    payload.extend(extents.iter().flat_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()].concat()));
    boxed(*b"iloc", &payload)
}

#[test]
fn the_bytes_of_an_item_are_joined_from_its_extents() {
    let bytes = |iloc: Vec<u8>| {
        let more = [iloc, boxed(*b"idat", b"inside")].concat();
        let file = file(*b"av01", &[ispe(4, 3)], &more);
        let heif = read(&file).expect("a meta box");
        heif.bytes(1, b"0123456789").map(Cow::into_owned)
    };
    assert_eq!(bytes(iloc(0, &[(2, 3)])).as_deref(), Some(&b"234"[..]));
    assert_eq!(bytes(iloc(0, &[(2, 3), (0, 1)])).as_deref(), Some(&b"2340"[..]));
    assert_eq!(bytes(iloc(0, &[(7, 0)])).as_deref(), Some(&b"789"[..]));
    assert_eq!(bytes(iloc(1, &[(0, 2)])).as_deref(), Some(&b"in"[..]));
    // Outside the file, an unsupported method, more in total than the file has, and none.
    for rejected in
        [iloc(0, &[(9, 2)]), iloc(2, &[(0, 2)]), iloc(0, &[(0, 10), (0, 1)]), iloc(0, &[])]
    {
        assert_eq!(bytes(rejected), None);
    }
}

#[test]
fn reading_a_container_of_endless_boxes_ends() {
    let start = Instant::now();
    let ftyp = boxed(*b"ftyp", b"heic\0\0\0\0mif1");
    let free = [&ftyp[..], &boxed(*b"free", b"").repeat(3_000_000)].concat();
    assert!(read(&free).is_none());
    let huge = [&ftyp[..], &(u32::MAX).to_be_bytes(), b"meta", &[0; 100]].concat();
    assert!(read(&huge).is_none());
    // As many references as the largest meta box holds, none of them from this item.
    let references = full(*b"iref", &boxed(*b"dimg", b"\0\x02\0\x01\0\x01").repeat(350_000));
    let many = file(*b"grid", &[ispe(4, 3)], &references);
    let heif = read(&many).expect("a meta box");
    let item = heif.primary().expect("an item");
    assert_eq!(heif.coding(&item), *b"grid");
    assert!(heif.grid(&item, &many).is_none());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
