//! SQLite: `cargo run --example hello_sqlite --features rusqlite -- songs.db`

use caliburn::Pool;
use caliburn::adapters::sqlite::SqliteManager;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or("songs.db".into());
    let pool = Pool::builder(SqliteManager::file(file)).max_size(4).build()?;

    pool.get()?.execute_batch("CREATE TABLE IF NOT EXISTS song (title TEXT NOT NULL)")?;
    std::thread::scope(|threads| {
        for title in ["Nimue", "Excalibur", "Avalon"] {
            let pool = &pool;
            threads.spawn(move || {
                let conn = pool.get().expect("a connection within 30 seconds");
                conn.execute("INSERT INTO song VALUES (?1)", [title]).expect("a row");
            });
        }
    });
    let conn = pool.get()?;
    let songs: i64 = conn.query_row("SELECT COUNT(*) FROM song", [], |row| row.get(0))?;
    println!("{songs} songs");
    Ok(())
}
