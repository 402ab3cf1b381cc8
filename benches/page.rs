//! The cost of listing 100 attachments once their rows are read: signing links and writing JSON in
//! one pass.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dossier::db::{AttachmentRow, Site};
use dossier::domain::ids::{AttachmentId, SiteId};
use dossier::domain::signing::{SigningKey, SigningKeys};
use dossier::page_cache::MediaView;
use dossier::wire::AttachmentWriter;
use uuid::Uuid;

fn page(bench: &mut Criterion) {
    let keys = SigningKeys::new(SigningKey::new(1, &[7; 32]), Vec::new());
    let site = Site {
        quotas: dossier::domain::quota::QuotaOverrides::default(),
        id: SiteId(Uuid::from_u128(1)),
        media_prefix: "4f2a9c".to_owned(),
        name: "bench".to_owned(),
        link_life_seconds: None,
        created_at_ms: 0,
    };
    let names: Vec<String> = (0..100).map(|number| format!("Küche-{number:04}.jpg")).collect();
    let rows: Vec<AttachmentRow<'_>> =
        names.iter().zip(1..).map(|(name, number)| row(name, number)).collect();
    for (name, view) in [("id and url", MediaView::Both), ("url alone", MediaView::Url)] {
        let signer = keys.media_signer(1_800_003_600);
        let writer = AttachmentWriter::new(&site, "http://127.0.0.1:8080/", signer, view);
        bench.bench_function(&format!("100 attachments, {name}"), |bench| {
            bench.iter(|| {
                let mut body = Vec::new();
                writer.items(&mut body, &mut |show| rows.iter().for_each(show));
                black_box(body)
            });
        });
    }
}

fn row(file_name: &str, number: u128) -> AttachmentRow<'_> {
    AttachmentRow {
        id: AttachmentId(Uuid::from_u128(number)),
        file_name,
        mime_type: "image/jpeg",
        media_extension: "jpg",
        width: 4_000,
        height: 3_000,
        has_preview: true,
    }
}

criterion_group!(benches, page);
criterion_main!(benches);
