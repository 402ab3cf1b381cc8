//! Why a picture could not be made.

/// Why no picture was made. The original is not affected (R29).
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Not a picture, or a format without a decoder in this build or on this machine.
    #[error("no decoder for this kind of file")]
    Unsupported,
    /// A limit is exceeded; found before any pixel was decoded.
    #[error("{what} is {actual}, above the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The value found.
        actual: u64,
        /// The limit in force.
        limit: u64,
    },
    /// The recipe's crop lies entirely outside the picture.
    #[error("the crop lies outside the picture")]
    Outside,
    /// The bytes do not hold a picture that can be decoded.
    #[error("the picture cannot be decoded: {problem}")]
    Broken {
        /// What the decoder reported.
        problem: String,
    },
}

impl RenderError {
    #[expect(clippy::needless_pass_by_value, reason = "the signature that map_err needs")]
    pub(crate) fn broken(problem: impl ToString) -> Self {
        Self::Broken { problem: problem.to_string() }
    }
}
