//! PostgreSQL, for tasks:
//! `cargo run --example hello_postgres --features tokio-postgres -- postgres://me@localhost/db`

use caliburn::Pool;
use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::health::PingAfterFailure;

const URL: &str = "host=localhost user=app dbname=songs";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or(URL.into());
    let manager = AsyncPostgresManager::from_url(&url)?;
    let pool = Pool::builder_async(manager).max_size(4).health(PingAfterFailure).build()?;

    let tasks = (1..=8).map(|number: i32| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let client = pool.get_async().await.expect("a connection within 30 seconds");
            let row = client.query_one_cached("SELECT $1 * 2", &[&number]).await.expect("a row");
            println!("2 x {number} = {}", row.get::<_, i32>(0));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await?;
    }
    println!("{}", pool.stats());
    Ok(())
}
