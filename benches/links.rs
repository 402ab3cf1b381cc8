//! The cost of links. A list of 100 attachments signs 100 tokens; it would be 200 if originals and
//! previews had their own. Every download and upload verifies one.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dossier::domain::ids::{AttachmentId, ContactId, SiteId};
use dossier::domain::signing::{SigningKey, SigningKeys, UploadGrant};
use uuid::Uuid;

const NOW_MS: i64 = 1_800_000_000_000;
const LATER_S: u32 = 1_800_003_600;

fn keys() -> SigningKeys {
    SigningKeys::new(SigningKey::new(1, &[7; 32]), vec![SigningKey::new(2, &[8; 32])])
}

fn media(bench: &mut Criterion) {
    let (keys, site) = (keys(), SiteId(Uuid::from_u128(1)));
    let ids: Vec<AttachmentId> =
        (0..200).map(|number| AttachmentId(Uuid::from_u128(number))).collect();
    let signer = keys.media_signer(LATER_S);
    bench.bench_function("sign 200 media tokens", |bench| {
        bench.iter(|| {
            for id in &ids {
                black_box(signer.token(site, black_box(*id)));
            }
        });
    });
    let token = signer.token(site, ids[7]);
    let token = String::from_utf8_lossy(&token);
    bench.bench_function("check a media token", |bench| {
        bench.iter(|| keys.check_media(black_box(&token), site, ids[7], NOW_MS));
    });
}

fn upload(bench: &mut Criterion) {
    let keys = keys();
    let grant = UploadGrant {
        expires_s: LATER_S,
        site_id: SiteId(Uuid::from_u128(1)),
        key_id: Uuid::from_u128(4),
        contact_id: ContactId(Uuid::from_u128(2)),
        attachment_id: AttachmentId(Uuid::from_u128(3)),
        max_bytes: 100 << 20,
        size_bytes: None,
        sha256: None,
        mime_type: "image/jpeg".to_owned(),
        file_name: "kitchen-before.jpg".to_owned(),
    };
    bench.bench_function("sign an upload token", |bench| {
        bench.iter(|| keys.sign_upload(black_box(&grant)));
    });
    let token = keys.sign_upload(&grant);
    bench.bench_function("check an upload token", |bench| {
        bench.iter(|| keys.check_upload(black_box(&token), NOW_MS));
    });
}

criterion_group!(benches, media, upload);
criterion_main!(benches);
