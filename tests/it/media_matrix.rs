//! Altered links never open another file and never cause a 5xx (S19, S20).

use uuid::Uuid;

use crate::support::TestApp;
use crate::support::files::{PDF, jpeg, quarters, transformed};
use crate::support::raw::RawResponse;

async fn raw(app: &TestApp, target: &[u8]) -> RawResponse {
    let request = [b"GET ", target, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat();
    app.raw(request).await
}

/// The paths of an original, a preview, a transform and a document.
async fn targets(app: &TestApp) -> Vec<String> {
    let (link, attachment) = app.picture("photo.jpg", &jpeg(&quarters(40, 20))).await;
    let preview = attachment["previewImage"]["url"].as_str().unwrap().to_owned();
    let document = app.upload(Uuid::new_v4(), "a.pdf", "application/pdf", PDF).await.ok();
    let document = document["file"]["url"].as_str().unwrap().to_owned();
    let links = [transformed(&link, "fit/w_64,h_64/n"), link, preview, document];
    links.iter().map(|link| app.path_of(link).to_owned()).collect()
}

#[tokio::test]
async fn s19_flipping_any_bit_of_a_link_invalidates_it() {
    let app = TestApp::start().await;
    for target in targets(&app).await {
        assert_eq!(raw(&app, target.as_bytes()).await.status, 200, "{target}");
        // The file name at the end of a transform URL is not signed.
        let name = target.find("/n?").map(|at| at + 1);
        for at in 0..target.len() {
            for bit in 0..8 {
                let mut changed = target.clone().into_bytes();
                changed[at] ^= 1 << bit;
                let response = raw(&app, &changed).await;
                let shown = String::from_utf8_lossy(&changed).into_owned();
                let is_rejected = (400..500).contains(&response.status);
                assert!(is_rejected || name == Some(at), "{}: {shown}", response.status);
            }
        }
    }
}

#[tokio::test]
async fn s20_no_alternative_spelling_of_a_path_opens_another_file() {
    let app = TestApp::start().await;
    for target in targets(&app).await {
        let (path, token) = target.split_once('?').unwrap();
        let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        let mut others: Vec<String> = Vec::new();
        for at in slashes {
            for other in
                ["//", "/./", "/../", "/x/../", "%2F", "%2f", "%5C", "\\", "/%2e/", "/%2E%2E/"]
            {
                others.push(format!("{}{other}{}?{token}", &path[..at], &path[at + 1..]));
            }
        }
        others.push(format!("{path}/?{token}"));
        others.push(format!("{path}/.?{token}"));
        others.push(format!("{path}%00?{token}"));
        others.push(format!("{path};x?{token}"));
        others.push(format!("{}?{token}", path.to_uppercase()));
        others.push(format!("{path}?{}", token.to_uppercase()));
        others.push(format!("{path}?{token}&{token}"));
        others.push(format!("{path}?{token}&token="));
        others.push(format!("{path}?TOKEN={}", &token[6..]));
        others.push(format!("{path}%3F{token}"));
        others.push(format!("{path}/preview/preview?{token}"));
        others.push(format!("{path}/v1/?{token}"));
        others.push(format!("{path}/v1?{token}"));
        for other in others {
            let response = raw(&app, other.as_bytes()).await;
            // The file name of a transform may be any single segment.
            let is_name = path.contains("/v1/")
                && (other.contains("/n/")
                    || other.contains("/n%")
                    || other.contains("/n;")
                    || other.ends_with(token));
            let is_rejected = (400..500).contains(&response.status);
            assert!(
                is_rejected || (is_name && response.status == 200),
                "{}: {other}",
                response.status
            );
        }
    }
}
