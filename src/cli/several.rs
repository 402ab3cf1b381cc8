//! The files of one command: some at the same time, each told of as it ends.

use futures_util::StreamExt as _;

use super::progress::Progress;
use crate::client::{Failure, Kind, Result};

/// Files on their way at the same time, at most.
pub(super) const MOST_PARALLEL: u8 = 16;

/// Works on all files, `parallel` at the same time; `line` says what became of one. Returns what became of
/// each, in their order.
///
/// # Errors
///
/// When standard output cannot be written; then all work has ended all the same.
pub(super) async fn each<F, T>(
    files: &[F],
    (parallel, json): (u8, bool),
    progress: &Progress,
    work: impl AsyncFn(&F) -> Result<T>,
    line: impl Fn(&F, &T) -> String,
) -> Result<Vec<Result<T>>> {
    let (work, line, is_one) = (&work, &line, files.len() == 1);
    let working = files.iter().enumerate().map(|(number, file)| async move {
        let outcome = work(file).await;
        if !json {
            match &outcome {
                Ok(done) => progress.say(&line(file, done))?,
                // The only one is said at the end.
                Err(failure) if !is_one => progress.complain(failure),
                Err(_) => {}
            }
        }
        Ok((number, outcome))
    });
    let working = futures_util::stream::iter(working).buffer_unordered(usize::from(parallel));
    let done: Vec<Result<_>> = working.collect().await;
    let mut done = done.into_iter().collect::<Result<Vec<_>>>()?;
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

/// One failure for all that failed.
pub(super) fn summary(done: Vec<Result<()>>, what: &str) -> Result<()> {
    let all = done.len();
    let mut failures: Vec<Failure> =
        done.into_iter().filter_map(std::result::Result::err).collect();
    let Some(first) = failures.first().cloned() else { return Ok(()) };
    if all == 1 {
        return Err(failures.swap_remove(0));
    }
    let is_same = failures.iter().all(|failure| failure.kind == first.kind);
    let kind = if is_same { first.kind } else { Kind::Failed };
    Err(Failure::new(kind, format!("{} of {all} files were not {what}", failures.len())))
}
