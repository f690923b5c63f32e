//! One job, from its beginning to its end.

use super::calls::{close, ping, reset};
use super::opening::connect;
use crate::manager::Manager;
use crate::pool::state::job::Job;
use crate::pool::state::pooled::Raw;
use crate::stats::Call;
use crate::sync::Arc;

/// Does one job to its end.
pub(crate) async fn perform<M: Manager>(raw: &Arc<Raw<M>>, job: Job<M>) {
    match job.call {
        Call::Connect => connect(raw, job).await,
        Call::Ping => ping(raw, job).await,
        Call::Reset => reset(raw, job).await,
        Call::Close => close(raw, job).await,
    }
}
