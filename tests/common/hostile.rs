//! Servers that turn hostile: at some step of a connection's life, in some manner. What of it the
//! pool's callers notice is measured and held against the pool's limits.

use super::{PLENTY, ROOM, eventually};
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, Manager, Pool, PooledConnection};
use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{self, Runtime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At one of the server's answers before a connection is secured, the first being 0.
    Handshake(usize),
    /// At one of its answers before a connection is open.
    StartUp(usize),
    Ping,
    Reset,
    /// After the answer to a borrower's request.
    Return,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Mute,
    /// One byte each 20 ms, without end.
    Trickle,
    /// Answers without end and without pause.
    Flood,
    /// An answer as large as the protocol has a length for, and all of it is sent.
    Huge,
    /// One answer too many.
    Extra,
    /// Half an answer, and the end.
    Cut,
}

/// They mostly wait.
pub const QUIET: [Manner; 4] = [Manner::Mute, Manner::Trickle, Manner::Extra, Manner::Cut];
/// They keep a core busy.
pub const NOISY: [Manner; 2] = [Manner::Flood, Manner::Huge];

/// A fake that keeps to its protocol until it is told otherwise.
pub trait Server: Sync + Sized + 'static {
    /// How many answers secure a connection. If there are none, it is in plain.
    const HANDSHAKES: usize = 0;

    fn start() -> Self;
    fn address(&self) -> SocketAddr;
    /// The next time that this step comes: of the sessions that are open, and of all that are
    /// opened if it is a part of the start-up.
    fn turn_hostile(&self, step: Step, manner: Manner);
    /// Ends all sessions; new ones are treated properly.
    fn hang_up(&self);
}

/// One of the adapters, for threads or for tasks.
pub trait Face {
    const NAME: &'static str;
    /// How many answers of the server's are a part of the start-up.
    const START_UPS: usize;
    type Manager: Manager<Connection: fmt::Debug>;
    type Server: Server;

    /// Whether the driver goes on by itself after the limit with what it has read by then.
    fn is_kept(step: Step, manner: Manner) -> bool;

    fn builder(address: SocketAddr) -> Builder<Self::Manager>;
    fn get(pool: &Pool<Self::Manager>) -> Result<PooledConnection<Self::Manager>, String>;
    /// Asks the server for something, and needs its answer.
    fn ask(conn: &mut <Self::Manager as Manager>::Connection) -> Result<(), String>;
    /// Leaves something to be reset.
    fn soil(conn: &mut <Self::Manager as Manager>::Connection) -> Result<(), String>;
}

/// Where the connections of the async drivers live.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

pub const LIMIT: Duration = Duration::from_millis(300);
/// What a limit may be exceeded by: 5 % and 5 ms.
pub const LATEST: Duration = Duration::from_millis(320);
/// What the drop of a guard may take.
pub const AT_ONCE: Duration = Duration::from_millis(1);
/// Another process may keep a core for a while, but not each time.
const TRIES: usize = 3;
/// How often an honest connect may fail meanwhile, on a machine that is too busy.
const MOST_FAILURES: usize = 20;

/// How closely limits are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// With [`ROOM`], whatever else the machine does.
    Roughly,
    /// To 5 % and 5 ms, on a machine that does nothing else.
    Exactly,
}

/// Only one at a time keeps the cores busy, and nothing is measured beside it.
static CORES: RwLock<()> = RwLock::new(());

/// What was seen of a case.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Until the call was over.
    took: Duration,
    /// The drop of the guard, where there is one.
    drop: Duration,
    /// Slots in quarantine then.
    quarantined: usize,
    /// From when the server has hung up until none was.
    freed: Duration,
}

impl Seen {
    fn is_good(&self, exactness: Exactness) -> bool {
        match exactness {
            Exactness::Roughly => self.took <= LIMIT + ROOM && self.drop <= ROOM,
            Exactness::Exactly => self.took <= LATEST && self.drop <= AT_ONCE,
        }
    }

    fn best(self, other: Self) -> Self {
        Self {
            took: self.took.min(other.took),
            drop: self.drop.min(other.drop),
            quarantined: self.quarantined.min(other.quarantined),
            freed: self.freed.max(other.freed),
        }
    }
}

/// All steps and all manners; prints what was measured.
pub fn all<F: Face>(exactness: Exactness) {
    let start_ups = (0..F::START_UPS).map(Step::StartUp);
    let later = [Step::Ping, Step::Reset, Step::Return, Step::Close];
    let handshakes = (0..F::Server::HANDSHAKES).map(Step::Handshake);
    let steps: Vec<_> = handshakes.chain(start_ups).chain(later).collect();
    let lines = Mutex::new(Vec::new());
    let note = |step, manner| {
        let line = case::<F>(step, manner, exactness);
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    };
    for step in &steps {
        let _others_may = CORES.read().unwrap_or_else(PoisonError::into_inner);
        thread::scope(|scope| {
            for manner in QUIET {
                scope.spawn(move || note(*step, manner));
            }
        });
    }
    for step in &steps {
        for manner in NOISY {
            let _alone = CORES.write().unwrap_or_else(PoisonError::into_inner);
            note(*step, manner);
        }
    }
    let lines = lines.into_inner().unwrap();
    let width = F::NAME.len();
    println!("{:width$} step         manner  limit  best   worst  drop    quarantined", "");
    let mut red = Vec::new();
    for line in lines {
        println!("{:width$} {line}", F::NAME);
        if !line.is_good(exactness) {
            red.push(format!("{line}"));
        }
    }
    assert!(red.is_empty(), "{}:\n{}", F::NAME, red.join("\n"));
}

/// A line of the table.
struct Line {
    step: Step,
    manner: Manner,
    /// `Err`: the case came to no end, for this reason.
    seen: Result<Seen, String>,
    worst: Duration,
    is_kept: bool,
}

impl Line {
    fn is_good(&self, exactness: Exactness) -> bool {
        let Ok(seen) = &self.seen else { return false };
        let is_never_bad = exactness == Exactness::Roughly || self.worst <= 2 * LIMIT;
        seen.is_good(exactness) && is_never_bad || self.is_kept && seen.took <= 4 * LIMIT
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, manner) = (format!("{:?}", self.step), format!("{:?}", self.manner));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "{step:12} {manner:7} {:5} ", LIMIT.as_millis())?;
        match &self.seen {
            Ok(seen) => {
                write!(f, "{:6.1} {:6.1} {:6.3}", ms(seen.took), ms(self.worst), ms(seen.drop))?;
                write!(f, "  {}, {:.1} ms to none", seen.quarantined, ms(seen.freed))?;
                f.write_str(if self.is_kept { ", by the driver" } else { "" })
            }
            Err(reason) => write!(f, "{reason}"),
        }
    }
}

/// The best of some tries, of which none may be very bad.
fn case<F: Face>(step: Step, manner: Manner, exactness: Exactness) -> Line {
    let (seen, worst) = (Err(String::new()), Duration::ZERO);
    let mut line = Line { step, manner, seen, worst, is_kept: F::is_kept(step, manner) };
    let (mut tries, mut failures) = (0, 0);
    while tries < TRIES && failures < MOST_FAILURES {
        match once::<F>(step, manner) {
            Ok(seen) => {
                tries += 1;
                line.worst = line.worst.max(seen.took);
                let best = line.seen.map_or(seen, |best| best.best(seen));
                line.seen = Ok(best);
                if best.is_good(exactness) {
                    break;
                }
            }
            // A machine that is too busy for an honest connect, or a fault: then each time.
            Err(reason) => {
                failures += 1;
                if line.seen.is_err() {
                    line.seen = Err(reason);
                }
            }
        }
    }
    line
}

fn once<F: Face>(step: Step, manner: Manner) -> Result<Seen, String> {
    let server = F::Server::start();
    // The limit of what is measured; an honest connect may take as long as a busy machine needs.
    let to_connect = match step {
        Step::Handshake(_) | Step::StartUp(_) => LIMIT,
        Step::Ping | Step::Reset | Step::Return | Step::Close => PLENTY,
    };
    let pool = F::builder(server.address())
        .max_size(2)
        .connect_timeout(to_connect)
        .ping_timeout(LIMIT)
        .reset_timeout(LIMIT)
        .close_timeout(LIMIT)
        .fail_fast(true)
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    let mut drop_took = Duration::ZERO;
    let took = match step {
        Step::StartUp(_) | Step::Handshake(_) => {
            server.turn_hostile(step, manner);
            let begun = Instant::now();
            let got = F::get(&pool).map(drop);
            let took = begun.elapsed();
            // After the limit another connect may have served.
            if got.is_ok()
                && took < LIMIT
                && (matches!(step, Step::Handshake(_)) || manner != Manner::Extra)
            {
                panic!("{}, {step:?}, {manner:?}: a connection was taken for open", F::NAME);
            }
            took
        }
        Step::Ping => {
            F::ask(&mut *F::get(&pool)?)?;
            server.turn_hostile(step, manner);
            until_checked::<F>(&pool)?
        }
        Step::Return => {
            let mut conn = F::get(&pool)?;
            server.turn_hostile(step, manner);
            // It may hear what comes after its answer.
            let _ = F::ask(&mut conn);
            drop_took = timed(|| drop(conn));
            until_checked::<F>(&pool)?
        }
        Step::Reset => {
            let mut conn = F::get(&pool)?;
            F::soil(&mut conn)?;
            server.turn_hostile(step, manner);
            let begun = Instant::now();
            drop_took = timed(|| drop(conn));
            eventually("the reset is over", || {
                let stats = pool.stats();
                stats.evictions.total() > 0 || stats.resets > 0 && stats.idle > 0
            });
            begun.elapsed()
        }
        Step::Close => {
            let mut conn = F::get(&pool)?;
            F::ask(&mut conn)?;
            server.turn_hostile(step, manner);
            let begun = Instant::now();
            drop_took = timed(|| PooledConnection::discard(conn));
            // Where the first connect took long, another connection was opened, and is idle.
            eventually("the close is over", || {
                let stats = pool.stats();
                stats.size == stats.idle && (stats.size as u64) < stats.connects
            });
            begun.elapsed()
        }
    };
    let quarantined = pool.stats().quarantined;
    let begun = Instant::now();
    server.hang_up();
    eventually("no slot is out of service", || {
        let stats = pool.stats();
        stats.quarantined + stats.opening + stats.maintenance == 0
    });
    let freed = begun.elapsed();
    pool.change(|settings| settings.connect_timeout = PLENTY).unwrap();
    // One that was taken for something else is tried again after a while.
    eventually("it serves again", || F::get(&pool).and_then(|mut conn| F::ask(&mut conn)).is_ok());
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{}, {step:?}, {manner:?}: {report}", F::NAME);
    Ok(Seen { took, drop: drop_took, quarantined, freed })
}

/// Without the time for which there was no core for this thread, as far as the system tells.
fn timed(work: impl FnOnce()) -> Duration {
    let (waited, begun) = (waited_for_a_core(), Instant::now());
    work();
    let took = begun.elapsed();
    took.saturating_sub(waited_for_a_core().saturating_sub(waited))
}

fn waited_for_a_core() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = told.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

/// How long that borrower waits before whose loan a connection is pinged, or replaced.
fn until_checked<F: Face>(pool: &Pool<F::Manager>) -> Result<Duration, String> {
    let then = pool.stats();
    loop {
        let begun = Instant::now();
        let conn = F::get(pool)?;
        let took = begun.elapsed();
        let now = pool.stats();
        if now.pings > then.pings || now.connects > then.connects {
            return Ok(took);
        }
        drop(conn);
        // What has answered a moment ago is not pinged: borrowers come by until it is.
        thread::sleep(Duration::from_millis(5));
    }
}

/// The sessions of a fake, to be ended by it.
#[derive(Default)]
pub struct Sessions(Mutex<Vec<TcpStream>>);

impl Sessions {
    pub fn add(&self, stream: &TcpStream) {
        self.0.lock().unwrap().push(stream.try_clone().unwrap());
    }

    pub fn hang_up(&self) {
        for stream in self.0.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Reads, and says nothing, until the client hangs up.
pub fn fall_silent(stream: &mut TcpStream) {
    let _ = std::io::copy(stream, &mut std::io::sink());
}

/// The most memory that a connection takes, in KiB, at that step before a server that sends as much
/// as it can: of some at once, beyond what was in use before.
#[cfg(target_os = "linux")]
pub fn most_memory<F: Face>(step: Step, manner: Manner) -> usize {
    const AT_ONCE: usize = 4;
    let (before, mut most) = (in_use(), 0);
    thread::scope(|scope| {
        let cases: Vec<_> =
            (0..AT_ONCE).map(|_| scope.spawn(move || once::<F>(step, manner))).collect();
        while !cases.iter().all(|case| case.is_finished()) {
            most = most.max(in_use().saturating_sub(before));
            thread::sleep(Duration::from_millis(1));
        }
    });
    most / AT_ONCE
}

/// In KiB, by the whole process.
#[cfg(target_os = "linux")]
fn in_use() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
