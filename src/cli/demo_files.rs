//! Generates the demo's two files: a photo-like JPEG and a PDF.

use dossier_image::encode_jpeg;

const WIDTH: usize = 1_600;
const HEIGHT: usize = 1_067;

/// Returns a JPEG of 1600 × 1067 pixels: a sky, a sun, hills.
///
/// # Errors
///
/// If the encoder fails.
pub(super) fn photo() -> anyhow::Result<Vec<u8>> {
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            pixels.extend_from_slice(&colour(x as f32, y as f32));
        }
    }
    Ok(encode_jpeg(&pixels, (WIDTH as u32, HEIGHT as u32), 88)?)
}

fn colour(x: f32, y: f32) -> [u8; 3] {
    let (width, height) = (WIDTH as f32, HEIGHT as f32);
    let hill = |base: f32, swing: f32, length: f32| base + swing * (x / length).sin();
    if y > height * hill(0.86, 0.05, 260.0) {
        return [34, 68, 52];
    }
    if y > height * hill(0.72, 0.07, 190.0) {
        return [62, 104, 78];
    }
    let sun = ((x - width * 0.68).powi(2) + (y - height * 0.34).powi(2)).sqrt();
    if sun < 110.0 {
        return [255, 236, 170];
    }
    let (down, glow) = (y / height, 90.0 / sun.max(1.0));
    let mix = |top: f32, bottom: f32| (top + (bottom - top) * down + glow * 80.0).min(255.0) as u8;
    [mix(70.0, 250.0), mix(120.0, 205.0), mix(190.0, 165.0)]
}

/// Returns a PDF of one page with one line of text.
pub(super) fn document() -> Vec<u8> {
    let text = "BT /F1 24 Tf 72 720 Td (A document that belongs to a contact.) Tj ET";
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (object, number) in objects.iter().zip(1..) {
        offsets.push(pdf.len());
        pdf.extend_from_slice(format!("{number} 0 obj\n{object}\nendobj\n").as_bytes());
    }
    let (table, size) = (pdf.len(), objects.len() + 1);
    pdf.extend_from_slice(format!("xref\n0 {size}\n0000000000 65535 f \n").as_bytes());
    for offset in offsets {
        pdf.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
    }
    let tail = format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
    pdf.extend_from_slice(tail.as_bytes());
    pdf
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use dossier_image::read_header;

    use super::*;
    use crate::domain::sniff::{ContentKind, sniff};

    #[test]
    fn the_files_match_their_types() {
        let (photo, document) = (photo().unwrap(), document());
        let header = read_header(&mut Cursor::new(&photo)).unwrap();
        assert_eq!((header.width, header.height), (1_600, 1_067));
        let size = document.len() as u64;
        assert!(matches!(sniff(&mut Cursor::new(document), size), Ok(ContentKind::Pdf)));
    }
}
