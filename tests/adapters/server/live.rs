//! `/pool/live`: the page, the stream that it is made from, and how soon both tell of a server that
//! is killed and comes back.

use super::browser::Browser;
use super::*;
use crate::common::servers::postgres::Postgres;
use crate::common::{Ends, Watch};
use std::sync::Arc;
use std::thread;

/// Within this time a change is to be seen.
const SOON: Duration = SECOND;
/// What a busy machine may add, once in a test: three processes and a browser take part.
const ROOM: Duration = Duration::from_millis(500);
/// Times that a server is killed in a test.
const ROUNDS: usize = 3;
const RED: &str = "rgb(179, 38, 30)";
const GREEN: &str = "rgb(0, 105, 77)";

/// A stream of events, read to its end by a thread of its own.
struct Stream {
    latest: Arc<Mutex<Option<Value>>>,
    count: Arc<AtomicUsize>,
    reader: thread::JoinHandle<()>,
}

impl Stream {
    fn of(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PLENTY)).unwrap();
        let mut reader = BufReader::new(stream);
        // In this version the body comes as it is, not in chunks.
        reader.get_mut().write_all(b"GET /pool/live/events HTTP/1.0\r\n\r\n").unwrap();
        let latest = Arc::<Mutex<Option<Value>>>::default();
        let count = Arc::new(AtomicUsize::new(0));
        let (heard, heard_of) = (latest.clone(), count.clone());
        let reader = thread::spawn(move || {
            let mut lines = reader.lines().map(|line| line.expect("a line"));
            assert_eq!(lines.next().as_deref(), Some("HTTP/1.0 200 OK"));
            let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
            for line in lines {
                let Some(data) = line.strip_prefix("data: ") else {
                    assert!(line.is_empty() || line == "retry: 500", "{line}");
                    continue;
                };
                *heard.lock().unwrap() = Some(serde_json::from_str(data).expect("JSON"));
                heard_of.fetch_add(1, SeqCst);
            }
        });
        Self { latest, count, reader }
    }

    fn latest(&self) -> Value {
        self.latest.lock().unwrap().clone().unwrap_or_default()
    }

    fn level(&self) -> String {
        self.latest()["health"]["level"].as_str().unwrap_or_default().into()
    }
}

/// How long after `begun` it `is_so`.
#[track_caller]
fn time_until(begun: Watch, what: &str, is_so: impl FnMut() -> bool) -> Duration {
    eventually(what, is_so);
    begun.elapsed()
}

#[track_caller]
fn assert_soon(what: &str, times: &[Duration]) {
    println!("{what}: {times:.0?}");
    let late = times.iter().filter(|time| **time > SOON).count();
    assert!(late <= 1 && times.iter().all(|time| *time <= SOON + ROOM), "{what}: {times:?}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_its_stream_tells_of_all_parts() {
    let server = Server::start(None, None);
    let mut page = String::new();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"GET /pool/live HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    for elsewhere in ["://", "src=", "href=", "@import", "url(", "innerHTML"] {
        assert!(!body.contains(elsewhere), "{elsewhere}");
    }

    let (stream, begun) = (Stream::of(&server), Instant::now());
    eventually("news come", || stream.count.load(SeqCst) == 1 + 8);
    let took = begun.elapsed();
    assert!(took > SECOND && took < 4 * SECOND, "four times a second: {took:?}");
    let latest = stream.latest();
    assert_eq!(latest["health"], json!({ "level": "ok", "text": "ok" }));
    let slots = latest["slots"].as_array().unwrap();
    assert_eq!(slots.len() as u64, SIZE);
    assert!(slots.iter().all(|slot| slot["state"] == "idle"), "{latest}");
    assert_eq!((&latest["waiting"], &latest["holders"]), (&json!(0), &json!([])));
    assert_eq!(latest["waits"].as_array().unwrap().len(), 9);
    assert!(latest["events"][0].as_str().unwrap().contains("connected in"), "{latest}");

    // A stream holds no server up that is to end.
    server.terminate();
    let begun = Instant::now();
    stream.reader.join().unwrap();
    assert!(server.ended().0.success());
    assert!(begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
}

/// With `clients` that use the pool, or none, in which case the sweep finds out.
#[track_caller]
fn a_kill_and_a_restart_are_soon_seen(clients: usize) {
    let mut postgres = Postgres::start(&[]);
    let server = Server::start(None, Some(&postgres.dsn()));
    let stream = Stream::of(&server);
    eventually("all is well", || stream.level() == "ok");
    let (mut red, mut green) = (Vec::new(), Vec::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = server.client();
                while !is_over.load(SeqCst) {
                    client.ask("/tables").expect("kept alive");
                }
            });
        }
        for _ in 0..ROUNDS {
            let begun = Watch::start();
            postgres.kill();
            red.push(time_until(begun, "it is down", || stream.level() == "down"));
            let latest = stream.latest();
            let text = latest["health"]["text"].as_str().unwrap();
            assert!(text.starts_with("down for ") && text.contains(": "), "{text}");
            // A thread of its own tells of events, some milliseconds later.
            let is_told = || stream.latest()["events"].to_string().contains("an outage began");
            eventually("the event is told", is_told);
            // So that the pool has backed off for as long as it ever does.
            let failures = || stream.latest()["figures"]["connect_failures"].as_u64().unwrap();
            let before = failures();
            eventually("it is tried in vain", || failures() > before + 8);
            postgres.restart();
            green.push(time_until(Watch::start(), "it is back", || stream.level() == "ok"));
        }
    });
    assert_soon("red after", &red);
    assert_soon("green after", &green);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_postgresql_that_is_killed_is_red_within_a_second_and_green_within_one_without_traffic() {
    a_kill_and_a_restart_are_soon_seen(0);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_postgresql_that_is_killed_is_red_within_a_second_and_green_within_one_under_load() {
    a_kill_and_a_restart_are_soon_seen(CLIENTS);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres) and chromium"]
fn a_browser_shows_a_killed_postgresql_in_red_and_one_that_is_back_in_green() {
    let mut postgres = Postgres::start(&[]);
    let server = Server::start(None, Some(&postgres.dsn()));
    let mut page = Browser::open(&format!("http://{}/pool/live", server.address));
    let color = "getComputedStyle(document.getElementById('health')).backgroundColor";
    eventually("it is green", || page.says(color) == GREEN);
    let idle = "document.querySelectorAll('#slots > [data-state=idle]').length";
    eventually("all are open", || page.says(idle) == SIZE);
    assert_eq!(page.says("document.getElementById('sign').textContent"), "✓");
    assert_eq!(page.says("document.querySelectorAll('#waits > .bar').length"), 9);
    assert_eq!(page.says("document.querySelectorAll('#holders td').length"), 1);
    let label = page.says("document.querySelector('#slots > *').ariaLabel");
    assert!(label.as_str().unwrap().starts_with("slot 0: idle for"), "{label}");

    let background = "getComputedStyle(document.body).backgroundColor";
    let themes = ["light", "dark"].map(|theme| {
        page.prefer(theme);
        page.says(background)
    });
    assert_eq!(themes, [json!("rgb(246, 247, 249)"), json!("rgb(18, 21, 27)")]);

    let begun = Watch::start();
    postgres.kill();
    let red = time_until(begun, "it is red", || page.says(color) == RED);
    page.picture("down-dark");
    let cause = page.says("document.getElementById('cause').textContent");
    assert!(cause.as_str().unwrap().contains("refused"), "{cause}");
    assert_eq!(page.says("document.title"), "✖ Pool: down");
    assert_eq!(page.says(idle), 0);
    page.prefer("light");
    page.picture("down-light");
    postgres.restart();
    let green = time_until(Watch::start(), "it is green", || page.says(color) == GREEN);
    page.picture("ok-light");
    assert_soon("the page is red after, green after", &[red, green]);

    // What comes from elsewhere is text.
    let strange = "showHealth('down', '<img src=x>'); document.querySelectorAll('img').length";
    assert_eq!(page.says(strange), 0);
    // A page that no news reach does not look as if all were well.
    drop(server);
    eventually("it says so", || page.says("document.title") == "? Pool: no news");
    assert_eq!(page.says("complaints.length"), 0, "{}", page.says("complaints"));
}
