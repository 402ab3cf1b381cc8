//! A disk that is really full (R9) or read-only: a small tmpfs, which only root can mount.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::tus::csv;
use crate::support::{Response, TestApp, failure};

const MIB: usize = 1 << 20;

/// A mounted file system, unmounted when dropped.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// Returns `None` with a loud warning if it cannot be mounted; the test then tests nothing.
    pub(crate) fn mounted(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(folder));
        }
        warn_not_run();
        None
    }

    /// The mount point.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Retries while other tests start processes: until those execute their program they hold
    /// copies of this process's open files.
    pub(crate) async fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        eventually("the remount", async || {
            let done = Command::new("mount").args(["-o", &options]).arg(self.path()).output();
            done.unwrap().status.success()
        })
        .await;
    }
}

#[expect(clippy::print_stderr, reason = "a test that did not run must not look like one that did")]
fn warn_not_run() {
    eprintln!("!! NOT RUN: only root may mount the small disk that this test needs");
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failed test may still have files open on it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_reads_continue_and_freed_space_is_reused() {
    let Some(disk) = Disk::mounted("24m") else { return };
    let app = TestApp::start_on(disk.path(), &[("removal_grace_seconds", "0")]).await;
    let (contact, file) = (Uuid::new_v4(), csv(3 * MIB));
    let mut kept = 0;
    let full = loop {
        let response = app.upload(contact, &format!("{kept}.csv"), "text/csv", &file).await;
        if response.status != 200 {
            break response;
        }
        kept += 1;
        assert!(kept < 8, "the disk does not fill up");
    };
    assert_eq!((full.status.as_u16(), kept > 3), (507, true), "{kept} {full:?}");
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], kept);
    for attachment in list["attachments"].as_array().unwrap() {
        let opened = app.open(attachment["document"]["url"].as_str().unwrap()).await;
        assert!(opened.body == file);
    }
    let health = Response::to(app.anonymous(Method::GET, "/dossier/v1/health")).await;
    assert_eq!(health.ok()["status"], "ok");
    app.wait_until_staging_is_empty().await;
    // Deleting frees space without a restart.
    for attachment in list["attachments"].as_array().unwrap().iter().take(2) {
        let id = attachment["id"].as_str().unwrap();
        app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    }
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.upload(contact, "after.csv", "text/csv", &file).await.ok();
    drop(app.stop().await);
}

#[tokio::test]
async fn a_resumable_upload_waits_for_space() {
    let Some(disk) = Disk::mounted("8m") else { return };
    let app = TestApp::start_on(disk.path(), &[]).await;
    let (contact, file) = (Uuid::new_v4(), csv(9 * MIB));
    let (_, location) = app.tus_begin(contact, file.len()).await;
    let response = app.tus_patch(&location, 0, &file[..2 * MIB]).await;
    assert_eq!(response.status, 204);
    assert_eq!(app.tus_patch(&location, 2 * MIB, &file[2 * MIB..]).await.rejection().0, 507);
    assert_eq!(app.tus_head(&location).await.offset(), 2 * MIB as u64);
    disk.remount("size=32m").await;
    let response = app.tus_patch(&location, 2 * MIB, &file[2 * MIB..]).await;
    assert_eq!(response.status, 204, "{response:?}");
    let list = app.list(contact).await.ok();
    let opened = app.open(list["attachments"][0]["document"]["url"].as_str().unwrap()).await;
    assert!(opened.body == file);
    drop(app.stop().await);
}

#[tokio::test]
async fn a_server_does_not_start_on_a_read_only_disk() {
    let Some(disk) = Disk::mounted("8m") else { return };
    let app = TestApp::start_on(disk.path(), &[]).await;
    drop(app.stop().await);
    disk.remount("ro").await;
    let data = disk.path().join("data");
    let message = tokio::task::spawn_blocking(move || {
        failure(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
    });
    let message = message.await.unwrap();
    assert!(message.contains("cannot write to the data folder"), "{message}");
}
