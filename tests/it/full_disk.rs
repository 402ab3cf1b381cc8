//! A disk that is really full (R9), and one that may only be read: a small memory file system,
//! which only root may mount.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::tus::csv;
use crate::support::{Answer, TestApp, refused};

const MIB: usize = 1 << 20;

/// A mounted file system, until it is dropped.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// Says loudly when it cannot be mounted; then there is nothing to test.
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
        say_not_run();
        None
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Waits for processes that other tests start at this moment: they hold copies of this one's
    /// open files until their program begins.
    pub(crate) async fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        eventually("the disk is remounted", async || {
            let done = Command::new("mount").args(["-o", &options]).arg(self.path()).output();
            done.unwrap().status.success()
        })
        .await;
    }
}

#[expect(clippy::print_stderr, reason = "a test that did not run must not look like one that did")]
fn say_not_run() {
    eprintln!("!! NOT RUN: only root may mount the small disk that this test needs");
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a failed test still has files open in it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_reads_go_on_and_space_is_used_again() {
    let Some(disk) = Disk::mounted("24m") else { return };
    let app = TestApp::start_on(disk.path(), &[("removal_grace_seconds", "0")]).await;
    let (contact, file) = (Uuid::new_v4(), csv(3 * MIB));
    let mut kept = 0;
    let full = loop {
        let answer = app.upload(contact, &format!("{kept}.csv"), "text/csv", &file).await;
        if answer.status != 200 {
            break answer;
        }
        kept += 1;
        assert!(kept < 8, "the disk does not fill");
    };
    assert_eq!((full.status.as_u16(), kept > 3), (507, true), "{kept} {full:?}");
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], kept);
    for attachment in list["attachments"].as_array().unwrap() {
        let opened = app.open(attachment["document"]["url"].as_str().unwrap()).await;
        assert!(opened.body == file);
    }
    let health = Answer::of(app.anonymous(Method::GET, "/dossier/v1/health")).await;
    assert_eq!(health.ok()["status"], "ok");
    app.nothing_staged().await;
    // Deleting makes room, without a new start.
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
    let answer = app.tus_patch(&location, 0, &file[..2 * MIB]).await;
    assert_eq!(answer.status, 204);
    assert_eq!(app.tus_patch(&location, 2 * MIB, &file[2 * MIB..]).await.refused().0, 507);
    assert_eq!(app.tus_head(&location).await.offset(), 2 * MIB as u64);
    disk.remount("size=32m").await;
    let answer = app.tus_patch(&location, 2 * MIB, &file[2 * MIB..]).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let list = app.list(contact).await.ok();
    let opened = app.open(list["attachments"][0]["document"]["url"].as_str().unwrap()).await;
    assert!(opened.body == file);
    drop(app.stop().await);
}

#[tokio::test]
async fn a_server_does_not_start_on_a_disk_that_may_only_be_read() {
    let Some(disk) = Disk::mounted("8m") else { return };
    let app = TestApp::start_on(disk.path(), &[]).await;
    drop(app.stop().await);
    disk.remount("ro").await;
    let data = disk.path().join("data");
    let said = tokio::task::spawn_blocking(move || {
        refused(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
    });
    let said = said.await.unwrap();
    assert!(said.contains("cannot write to the data folder"), "{said}");
}
