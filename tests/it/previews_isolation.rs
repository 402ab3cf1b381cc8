//! Render workers that crash, hang, lie or are missing: each costs one preview, the original and
//! other previews are still served, and it is counted (S8, R29).
//!
//! The worker of these tests is a small script that misbehaves, or becomes the real one.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dossier::domain::ids::BlobId;
use dossier::metrics::{Pictures, RenderLabels};
use dossier::render_workers::{Job, Priority, RenderWorkers, Settings};
use dossier_image::{Recipe, RenderLimits};
use serde_json::Value;
use uuid::Uuid;

use crate::support::files::{PDF, decoded, eventually, jpeg, png, quarters};
use crate::support::{PROGRAM, TestApp};

/// Turns a script into a program. Another process writes it: a process that another test starts at
/// this moment could inherit our file handle while it is open for writing, and then the script
/// could not be executed.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("worker");
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

/// A script that misbehaves once and is the real worker from then on.
fn misbehave_once(folder: &Path, misbehaviour: &str) -> PathBuf {
    let text = format!("if /bin/mkdir \"$0.once\"; then {misbehaviour}; fi\nexec {PROGRAM} \"$@\"");
    script(folder, &text)
}

/// A worker's message in the server's framing.
fn message(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat()
}

async fn upload(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> Value {
    let contact = Uuid::new_v4();
    app.upload(contact, name, mime_type, bytes).await.ok();
    app.list(contact).await.ok()["attachments"][0].clone()
}

async fn picture(app: &TestApp) -> Value {
    upload(app, "a.jpg", "image/jpeg", &jpeg(&quarters(800, 600))).await
}

fn link(attachment: &Value) -> String {
    attachment["image"]["url"].as_str().unwrap().replacen('?', "/preview?", 1)
}

fn count(app: &TestApp, outcome: &str) -> u64 {
    let (text, name) = (app.app().metrics.text(), format!("{{outcome=\"{outcome}\"}} "));
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("dossier_pictures_total")?.strip_prefix(&name));
    line.map_or(0, |number| number.parse().unwrap())
}

/// The preview is given up, and everything else still works.
async fn assert_only_the_preview_is_lost(app: &TestApp, attachment: &Value, what: &str) {
    assert_eq!(app.open(&link(attachment)).await.status, 404, "{what}");
    let original = app.open(attachment["image"]["url"].as_str().unwrap()).await;
    assert_eq!(original.body, jpeg(&quarters(800, 600)), "{what}");
    let document = upload(app, "cv.pdf", "application/pdf", PDF).await;
    let opened = app.open(document["document"]["url"].as_str().unwrap()).await;
    assert_eq!(opened.body, PDF, "{what}");
}

async fn assert_previews_work(app: &TestApp) {
    let preview = app.open(&link(&picture(app).await)).await;
    assert_eq!(preview.status, 200);
    assert_eq!(decoded(&preview.body).dimensions(), (640, 480));
}

#[tokio::test]
async fn a_worker_that_always_crashes_loses_the_preview_after_a_second_attempt() {
    for breaks in ["exit 3", "kill -9 $$", "exec <&-; exit 0"] {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), breaks);
        let app = TestApp::start_with_worker(&program, &[]).await;
        let attachment = picture(&app).await;
        assert_only_the_preview_is_lost(&app, &attachment, breaks).await;
        assert_eq!((count(&app, "crashed"), count(&app, "made")), (2, 0), "{breaks}");
    }
}

#[tokio::test]
async fn a_worker_that_crashes_once_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // It dies after accepting the job.
    let program = misbehave_once(folder.path(), "/usr/bin/head -c 4 <&0; kill -9 $$");
    let app = TestApp::start_with_worker(&program, &[("preview_workers", "1")]).await;
    assert_previews_work(&app).await;
    assert_eq!((count(&app, "crashed"), count(&app, "made")), (1, 1));
}

#[tokio::test]
async fn a_hanging_worker_is_killed_at_its_deadline_and_the_preview_is_created_later() {
    let folder = tempfile::tempdir().unwrap();
    let program = misbehave_once(folder.path(), "exec /bin/sleep 600");
    let settings = [("preview_seconds", "4"), ("preview_workers", "1")];
    let app = TestApp::start_with_worker(&program, &settings).await;
    let attachment = picture(&app).await;
    eventually("the worker is killed", async || count(&app, "timed_out") == 1).await;
    eventually("another worker makes the preview", async || {
        app.open(&link(&attachment)).await.status == 200
    })
    .await;
    assert_eq!(count(&app, "crashed"), 0);
}

#[tokio::test]
async fn a_picture_that_hangs_two_workers_has_no_preview() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "exec /bin/sleep 600");
    let settings = [("preview_seconds", "1"), ("preview_workers", "1")];
    let app = TestApp::start_with_worker(&program, &settings).await;
    let attachment = picture(&app).await;
    eventually("the preview is given up", async || {
        app.open(&link(&attachment)).await.status == 404
    })
    .await;
    assert_eq!((count(&app, "timed_out"), count(&app, "crashed")), (2, 0));
    assert_only_the_preview_is_lost(&app, &attachment, "a hang").await;
}

#[tokio::test]
async fn a_hanging_worker_does_not_delay_others() {
    let folder = tempfile::tempdir().unwrap();
    let program = misbehave_once(folder.path(), "exec /bin/sleep 600");
    let settings = [("preview_seconds", "600"), ("preview_workers", "2")];
    let app = TestApp::start_with_worker(&program, &settings).await;
    picture(&app).await;
    let workers = &app.app().previews.workers;
    eventually("the first worker hangs", async || workers.busy() == 1).await;
    for _ in 0..3 {
        assert_previews_work(&app).await;
    }
    assert_eq!(workers.busy(), 1);
}

#[tokio::test]
async fn a_workers_output_is_not_trusted() {
    let ready = message("{\"Ready\":{\"filtered\":true}}");
    let created = |media_type: &str, width: u32, length: u64| {
        let json = format!(
            "{{\"Made\":{{\"media_type\":\"{media_type}\",\"width\":{width},\"height\":480,\
             \"length_bytes\":{length}}}}}"
        );
        [&ready[..], &message(&json)].concat()
    };
    let page = b"<script>alert(1)</script>";
    let picture_of_640 = jpeg(&quarters(640, 480));
    let length = picture_of_640.len() as u64;
    let lies = [
        ("nothing but zeros", Vec::new()),
        ("a message without end", u32::MAX.to_le_bytes().to_vec()),
        ("no message", message("{\"Owned\":true}")),
        ("ready twice", [&ready[..], &ready].concat()),
        ("a page", [created("text/html", 640, page.len() as u64), page.to_vec()].concat()),
        (
            "a page as a picture",
            [created("image/png", 640, page.len() as u64), page.to_vec()].concat(),
        ),
        ("another size", [created("image/jpeg", 641, length), picture_of_640].concat()),
        ("too many bytes", created("image/jpeg", 640, u64::MAX)),
        ("as many as may be", created("image/jpeg", 640, 32 * 1024 * 1024)),
    ];
    for (what, response) in lies {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("worker.answer"), response).unwrap();
        let program = script(folder.path(), "exec /bin/cat \"$0.answer\" /dev/zero >&0");
        let app = TestApp::start_with_worker(&program, &[]).await;
        let attachment = picture(&app).await;
        assert_only_the_preview_is_lost(&app, &attachment, what).await;
        assert_eq!((count(&app, "crashed"), count(&app, "made")), (2, 0), "{what}");
    }
}

#[tokio::test]
async fn without_a_worker_program_a_preview_is_busy_until_there_is_one() {
    let app = TestApp::start_with_worker(Path::new("/nowhere/dossier"), &[]).await;
    let attachment = picture(&app).await;
    let rejected = app.open(&link(&attachment)).await;
    assert_eq!((rejected.status.as_u16(), rejected.header("retry-after")), (503, "5"));
    let original = app.open(attachment["image"]["url"].as_str().unwrap()).await;
    assert_eq!(original.body, jpeg(&quarters(800, 600)));
    assert!(count(&app, "busy") >= 1);
    let old_base = app.base.clone();
    let app = app.restart_with(&[]).await;
    let preview = app.open(&link(&attachment).replacen(&old_base, &app.base, 1)).await;
    assert_eq!(decoded(&preview.body).dimensions(), (640, 480));
}

#[tokio::test]
async fn pictures_and_workers_are_counted() {
    let app = TestApp::start_with(&[("preview_workers", "1")]).await;
    assert_previews_work(&app).await;
    let mut broken = png(&quarters(400, 300));
    let data = broken.windows(4).position(|four| four == b"IDAT").unwrap() + 4;
    broken[data..].fill(0x55);
    let attachment = upload(&app, "a.png", "image/png", &broken).await;
    assert_eq!(app.open(&link(&attachment)).await.status, 404);
    assert_eq!((count(&app, "made"), count(&app, "refused")), (1, 1));
    let text = app.app().metrics.text();
    for line in [
        "dossier_render_worker_starts_total 1\n",
        "dossier_render_workers 1\n",
        "dossier_render_seconds_count 2\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

fn pool(idle_max: Duration) -> (RenderWorkers, Pictures) {
    let settings = Settings {
        program: PROGRAM.into(),
        workers: 2,
        deadline: Duration::from_mins(1),
        idle_max,
    };
    let metrics = Pictures::default();
    (RenderWorkers::new(settings, metrics.clone()), metrics)
}

fn job(file: &Path, limits: RenderLimits) -> Job {
    let file = std::fs::File::open(file).unwrap();
    let open = Box::new(move || Ok(Some(file)));
    Job { blob: BlobId(Uuid::new_v4()), recipe: Recipe::preview(), limits, open }
}

#[tokio::test]
async fn an_idle_worker_exits() {
    let (workers, metrics) = pool(Duration::ZERO);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), png(&quarters(64, 64))).unwrap();
    for _ in 0..2 {
        let job = job(file.path(), RenderLimits::default());
        assert!(workers.render(Priority::Now, job).await.unwrap().is_some());
        eventually("no worker runs", async || metrics.workers.get() == 0).await;
    }
    assert_eq!(metrics.worker_starts.get(), 2);
}

#[tokio::test]
async fn a_picture_above_the_memory_limit_crashes_only_the_worker() {
    let (workers, metrics) = pool(Duration::from_mins(1));
    let file = tempfile::NamedTempFile::new().unwrap();
    // A BMP whose header claims 2.7 GB decoded.
    let side = 30_000_u32.to_le_bytes();
    let head = [b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", &side[..], &side, b"\x01\0\x18\0"];
    std::fs::write(file.path(), [&head.concat()[..], &[0; 24]].concat()).unwrap();
    let limits = RenderLimits {
        max_pixels: u64::MAX,
        max_source_bytes: u64::MAX,
        max_decoded_bytes: u64::MAX,
    };
    let created = workers.render(Priority::Now, job(file.path(), limits)).await;
    assert!(created.unwrap().is_none());
    assert_eq!(metrics.attempts.get_or_create(&RenderLabels { outcome: "crashed" }).get(), 2);
    std::fs::write(file.path(), png(&quarters(64, 64))).unwrap();
    let small = workers.render(Priority::Now, job(file.path(), RenderLimits::default())).await;
    assert!(small.unwrap().is_some());
    workers.stop().await;
    assert_eq!(metrics.workers.get(), 0);
}

#[test]
fn a_worker_started_by_hand_exits_with_an_error() {
    let mut command = Command::new(PROGRAM);
    let output = command.arg("render-worker").stdin(Stdio::null()).status().unwrap();
    assert_eq!((output.code(), output.signal()), (Some(1), None));
}
