//! Redis: `cargo run --example hello_redis --features redis-tokio -- redis://localhost/`

use caliburn::Pool;
use caliburn::adapters::redis::AsyncRedisManager;
use caliburn::health::PingAfterFailure;
use redis::AsyncCommands;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("redis://127.0.0.1/".into());
    let manager = AsyncRedisManager::from_url(&url)?;
    let pool = Pool::builder_async(manager).max_size(4).health(PingAfterFailure).build()?;

    let tasks = (1..=8).map(|number: i64| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut conn = pool.get_async().await.expect("a connection within 30 seconds");
            let sum: i64 = conn.incr("sum", number).await.expect("a number");
            println!("with {number} it is {sum}");
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await?;
    }
    Ok(())
}
