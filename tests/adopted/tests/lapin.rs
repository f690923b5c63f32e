//! lapin's manager for bb8, whose error is none. It only has to compile: there is no server.
#![cfg(feature = "lapin")]

use bb8_lapin::LapinConnectionManager;
use caliburn::adapters::bridges::Bb8Manager;
use caliburn::{GetError, Pool};
use std::time::Duration;

#[tokio::test]
async fn a_pool_of_lapin_connections_tells_why_there_are_none() {
    let builder = lapin::DefaultConnectionBuilder::new().unwrap();
    let manager =
        LapinConnectionManager::new(builder.with_uri_str("amqp://127.0.0.1:1".to_owned()));
    let pool = Pool::builder_async(Bb8Manager::with_plain_errors(manager))
        .checkout_timeout(Duration::from_secs(1))
        .fail_fast(true)
        .build()
        .unwrap();
    let error = pool.get_async().await.err().unwrap();
    assert!(matches!(error, GetError::Connect { .. }), "{error:#}");
    assert!(format!("{error:#}").contains("IO"), "{error:#}");
}
