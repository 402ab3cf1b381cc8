//! PDF files assembled by hand, with the tables that a reader needs.

use std::fmt::Write as _;

/// Content of a page of 400 by 300 points in four plain quarters: red, green, blue, white.
pub(crate) const QUARTERS: &str = "0.902 0.118 0.118 rg 0 150 200 150 re f \
     0.118 0.784 0.118 rg 200 150 200 150 re f 0.118 0.118 0.863 rg 0 0 200 150 re f \
     0.941 0.941 0.941 rg 200 0 200 150 re f";

/// Objects in the order of their numbers, starting at 1. Object 1 is the catalogue.
pub(crate) struct Pdf {
    objects: Vec<String>,
    /// Additional entries of the trailer.
    pub(crate) trailer: String,
}

impl Pdf {
    pub(crate) fn of(objects: Vec<String>) -> Self {
        Self { objects, trailer: String::new() }
    }

    /// A file of one page: 1 the catalogue, 2 the pages, 3 the page, 4 its content.
    pub(crate) fn page(media_box: &str, more: &str, content: &str) -> Self {
        Self::of(vec![
            "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
            format!("<< /Type /Page /Parent 2 0 R /MediaBox {media_box} /Contents 4 0 R {more} >>"),
            stream("", content),
        ])
    }

    /// Adds an object.
    pub(crate) fn with(mut self, object: String) -> Self {
        self.objects.push(object);
        self
    }

    /// Replaces the object with this number.
    pub(crate) fn replace(mut self, number: usize, object: &str) -> Self {
        object.clone_into(&mut self.objects[number - 1]);
        self
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = "%PDF-1.7\n".to_owned();
        let mut table = String::new();
        for (number, object) in (1..).zip(&self.objects) {
            writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
            writeln!(file, "{number} 0 obj\n{object}\nendobj").unwrap();
        }
        let (start, count) = (file.len(), self.objects.len() + 1);
        write!(
            file,
            "xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<< /Size {count} /Root 1 0 R {} \
             >>\nstartxref\n{start}\n%%EOF\n",
            self.trailer
        )
        .unwrap();
        file.into_bytes()
    }
}

pub(crate) fn stream(entries: &str, content: &str) -> String {
    format!("<< {entries} /Length {} >>\nstream\n{content}\nendstream", content.len())
}
