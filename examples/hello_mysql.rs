//! MySQL: `cargo run --example hello_mysql --features mysql_async -- mysql://me:secret@host/db`

use caliburn::Pool;
use caliburn::adapters::mysql::AsyncMysqlManager;
use caliburn::health::PingAfterFailure;
use mysql_async::prelude::Queryable;

const URL: &str = "mysql://app:secret@localhost/songs";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or(URL.into());
    let manager = AsyncMysqlManager::from_url(&url)?;
    let pool = Pool::builder_async(manager).max_size(4).health(PingAfterFailure).build()?;

    let tasks = (1..=8).map(|number: i64| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut conn = pool.get_async().await.expect("a connection within 30 seconds");
            let twice: Option<i64> =
                conn.exec_first("SELECT ? * 2", (number,)).await.expect("a row");
            println!("2 x {number} = {}", twice.unwrap_or_default());
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await?;
    }
    Ok(())
}
