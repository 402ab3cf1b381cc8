//! Tests of detection and type decisions, over every sample.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::samples::{DOCX, PPTX, Sample, XLSX, ole, ooxml, samples, types_part, zip};
use super::{
    ContentKind, HEAD_BYTES, OLE_BUDGET_BYTES, OoxmlKind, SentContentType, TypeMismatch,
    ZIP_BUDGET_BYTES, decide, sniff,
};
use crate::domain::media_type::{MediaType, SUPPORTED_DOCUMENTS, extensions_of};

const KNOWN_IMAGES: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/apng",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/avif",
    "image/jxl",
    "image/jp2",
    "image/vnd.adobe.photoshop",
    "image/x-ms-bmp",
];

/// Generated once, for tests that use many of them.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(samples);

fn of(name: &str) -> MediaType {
    MediaType::parse(name).unwrap()
}

fn known_types() -> Vec<MediaType> {
    SUPPORTED_DOCUMENTS.iter().chain(KNOWN_IMAGES).map(|name| of(name)).collect()
}

fn kind(bytes: &[u8]) -> ContentKind {
    sniff(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
}

/// Counts the bytes read, and fails at a chosen call.
struct Counting<R> {
    inner: R,
    read_bytes: u64,
    calls: usize,
    failing_call: usize,
}

impl<R> Counting<R> {
    fn new(inner: R) -> Self {
        Self { inner, read_bytes: 0, calls: 0, failing_call: usize::MAX }
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls == self.failing_call {
            return Err(io::Error::other("disk on fire"));
        }
        let read = self.inner.read(into)?;
        self.read_bytes += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Counting<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The kind of a file, and how many bytes were read to detect it.
fn kind_and_cost(bytes: &[u8]) -> (ContentKind, u64) {
    let mut source = Counting::new(Cursor::new(bytes));
    let found = sniff(&mut source, bytes.len() as u64).unwrap();
    (found, source.read_bytes)
}

#[test]
fn every_sample_is_detected() {
    for sample in samples() {
        assert_eq!(kind(&sample.bytes), sample.found, "{}", sample.label);
        // Only a container's kind depends on the end of the file.
        if !sample.bytes.starts_with(b"PK") && !sample.bytes.is_empty() {
            let longer = [&sample.bytes[..], &[b'\n'; 10_000]].concat();
            assert_eq!(kind(&longer), sample.found, "{}, longer", sample.label);
        }
    }
}

#[test]
fn s3_every_sample_is_accepted_as_its_own_types_only() {
    let samples = samples();
    assert!(samples.len() >= 40);
    for sample in samples {
        for declared in known_types() {
            let name = format!("a.{}", extensions_of(&declared)[0]);
            let fits = sample.fits.contains(&declared.as_str());
            for sent in [SentContentType::Unspecified, SentContentType::Type(declared.to_string())]
            {
                let decided = decide(&declared, sent, &name, &sample.found);
                let expected = if fits {
                    Ok(declared.clone())
                } else {
                    let found = sample.found.name();
                    Err(TypeMismatch::Content { declared: declared.clone(), found })
                };
                assert_eq!(decided, expected, "{} as {declared}", sample.label);
            }
        }
    }
}

#[test]
fn s3_an_extension_of_another_type_is_rejected() {
    for sample in samples() {
        for declared in sample.fits.iter().map(|name| of(name)) {
            for other in known_types() {
                let extension = extensions_of(&other)[0];
                let name = format!("a.{extension}");
                let decided = decide(&declared, SentContentType::Unspecified, &name, &sample.found);
                if extensions_of(&declared).contains(&extension) {
                    assert_eq!(decided, Ok(declared.clone()));
                } else {
                    let mismatch = TypeMismatch::Extension {
                        file_name_extension: extension.to_owned(),
                        media_type: declared.clone(),
                    };
                    assert_eq!(decided, Err(mismatch), "{} as {name}", sample.label);
                }
            }
            for name in ["a.exe", "a.html", "a.docm", "a.svg", "a.exe ", "a.\u{202E}gnp.js"] {
                let decided = decide(&declared, SentContentType::Unspecified, name, &sample.found);
                assert!(matches!(decided, Err(TypeMismatch::Extension { .. })), "{name:?}");
            }
        }
    }
}

#[test]
fn other_image_types_accept_only_images_and_unknown_content() {
    let declared = of("image/x-canon-cr2");
    for sample in samples() {
        let is_accepted = sample.found.is_raster() || sample.found == ContentKind::Unknown;
        let decided = decide(&declared, SentContentType::Unspecified, "a.cr2", &sample.found);
        assert_eq!(decided.is_ok(), is_accepted, "{}", sample.label);
    }
    for (name, is_accepted) in [("image/vnd.dxf", true), ("image/x-canon-cr2", false)] {
        let decided =
            decide(&of(name), SentContentType::Unspecified, "a.dxf", &kind(b"0\r\nSECTION\r\n"));
        assert_eq!(decided.is_ok(), is_accepted, "{name}");
    }
}

#[test]
fn the_sent_type_must_be_the_declared_one() {
    let png = kind(b"\x89PNG\r\n\x1A\n");
    for (header, agrees) in [
        (None, true),
        (Some(""), true),
        (Some("text/plain;charset=UTF-8"), true),
        (Some("application/x-www-form-urlencoded"), true),
        (Some("multipart/form-data; boundary=x"), true),
        (Some("application/octet-stream"), true),
        (Some("IMAGE/PNG; q=1"), true),
        (Some("image/x-png"), true),
        (Some("image/apng"), true),
        (Some("image/jpeg"), false),
        (Some("text/html"), false),
        (Some("nonsense"), false),
    ] {
        let decided = decide(&of("image/png"), SentContentType::from_header(header), "a.png", &png);
        match decided {
            Ok(stored) => assert!(agrees && stored == of("image/png"), "{header:?}"),
            Err(TypeMismatch::ContentType { .. }) => assert!(!agrees, "{header:?}"),
            Err(other) => panic!("{header:?}: {other}"),
        }
    }
    let jpeg = kind(b"\xFF\xD8\xFF");
    let sent = SentContentType::from_header(Some("image/jpg"));
    assert_eq!(decide(&of("image/pjpeg"), sent, "a.jpg", &jpeg), Ok(of("image/jpeg")));
}

#[test]
fn a_sent_type_is_truncated_before_it_is_repeated() {
    let SentContentType::Type(sent) = SentContentType::from_header(Some(&"é".repeat(10_000)))
    else {
        panic!()
    };
    assert_eq!(sent.chars().count(), 255);
}

#[test]
fn octet_stream_lets_the_content_decide() {
    let jpeg: &[u8] = b"\xFF\xD8\xFF\xE0";
    let csv: &[u8] = b"a,b\n";
    let bmp: &[u8] = b"BM\x3A\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0";
    let protected = ole(&["EncryptedPackage"]);
    let docx = ooxml(DOCX);
    for (declared, name, bytes, stored) in [
        ("image/png", "a.jpg", jpeg, Some("image/jpeg")),
        ("image/png", "a", jpeg, Some("image/jpeg")),
        ("image/png", "a.png", jpeg, None),
        ("image/png", "a.exe", jpeg, None),
        ("image/jpeg", "a.exe", jpeg, None),
        ("image/x-canon-cr2", "a", jpeg, Some("image/jpeg")),
        ("image/heif", "a.heic", b"\0\0\0\x10ftypheic\0\0\0\0", Some("image/heif")),
        ("image/apng", "a.png", b"\x89PNG\r\n\x1A\n", Some("image/apng")),
        ("image/png", "a.csv", csv, Some("text/csv")),
        ("image/png", "a", csv, None),
        ("text/csv", "a", csv, Some("text/csv")),
        ("application/pdf", "a.docx", &docx, Some(DOCX)),
        ("application/pdf", "a.dotx", &docx, None),
        ("application/pdf", "a.xlsx", &protected, Some(XLSX)),
        (PPTX, "a", &protected, Some(PPTX)),
        ("image/png", "a.webp", b"RIFF\0\0\0\0WEBPVP8 ", None),
        ("image/png", "a.svg", b"<svg>", None),
        ("image/png", "a.bmp", bmp, None),
        ("image/x-ms-bmp", "a.bmp", bmp, Some("image/x-ms-bmp")),
    ] {
        let decided = decide(&of(declared), SentContentType::OctetStream, name, &kind(bytes));
        assert_eq!(decided.ok(), stored.map(of), "{declared} {name}");
    }
}

#[test]
fn mismatches_read_as_predicates() {
    let text = |declared, sent, name, bytes| {
        decide(&of(declared), SentContentType::from_header(sent), name, &kind(bytes))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text("image/png", Some("image/gif"), "a.png", b"GIF89a"),
        "was declared as image/png, but sent as image/gif"
    );
    assert_eq!(
        text("image/png", None, "a.png", b"GIF89a"),
        "was declared as image/png, but holds a GIF image"
    );
    assert_eq!(
        text("image/gif", None, "a.PNG", b"GIF89a"),
        "has the extension .png, which does not belong to image/gif"
    );
}

#[test]
fn content_may_be_stored_as_its_own_type() {
    for sample in samples() {
        if let Some(media_type) = sample.found.media_type() {
            assert!(sample.fits.contains(&media_type.as_str()), "{}", sample.label);
            assert_eq!(MediaType::parse(media_type.as_str()), Ok(media_type));
        }
    }
    assert_eq!(OoxmlKind::Docx.media_type().as_str(), DOCX);
}

#[test]
fn s4_an_archive_of_very_many_entries_is_cheap() {
    let names: Vec<String> = (0..60_000).map(|n| format!("xl/worksheets/sheet{n}.xml")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let (found, cost) = kind_and_cost(&zip(&entries));
    assert_eq!(found, ContentKind::Zip);
    assert!(cost <= ZIP_BUDGET_BYTES + HEAD_BYTES as u64, "{cost}");
}

#[test]
fn s4_a_large_content_types_part_is_not_unpacked() {
    let types = types_part(&format!("{DOCX}.main+xml")) + &" ".repeat(200_000_000);
    let bytes = zip(&[("[Content_Types].xml", types.as_bytes())]);
    let (found, cost) = kind_and_cost(&bytes);
    assert_eq!(found, ContentKind::Zip);
    assert!(cost < bytes.len() as u64 / 2 + HEAD_BYTES as u64, "{cost} of {}", bytes.len());
}

#[test]
fn s4_a_document_that_claims_to_unpack_to_too_much_is_rejected() {
    let mut bytes = ooxml(DOCX);
    // The size fields of the last two directory entries claim almost 4 GiB each.
    let headers: Vec<usize> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect();
    assert_eq!(headers.len(), 3);
    for at in &headers[1..] {
        bytes[at + 24..at + 28].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
    }
    let (found, cost) = kind_and_cost(&bytes);
    assert_eq!(found, ContentKind::Other("an archive that unpacks to more than 4 GiB"));
    assert!(cost < 10_000, "{cost}");
}

#[test]
fn s4_nested_archives_are_not_inspected() {
    let mut bytes = ooxml(DOCX);
    for _ in 0..5 {
        bytes = zip(&[("inner.docx", &bytes)]);
    }
    assert_eq!(kind(&bytes), ContentKind::Zip);
}

#[test]
fn repeated_content_types_parts_are_rejected() {
    let types = types_part(&format!("{DOCX}.main+xml"));
    let bytes = zip(&[
        ("[Content_Types].xml", types.as_bytes()),
        ("[CONTENT_TYPES].xml", types.as_bytes()),
    ]);
    assert_eq!(kind(&bytes), ContentKind::Zip);
}

#[test]
fn s4_an_ole_file_with_cyclic_tables_is_cheap() {
    let size_bytes = 64 * 1024 * 1024;
    let mut bytes = vec![0; size_bytes];
    let sectors = ole(&["WordDocument"]);
    bytes[..512].copy_from_slice(&sectors[..512]);
    let mut put = |at: usize, number: usize| {
        bytes[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
    };
    // Sectors have 512 bytes. The directory alternates between two ends of the file, and the chain
    // that leads to its table alternates between two other sectors.
    put(28, 0x0009_FFFE);
    let (first, second, chain) = (120_000, 130_000, 5);
    put(48, first);
    put(68, chain);
    for sector in [chain, chain + 1] {
        for index in 0..127 {
            put((sector + 1) * 512 + index * 4, 1_000);
        }
    }
    put((chain + 1) * 512 + 508, chain + 1);
    put((chain + 2) * 512 + 508, chain);
    put(1_001 * 512 + first % 128 * 4, second);
    put(1_001 * 512 + second % 128 * 4, first);
    let (found, cost) = kind_and_cost(&bytes);
    assert_eq!(found, ContentKind::OleOther);
    // The cycle was followed for long before the budget stopped it.
    assert!(cost > OLE_BUDGET_BYTES / 2, "{cost}");
    assert!(cost <= OLE_BUDGET_BYTES + HEAD_BYTES as u64, "{cost}");
}

#[test]
fn a_large_ole_file_is_detected() {
    use std::io::Write;
    let mut file =
        cfb::CompoundFile::create_with_version(cfb::Version::V3, Cursor::new(Vec::new())).unwrap();
    let mut stream = file.create_stream("Workbook").unwrap();
    for _ in 0..48 * 128 {
        stream.write_all(&[7; 8 * 1024]).unwrap();
    }
    stream.flush().unwrap();
    drop(stream);
    let (found, cost) = kind_and_cost(&file.into_inner().into_inner());
    assert_eq!(found, ContentKind::Xls);
    // Its tables alone have 384 KiB, which are not read.
    assert!(cost < 100_000, "{cost}");
}

#[test]
fn a_source_error_is_returned_at_every_read() {
    for bytes in [ooxml(DOCX), ole(&["WordDocument"]), b"a,b\n".to_vec()] {
        let mut whole = Counting::new(Cursor::new(&bytes[..]));
        sniff(&mut whole, bytes.len() as u64).unwrap();
        for failing_call in 1..=whole.calls {
            let mut source = Counting::new(Cursor::new(&bytes[..]));
            source.failing_call = failing_call;
            let error = sniff(&mut source, bytes.len() as u64).unwrap_err();
            assert_eq!(error.to_string(), "disk on fire");
        }
    }
}

#[test]
fn text_may_have_few_control_characters() {
    let page = "a,b\n".repeat(32);
    assert_eq!(kind(page.as_bytes()), ContentKind::Text);
    assert_eq!(kind(format!("{page}\x1B\x07").as_bytes()), ContentKind::Text);
    assert_eq!(kind(format!("{page}\x1B\x07\x01").as_bytes()), ContentKind::Unknown);
    assert_eq!(kind(format!("{page}\0").as_bytes()), ContentKind::Unknown);
    assert_eq!(kind(b"\xFF\xFEa\0,\0\x00\xD8"), ContentKind::Unknown);
    assert_eq!(kind(b"\xFF\xFEa\0,"), ContentKind::Unknown);
}

proptest! {
    #[test]
    fn damaged_files_never_make_sniffing_fail(
        which in 0_usize..100,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = SAMPLES[which % SAMPLES.len()].bytes.clone();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let (_, cost) = kind_and_cost(&bytes);
        prop_assert!(cost <= OLE_BUDGET_BYTES);
    }

    #[test]
    fn a_page_is_never_detected_as_text(
        blanks in "[ \t\r\n\u{FEFF}]{0,8}",
        tag in prop::sample::select(&["<!doctype html", "<html", "<script", "<svg", "<!--"][..]),
        upper in any::<bool>(),
        rest in "( |>|/)[ -~]{0,40}",
    ) {
        let tag = if upper { tag.to_uppercase() } else { tag.to_owned() };
        let found = kind(format!("{blanks}{tag}{rest}").as_bytes());
        prop_assert!(matches!(found, ContentKind::Html | ContentKind::Svg), "{:?}", found);
    }
}
