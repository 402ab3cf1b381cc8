//! Processes the files of one command in parallel and reports each as it finishes.

use futures_util::StreamExt as _;

use super::progress::Progress;
use crate::client::{Failure, Kind, Result};

/// Most files in progress at the same time.
pub(super) const MAX_PARALLEL: u8 = 16;

/// Runs `work` on all files, `parallel` at the same time. `line` formats one success. Returns the
/// outcomes in the order of the files.
///
/// # Errors
///
/// If standard output cannot be written; all work has finished even then.
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
                Ok(done) => progress.print(&line(file, done))?,
                // The failure of an only file is printed at the end.
                Err(failure) if !is_one => progress.print_failure(failure),
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

/// Combines all failures into one.
pub(super) fn summary(done: Vec<Result<()>>, what: &str) -> Result<()> {
    let all = done.len();
    let mut failures: Vec<Failure> =
        done.into_iter().filter_map(std::result::Result::err).collect();
    let Some(first) = failures.first().cloned() else { return Ok(()) };
    if all == 1 {
        return Err(failures.swap_remove(0));
    }
    let is_one_kind = failures.iter().all(|failure| failure.kind == first.kind);
    let kind = if is_one_kind { first.kind } else { Kind::Failed };
    Err(Failure::new(kind, format!("{} of {all} files were not {what}", failures.len())))
}
