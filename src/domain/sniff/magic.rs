//! Signatures at the start of a file. Only the head is examined.

use super::found::ContentKind;

/// Containers whose kind depends on their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Zip,
    Ole,
}

/// Largest offset at which a PDF may start (ISO 32000-1, annex H.3, note 13).
const LATE_PDF_BYTES: usize = 1024;

const PDF: &[u8] = b"%PDF-";

/// Offsets and bytes that identify a kind.
const MAGIC: &[(usize, &[u8], ContentKind)] = &[
    (0, b"\xFF\xD8\xFF", ContentKind::Jpeg),
    (0, b"\x89PNG\r\n\x1A\n", ContentKind::Png),
    (0, b"GIF87a", ContentKind::Gif),
    (0, b"GIF89a", ContentKind::Gif),
    (0, b"II*\0", ContentKind::Tiff),
    (0, b"MM\0*", ContentKind::Tiff),
    (0, b"II+\0", ContentKind::Tiff),
    (0, b"MM\0+", ContentKind::Tiff),
    (0, b"\0\0\0\x0CJXL \r\n\x87\n", ContentKind::Jxl),
    (0, b"\xFF\x0A", ContentKind::Jxl),
    (0, b"\0\0\0\x0CjP  \r\n\x87\n", ContentKind::Jp2),
    (0, b"\xFF\x4F\xFF\x51", ContentKind::Jp2),
    (0, b"8BPS\0\x01", ContentKind::Psd),
    (0, b"8BPS\0\x02", ContentKind::Psd),
    (0, b"\x7FELF", ContentKind::Other("an ELF program")),
    (0, b"\xFE\xED\xFA\xCE", ContentKind::Other("a macOS program")),
    (0, b"\xFE\xED\xFA\xCF", ContentKind::Other("a macOS program")),
    (0, b"\xCE\xFA\xED\xFE", ContentKind::Other("a macOS program")),
    (0, b"\xCF\xFA\xED\xFE", ContentKind::Other("a macOS program")),
    (0, b"\xCA\xFE\xBA\xBE", ContentKind::Other("a Java class or macOS program")),
    (0, b"\0asm", ContentKind::Other("a WebAssembly program")),
    (0, b"#!", ContentKind::Other("a script")),
    (0, b"%!PS", ContentKind::Other("a PostScript program")),
    (0, b"L\0\0\0\x01\x14\x02\0", ContentKind::Other("a Windows shortcut")),
    (0, b"\x1F\x8B", ContentKind::Other("a gzip archive")),
    (0, b"BZh", ContentKind::Other("a bzip2 archive")),
    (0, b"\xFD7zXZ\0", ContentKind::Other("an xz archive")),
    (0, b"\x28\xB5\x2F\xFD", ContentKind::Other("a Zstandard archive")),
    (0, b"7z\xBC\xAF\x27\x1C", ContentKind::Other("a 7z archive")),
    (0, b"Rar!\x1A\x07", ContentKind::Other("a RAR archive")),
    (0, b"MSCF\0\0\0\0", ContentKind::Other("a CAB archive")),
    (257, b"ustar", ContentKind::Other("a tar archive")),
    (0, b"{\\rtf", ContentKind::Other("an RTF document")),
    (0, b"SQLite format 3\0", ContentKind::Other("an SQLite database")),
    (0, b"ID3\x02", ContentKind::Other("MP3 audio")),
    (0, b"ID3\x03", ContentKind::Other("MP3 audio")),
    (0, b"ID3\x04", ContentKind::Other("MP3 audio")),
    (0, b"\xFF\xFB", ContentKind::Other("MP3 audio")),
    (0, b"OggS\0", ContentKind::Other("Ogg audio or video")),
    (0, b"fLaC\0", ContentKind::Other("FLAC audio")),
    (0, b"\x1A\x45\xDF\xA3", ContentKind::Other("Matroska or WebM video")),
    (0, b"\0\0\x01\xBA", ContentKind::Other("MPEG video")),
    (0, b"FLV\x01", ContentKind::Other("Flash video")),
];

/// The container the file is, if it is one.
pub(super) fn container(head: &[u8]) -> Option<Container> {
    const ZIP: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];
    if ZIP.iter().any(|magic| head.starts_with(magic)) {
        Some(Container::Zip)
    } else if head.starts_with(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") {
        Some(Container::Ole)
    } else {
        None
    }
}

/// The kind that the head identifies, if any.
pub(super) fn by_magic(head: &[u8]) -> Option<ContentKind> {
    let listed = MAGIC
        .iter()
        .find(|(offset, magic, _)| head.get(*offset..).is_some_and(|at| at.starts_with(magic)))
        .map(|(_, _, found)| *found);
    listed
        .or_else(|| riff(head))
        .or_else(|| iso_media(head))
        .or_else(|| is_bmp(head).then_some(ContentKind::Bmp))
        .or_else(|| is_icon(head).then_some(ContentKind::Ico))
        .or_else(|| is_dos(head).then_some(ContentKind::Other("a Windows program")))
        .or_else(|| after_blanks(head).starts_with(PDF).then_some(ContentKind::Pdf))
}

/// Whether a PDF starts within the first kibibyte, after other data.
pub(super) fn is_late_pdf(head: &[u8]) -> bool {
    let start = head.get(..LATE_PDF_BYTES + PDF.len()).unwrap_or(head);
    start.windows(PDF.len()).any(|window| window == PDF)
}

/// The head without a UTF-8 byte-order mark and leading white space.
pub(super) fn after_blanks(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start()
}

fn riff(head: &[u8]) -> Option<ContentKind> {
    if !head.starts_with(b"RIFF") {
        return None;
    }
    match head.get(8..12)? {
        b"WEBP" => Some(ContentKind::Webp),
        b"WAVE" => Some(ContentKind::Other("WAV audio")),
        b"AVI " => Some(ContentKind::Other("AVI video")),
        _ => None,
    }
}

/// HEIF, AVIF and MP4 share a container and differ in the brands of its first box (ISO/IEC 14496-12
/// §4.3, 23008-12 §10).
fn iso_media(head: &[u8]) -> Option<ContentKind> {
    let (size, rest) = head.split_first_chunk::<4>()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let box_bytes = u32::from_be_bytes(*size) as usize;
    let brands = brands.get(..box_bytes.saturating_sub(8)).unwrap_or(brands);
    let (major, others) = brands.split_first_chunk::<4>()?;
    // The minor version is between the major brand and the compatible ones.
    let compatible = || others.get(4..).unwrap_or_default().chunks_exact(4);
    let is_heif = |brand: &[u8]| {
        matches!(
            brand,
            b"heic"
                | b"heix"
                | b"heim"
                | b"heis"
                | b"hevc"
                | b"hevx"
                | b"hevm"
                | b"hevs"
                | b"mif1"
                | b"mif2"
                | b"msf1"
        )
    };
    let is_avif = |brand: &[u8]| matches!(brand, b"avif" | b"avis");
    match major {
        b"crx " => None,
        major if is_avif(major) => Some(ContentKind::Avif),
        // A generic brand only means HEIF; a compatible brand then names the codec.
        b"mif1" | b"mif2" | b"msf1" if compatible().any(is_avif) => Some(ContentKind::Avif),
        major if is_heif(major) => Some(ContentKind::Heic),
        b"qt  " => Some(ContentKind::Other("QuickTime video")),
        b"M4A " | b"M4B " => Some(ContentKind::Other("MP4 audio")),
        _ => Some(ContentKind::Other("MP4 video")),
    }
}

/// Many texts start with `BM`, so the header's length must be a known one as well.
fn is_bmp(head: &[u8]) -> bool {
    let header_bytes = head
        .get(14..18)
        .and_then(|bytes| bytes.first_chunk::<4>())
        .map(|bytes| u32::from_le_bytes(*bytes));
    head.starts_with(b"BM") && matches!(header_bytes, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// An icon or cursor with at least one picture, whose entry has a reserved byte of zero.
fn is_icon(head: &[u8]) -> bool {
    let has_signature = head.starts_with(b"\0\0\x01\0") || head.starts_with(b"\0\0\x02\0");
    has_signature && head.get(4..6).is_some_and(|count| count != [0, 0]) && head.get(9) == Some(&0)
}

/// Many texts start with `MZ`; a program also contains NUL bytes.
fn is_dos(head: &[u8]) -> bool {
    head.starts_with(b"MZ") && head.contains(&0)
}
