//! How many connections there should be, and when to open them. Decisions are only queued here:
//! workers carry them out, and the caller that asks for growth starts those.

pub(crate) mod admission;
pub(crate) mod growth;
pub(crate) mod news;
pub(crate) mod overruns;
pub(crate) mod shortage;
pub(crate) mod speed;
pub(crate) mod tries;
