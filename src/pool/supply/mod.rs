//! How many connections there should be, and when to open them. What is decided here is only queued: workers do
//! it, and whoever asks for growth sees to it that they are there.

pub(crate) mod growth;
pub(crate) mod news;
pub(crate) mod overruns;
pub(crate) mod shortage;
