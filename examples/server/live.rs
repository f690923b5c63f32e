//! `/pool/live`: a page that shows what the pool is doing now. It tells lines of the source and
//! causes of errors, so it is for operators, not for everyone.

use crate::snapshot::{Health, Log, Snapshot};
use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use caliburn::{Manager, Pool};
use futures_util::stream::{Stream, unfold};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The page has all that it needs in itself.
const PAGE: &str = include_str!("page.html");
/// So nothing else is loaded, whatever stands in a text that it shows.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// How often the page hears of the pool.
const PERIOD: Duration = Duration::from_millis(250);
/// It hears of a change of its health sooner.
const LOOK: Duration = Duration::from_millis(50);
/// When a browser comes again that was hung up on.
const COME_AGAIN: Duration = Duration::from_millis(500);

/// What the page is made from.
pub(crate) struct Live<M: Manager> {
    pub(crate) pool: Pool<M>,
    pub(crate) log: Log,
    /// The streams end once this is true: else they would go on for ever.
    pub(crate) is_stopping: watch::Receiver<bool>,
}

pub(crate) fn router<M: Manager>(live: Live<M>) -> Router {
    Router::new()
        .route("/pool/live", get(page))
        .route("/pool/live/events", get(events::<M>))
        .with_state(Arc::new(live))
}

async fn page() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")], Html(PAGE))
}

async fn events<M: Manager>(
    State(live): State<Arc<Live<M>>>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    Sse::new(unfold(Feed { live, last: None }, Feed::next))
}

/// What one browser hears.
struct Feed<M: Manager> {
    live: Arc<Live<M>>,
    /// When it last heard something, and which health.
    last: Option<(Instant, &'static str)>,
}

impl<M: Manager> Feed<M> {
    async fn next(mut self) -> Option<(Result<Event, axum::Error>, Self)> {
        let mut is_stopping = self.live.is_stopping.clone();
        tokio::select! {
            () = self.news() => {}
            _ = is_stopping.wait_for(|is_stopping| *is_stopping) => return None,
        }
        let snapshot = Snapshot::of(&self.live.pool, &self.live.log);
        self.last = Some((Instant::now(), snapshot.health.level));
        Some((Event::default().retry(COME_AGAIN).json_data(snapshot), self))
    }

    /// Once there is something to tell.
    async fn news(&self) {
        let Some((at, level)) = self.last else { return };
        while at.elapsed() < PERIOD && Health::of(&self.live.pool).level == level {
            sleep(LOOK).await;
        }
    }
}
