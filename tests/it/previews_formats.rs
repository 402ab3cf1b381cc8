//! Previews of AVIF, HEIC, JPEG XL and PDF over HTTP. No preview of any format contains a word
//! about its original (S25).

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;
use uuid::Uuid;

use crate::support::files::{decoded, eventually, jpeg, png, quarters, with_exif, with_segment};
use crate::support::{Response, TestApp};

/// A file of `tests/pictures`.
macro_rules! picture {
    ($name:literal) => {
        include_bytes!(concat!("../pictures/", $name)).as_slice()
    };
}

/// Hidden in the metadata of the pictures.
const SECRET: &[u8] = b"GPS-52.5200N-13.4050E";

/// A PDF with a title and one red page of 400 by 300 points. `more` is added to its trailer.
fn pdf_page(kid: &str, more: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        &format!("<< /Type /Pages /Kids [{kid}] /Count 1 >>"),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] /Contents 4 0 R >>",
        "<< /Length 25 >>\nstream\n1 0 0 rg 0 0 400 300 re f\nendstream",
        "<< /Title (GPS-52.5200N-13.4050E) >>",
    ];
    let (mut file, mut table) = ("%PDF-1.4\n".to_owned(), String::new());
    for (number, object) in (1..).zip(objects) {
        writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
        writeln!(file, "{number} 0 obj\n{object}\nendobj").unwrap();
    }
    let start = file.len();
    write!(
        file,
        "xref\n0 6\n0000000000 65535 f \n{table}trailer\n<< /Size 6 /Root 1 0 R /Info 5 0 R \
         {more} >>\nstartxref\n{start}\n%%EOF\n"
    )
    .unwrap();
    file.into_bytes()
}

async fn upload(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> (Uuid, Value) {
    let contact = Uuid::new_v4();
    app.upload(contact, name, mime_type, bytes).await.ok();
    (contact, app.list(contact).await.ok()["attachments"][0].clone())
}

async fn open(app: &TestApp, reference: &Value) -> Response {
    app.open(reference["url"].as_str().unwrap()).await
}

#[tokio::test]
async fn pictures_of_new_formats_have_an_upright_size_and_previews() {
    let app = TestApp::start().await;
    for (name, mime_type, bytes, size) in [
        ("a.avif", "image/avif", picture!("avif-420-8.avif"), (96, 64)),
        ("a.avif", "image/avif", picture!("avif-irot1.avif"), (64, 96)),
        ("a.avif", "image/avif", picture!("avif-clap.avif"), (48, 32)),
        ("a.heic", "image/heic", picture!("heic-420.heic"), (96, 64)),
        ("a.heif", "image/heif", picture!("heic-420.heic"), (96, 64)),
        ("a.jxl", "image/jxl", picture!("jxl-turned.jxl"), (64, 96)),
    ] {
        let (_, attachment) = upload(&app, name, mime_type, bytes).await;
        let stated = ["width", "height"].map(|side| attachment["image"][side].as_u64().unwrap());
        assert_eq!((stated[0], stated[1]), (size.0.into(), size.1.into()), "{attachment}");
        let preview = open(&app, &attachment["previewImage"]).await;
        assert_eq!(preview.status, 200, "{attachment}");
        assert_eq!(decoded(&preview.body).dimensions(), size, "{attachment}");
    }
}

#[tokio::test]
async fn a_pdf_has_a_first_page_preview_besides_the_contracts_fields() {
    let app = TestApp::start().await;
    let file = pdf_page("3 0 R", "");
    let (contact, attachment) = upload(&app, "cv.pdf", "application/pdf", &file).await;
    assert!(attachment.get("previewImage").is_none(), "{attachment}");
    let reference = &attachment["documentPreview"];
    let mut fields: Vec<_> = reference.as_object().unwrap().keys().collect();
    fields.sort_unstable();
    assert_eq!(fields, ["url", "urlExpirationDate"]);
    assert_eq!(reference["urlExpirationDate"], attachment["document"]["urlExpirationDate"]);
    let preview = open(&app, reference).await;
    assert_eq!((preview.status.as_u16(), preview.header("content-type")), (200, "image/jpeg"));
    let picture = decoded(&preview.body);
    assert_eq!(picture.dimensions(), (640, 480));
    let [red, green, blue, _] = picture.get_pixel(320, 240).0;
    assert!(red > 245 && green < 10 && blue < 10, "{red} {green} {blue}");
    let original = open(&app, &attachment["document"]).await;
    assert_eq!(original.body, file);
    assert_ne!(original.header("etag"), preview.header("etag"));

    // The official SDK gets only the contract's fields.
    let app = app.restart_with(&[("media_references", "url")]).await;
    let listed = app.list(contact).await.ok()["attachments"][0].clone();
    assert!(listed.get("documentPreview").is_none(), "{listed}");
}

#[tokio::test]
async fn a_pdf_without_pages_is_kept_and_loses_its_preview() {
    let app = TestApp::start().await;
    let locked = pdf_page("3 0 R", "/Encrypt << /Filter /Standard /V 1 /R 2 >>");
    // No other page either, which a lenient reader would find by scanning.
    let empty =
        String::from_utf8(pdf_page("9 0 R", "")).unwrap().replace("/Type /Page ", "/Type /Pane ");
    let empty = empty.into_bytes();
    for file in [locked, empty] {
        let (contact, _) = upload(&app, "a.pdf", "application/pdf", &file).await;
        eventually("the list offers no preview", async || {
            app.list(contact).await.ok()["attachments"][0].get("documentPreview").is_none()
        })
        .await;
        let listed = app.list(contact).await.ok()["attachments"][0].clone();
        assert_eq!(open(&app, &listed["document"]).await.body, file);
    }
    let whole = pdf_page("3 0 R", "");
    let cut = &whole[..whole.len() / 2];
    let (_, attachment) = upload(&app, "a.pdf", "application/pdf", cut).await;
    assert!(attachment.get("documentPreview").is_none(), "a truncated file was never offered");
}

/// What exiftool finds in a file, by group and tag, without facts about the file itself.
fn tags(file: &[u8]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, file).unwrap();
    let found = Command::new("exiftool").args(["-json", "-G1", "-a", "-u"]).arg(&path).output();
    let found = found.unwrap_or_else(|error| panic!("exiftool, see scripts/setup: {error}"));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let tags = report[0].as_object().unwrap().iter();
    tags.map(|(name, value)| (name.clone(), value.to_string()))
        .filter(|(name, _)| {
            !["SourceFile", "ExifTool:", "System:", "File:", "Composite:"]
                .iter()
                .any(|own| name.starts_with(own))
        })
        .collect()
}

#[tokio::test]
async fn s25_exiftool_finds_only_what_a_decoder_needs_in_any_preview() {
    let app = TestApp::start().await;
    let picture = quarters(96, 64);
    let xmp = [
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>",
        SECRET,
        b"</x:xmpmeta>",
    ]
    .concat();
    let rich = with_segment(&with_exif(&jpeg(&picture), 6, SECRET), 0xe1, &xmp);
    let rich = with_segment(&rich, 0xfe, SECRET);
    let mut noted = png(&picture);
    let text = [b"tEXtComment\0", SECRET].concat();
    let mut chunk = ((text.len() - 4) as u32).to_be_bytes().to_vec();
    chunk.extend(&text);
    chunk.extend(crc32(&text).to_be_bytes());
    noted.splice(33..33, chunk);
    for (name, mime_type, bytes) in [
        ("a.jpg", "image/jpeg", &rich[..]),
        ("a.png", "image/png", &noted),
        ("a.avif", "image/avif", picture!("avif-metadata.avif")),
        ("a.avif", "image/avif", picture!("avif-alpha.avif")),
        ("a.heic", "image/heic", picture!("heic-metadata.heic")),
        ("a.jxl", "image/jxl", picture!("jxl-metadata.jxl")),
        ("a.pdf", "application/pdf", &pdf_page("3 0 R", "")),
    ] {
        let (_, attachment) = upload(&app, name, mime_type, bytes).await;
        let field = if name == "a.pdf" { "documentPreview" } else { "previewImage" };
        let preview = open(&app, &attachment[field]).await;
        assert_eq!(preview.status, 200, "{name}");
        let leaked = preview.body.windows(SECRET.len()).any(|window| window == SECRET);
        assert!(!leaked, "{name}");
        let needed = |name: &str| name.starts_with("JFIF:") || name.starts_with("PNG:");
        let more: Vec<_> =
            tags(&preview.body).into_iter().filter(|(name, _)| !needed(name)).collect();
        assert_eq!(more, [], "{name}");
        if bytes.windows(SECRET.len()).any(|window| window == SECRET) {
            let known = tags(bytes).iter().any(|(_, value)| value.contains("GPS-52.5200N"));
            assert!(known, "exiftool finds nothing in the original of {name} either");
        }
    }
}

/// The checksum of a PNG chunk (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    let next = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, next)
}
