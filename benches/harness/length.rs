//! How long a bench may take.

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// Up to a minute.
    Full,
    /// `-- --quick`: to see that it works, not to measure.
    Quick,
}

impl Length {
    /// `None`: nothing is to be measured, as `cargo test --benches` called, which leaves out the
    /// `--bench` that `cargo bench` passes.
    pub(crate) fn asked() -> Option<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag| arguments.iter().any(|argument| argument == flag);
        has("--bench").then(|| if has("--quick") { Self::Quick } else { Self::Full })
    }

    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}
