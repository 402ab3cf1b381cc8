//! Hostile and damaged AVIF, HEIC, JPEG XL and PDF files are rejected or rendered in part, within
//! bounds.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::samples;
use crate::samples_pdf::{Pdf, QUARTERS, stream};
use crate::tests_formats::picture;
use crate::*;

/// Far more than any of these files takes, far less than a decoder without bounds.
const DEADLINE: Duration = Duration::from_secs(20);

const PICTURES: [&[u8]; 11] = [
    picture!("avif-420-10.avif"),
    picture!("avif-alpha.avif"),
    picture!("avif-grid.avif"),
    picture!("avif-irot3-imir1.avif"),
    picture!("avif-clap.avif"),
    picture!("heic-420.heic"),
    picture!("heic-alpha.heic"),
    picture!("jxl-lossless.jxl"),
    picture!("jxl-lossy.jxl"),
    picture!("jxl-turned.jxl"),
    picture!("jxl-metadata.jxl"),
];

fn rejection(source: &[u8]) -> RenderError {
    let start = Instant::now();
    let rejected = make_preview(source, &RenderLimits::default()).expect_err("must be rejected");
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    rejected
}

/// Runs the public functions on `source`. Header and preview must agree.
fn exercise(source: &[u8]) {
    let start = Instant::now();
    let limits = RenderLimits::default();
    let header = read_header(&mut Cursor::new(source));
    if let Ok(preview) = make_preview(source, &limits) {
        assert!(preview.width.max(preview.height) <= PREVIEW_EDGE_PX);
        if !pdf::is_pdf(source) {
            let header = header.expect("a preview without a header");
            assert!(can_preview(&header, source.len() as u64, &limits));
            let plan = geometry::plan((header.width, header.height), &Recipe::preview());
            assert_eq!((preview.width, preview.height), plan.expect("a plan").target);
        }
    }
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
}

/// Changes the size that a container states for its pictures.
fn with_size(source: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut file = source.to_vec();
    let positions: Vec<_> =
        (0..file.len() - 4).filter(|at| &file[*at..*at + 4] == b"ispe").collect();
    for at in positions {
        file[at + 8..at + 12].copy_from_slice(&width.to_be_bytes());
        file[at + 12..at + 16].copy_from_slice(&height.to_be_bytes());
    }
    file
}

/// The header of a JPEG XL codestream of that size (ISO/IEC 18181-1 §D.2), and nothing else.
pub(crate) fn jxl_head(width: u32, height: u32) -> Vec<u8> {
    let mut bits = vec![0];
    let mut put = |value: u32, count: u32| bits.extend((0..count).map(|bit| (value >> bit) & 1));
    // The third encoding of a side: 1 + 18 bits. No fixed ratio.
    put(2, 2);
    put(height - 1, 18);
    put(0, 3);
    put(2, 2);
    put(width - 1, 18);
    // All defaults.
    put(0b11, 2);
    let bytes =
        bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | *bit as u8));
    [0xff, 0x0a].into_iter().chain(bytes).chain([0; 64]).collect()
}

#[test]
fn s7_bombs_are_rejected_from_their_header() {
    for bomb in [
        with_size(picture!("avif-420-8.avif"), 65_535, 65_535),
        with_size(picture!("avif-grid.avif"), 65_535, 65_535),
        with_size(picture!("heic-420.heic"), 65_535, 65_535),
        jxl_head(65_535, 65_535),
    ] {
        let header = read_header(&mut Cursor::new(&bomb)).expect("a header");
        assert_eq!((header.width, header.height), (65_535, 65_535), "{header:?}");
        assert!(!can_preview(&header, bomb.len() as u64, &RenderLimits::default()));
        assert!(matches!(rejection(&bomb), RenderError::TooLarge { .. }), "{header:?}");
    }
}

#[test]
fn a_container_that_states_less_than_it_holds_is_rejected() {
    for source in [picture!("avif-420-8.avif"), picture!("avif-grid.avif")] {
        let lie = with_size(source, 32, 32);
        assert!(matches!(rejection(&lie), RenderError::Broken { .. }));
    }
}

#[test]
fn each_limit_holds_for_each_format() {
    let sources =
        [picture!("avif-420-8.avif"), picture!("heic-420.heic"), picture!("jxl-lossless.jxl")];
    for source in sources {
        let limits = RenderLimits::default();
        for limits in [
            RenderLimits { max_pixels: 96 * 64 - 1, ..limits },
            RenderLimits { max_source_bytes: source.len() as u64 - 1, ..limits },
            RenderLimits { max_decoded_bytes: 96 * 64, ..limits },
        ] {
            let rejected = make_preview(source, &limits).expect_err("must be rejected");
            assert!(matches!(rejected, RenderError::TooLarge { .. }), "{rejected}");
        }
        assert!(make_preview(source, &RenderLimits { max_pixels: 96 * 64, ..limits }).is_ok());
    }
}

#[test]
fn files_truncated_anywhere_are_safe() {
    let page = Pdf::page("[0 0 400 300]", "", QUARTERS).file();
    for source in PICTURES.into_iter().chain([&page[..]]) {
        make_preview(source, &RenderLimits::default()).expect("valid");
        for index in 0..200 {
            exercise(&source[..source.len() * index / 200]);
        }
    }
}

/// A page that shows a picture or form, object 5.
fn page_showing(object: &str) -> Pdf {
    let resources = "/Resources << /XObject << /X 5 0 R >> >>";
    Pdf::page("[0 0 400 300]", resources, "/X Do").with(object.to_owned())
}

#[test]
fn recursion_in_a_pdf_ends() {
    let form = "/Type /XObject /Subtype /Form /BBox [0 0 400 300] \
                /Resources << /XObject << /X 5 0 R >> >>";
    let own_form = page_showing(&stream(form, "/X Do"));
    // Each of eight forms shows the next one twice. Many more would take forever, which only the
    // caller's deadline can end.
    let mut doubling = page_showing(&stream("", ""));
    for number in 5..13 {
        let next = number + 1;
        let form = form.replace("5 0 R", &format!("{next} 0 R"));
        let form = stream(&form, "/X Do /X Do");
        doubling = if number == 5 { doubling.replace(5, &form) } else { doubling.with(form) };
    }
    let doubling = doubling.with(stream(form, "0 0 1 1 re f"));
    let own_kid = Pdf::page("[0 0 400 300]", "", QUARTERS)
        .replace(2, "<< /Type /Pages /Kids [2 0 R 2 0 R 3 0 R] /Count 3 >>");
    let own_parent = Pdf::page("[0 0 400 300]", "", QUARTERS)
        .replace(2, "<< /Type /Pages /Kids [3 0 R] /Count 1 /Parent 2 0 R >>");
    let own_reference = Pdf::page("[0 0 400 300]", "", QUARTERS).replace(4, "4 0 R");
    let mut own_table = Pdf::page("[0 0 400 300]", "", QUARTERS);
    own_table.trailer = "/Prev 9".to_owned();
    for pdf in [own_form, doubling, own_kid, own_parent, own_reference, own_table] {
        exercise(&pdf.file());
    }
    for nested in ["[".repeat(200_000), "<</A".repeat(200_000), "q ".repeat(500_000)] {
        exercise(&Pdf::page("[0 0 400 300]", &format!("/A {nested}"), &nested).file());
    }
}

#[test]
fn scripts_in_a_pdf_do_not_change_its_page() {
    let action = "<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS \
                  (app.launchURL\\('http://127.0.0.1:9/'\\)) >> /AA << /WC << /S /Launch \
                  /F (/bin/sh) >> >> >>";
    let with_script = Pdf::page("[0 0 400 300]", "", QUARTERS).replace(1, action).file();
    let without = Pdf::page("[0 0 400 300]", "", QUARTERS).file();
    let [with_script, without] = [with_script, without]
        .map(|file| make_preview(&file, &RenderLimits::default()).expect("a preview"));
    assert_eq!(with_script, without);
}

#[test]
fn a_pdf_that_needs_a_password_has_no_preview() {
    let mut locked = Pdf::page("[0 0 400 300]", "", QUARTERS);
    let junk = "ab".repeat(32);
    locked.trailer = format!(
        "/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <{junk}> /U <{junk}> >> \
         /ID [<{junk}> <{junk}>]"
    );
    let rejected = rejection(&locked.file());
    assert!(rejected.to_string().contains("password"), "{rejected}");
}

#[test]
fn large_pictures_and_pages_in_a_pdf_are_bounded() {
    let picture = "/Type /XObject /Subtype /Image /Width 65535 /Height 65535 /BitsPerComponent 8 \
                   /ColorSpace /DeviceRGB";
    let picture = page_showing(&stream(picture, "")).file();
    assert!(matches!(rejection(&picture), RenderError::TooLarge { .. }));
    for pdf in [
        Pdf::page("[0 0 1e30 1e30]", "", QUARTERS),
        Pdf::page("[0 0 65535 65535]", "", QUARTERS),
        Pdf::page("[0 0 0 0]", "", QUARTERS),
        Pdf::page("[nul -1 ( 7]", "", QUARTERS),
        Pdf::of(vec!["<< /Type /Catalog >>".to_owned()]),
    ] {
        exercise(&pdf.file());
    }
}

#[test]
fn a_gif_of_a_million_frames_gives_the_first() {
    let gif = samples::gif_of(20, 10, [0, 0, 20, 10]);
    // A frame of one pixel: position and size, a code size, one block of codes, the end.
    let frame = [0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0];
    let end = gif.len() - 1;
    let many = [&gif[..end], &frame.repeat(1_000_000), &gif[end..]].concat();
    let start = Instant::now();
    make_preview(&many, &RenderLimits::default()).expect("the first frame");
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
}

#[test]
fn a_png_that_states_a_profile_of_4_gib_allocates_no_such_memory() {
    let mut head = samples::png_head(30, 20);
    let end = head.len();
    head.truncate(33.min(end));
    head.extend(u32::MAX.to_be_bytes());
    head.extend(b"iCCPp\0\0x\x9c");
    head.extend([0; 1_000]);
    let start = Instant::now();
    assert!(make_preview(&head, &RenderLimits::default()).is_err());
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_bytes_are_safe(
        which in 0..PICTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut source = PICTURES[which].to_vec();
        for (index, byte) in changes {
            let at = index.index(source.len());
            source[at] = byte;
        }
        exercise(&source);
    }
}

proptest! {
    // Fewer cases: each one renders a page.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn changed_bytes_of_a_pdf_are_safe(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let form = stream("/Type /XObject /Subtype /Form /BBox [0 0 400 300]", QUARTERS);
        let mut source = page_showing(&form).file();
        for (index, byte) in changes {
            let at = index.index(source.len());
            source[at] = byte;
        }
        exercise(&source);
    }
}
