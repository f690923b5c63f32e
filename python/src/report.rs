//! Figures and names, as Python's dictionaries.

use crate::loans::Loans;
use caliburn::stats::Histogram;
use caliburn::{CloseReport, ConnectionInfo, Fairness, Settings, Shedding, Stats};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::time::Duration;

/// Sets each field of that name.
macro_rules! fill {
    ($dict:ident from $figures:ident: $($field:ident)+) => {
        $($dict.set_item(stringify!($field), $figures.$field)?;)+
    };
}

pub(crate) fn stats<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    fill!(dict from stats: capacity max_size size idle lent opening maintenance quarantined vacant
        retired waiting is_paused checkouts direct_checkouts returns waits waits_in_vain
        cancellations timeouts refusals shed connects connect_failures connects_skipped outages
        pings ping_failures resets closes detached leaks sweeps);
    let evictions = PyDict::new(py);
    for (cause, count) in stats.evictions.iter() {
        evictions.set_item(cause.as_str(), count)?;
    }
    dict.set_item("evictions", evictions)?;
    dict.set_item("wait_time", histogram(py, &stats.wait_time)?)?;
    dict.set_item("connect_time", histogram(py, &stats.connect_time)?)?;
    dict.set_item("ping_time", histogram(py, &stats.ping_time)?)?;
    dict.set_item("reset_time", histogram(py, &stats.reset_time)?)?;
    Ok(dict)
}

fn histogram<'py>(py: Python<'py>, times: &Histogram) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", times.count())?;
    let shares = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];
    for (name, share) in shares {
        dict.set_item(name, times.quantile(share).as_secs_f64())?;
    }
    dict.set_item("max", times.max().as_secs_f64())?;
    Ok(dict)
}

pub(crate) fn info<'py>(py: Python<'py>, info: &ConnectionInfo) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("age", info.age().as_secs_f64())?;
    dict.set_item("since_check", info.since_check().as_secs_f64())?;
    dict.set_item("uses", info.uses())?;
    Ok(dict)
}

/// Of each loan: thread, seconds, label, location.
pub(crate) fn holders<'py>(py: Python<'py>, loans: &Loans) -> PyResult<Bound<'py, PyList>> {
    let holders = loans.each(|lent| {
        // The last change of a connection on loan is the loan.
        let since = caliburn::PooledConnection::info(&lent.guard).idle().as_secs_f64();
        (lent.thread, since, lent.label.clone(), lent.location.clone())
    });
    PyList::new(py, holders)
}

pub(crate) fn close<'py>(py: Python<'py>, report: &CloseReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    fill!(dict from report: closes still_lent unfinished);
    Ok(dict)
}

/// As `_config.py` takes them: times in seconds, `None` where there is no limit.
pub(crate) fn settings<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    fill!(dict from settings: max_size min_size min_idle connect_concurrency
        maintenance_concurrency worker_threads fail_fast);
    let seconds = |time: Duration| Some(time.as_secs_f64()).filter(|_| time != Duration::MAX);
    dict.set_item("checkout_timeout", seconds(settings.checkout_timeout))?;
    dict.set_item("connect_timeout", seconds(settings.connect_timeout))?;
    dict.set_item("ping_timeout", seconds(settings.ping_timeout))?;
    dict.set_item("reset_timeout", seconds(settings.reset_timeout))?;
    dict.set_item("close_timeout", seconds(settings.close_timeout))?;
    dict.set_item("idle_timeout", settings.idle_timeout.and_then(seconds))?;
    dict.set_item("sweep_interval", settings.sweep_interval.and_then(seconds))?;
    dict.set_item("leak_threshold", settings.leak_threshold.and_then(seconds))?;
    let most = Some(settings.max_waiters).filter(|most| *most != usize::MAX);
    dict.set_item("max_waiters", most)?;
    let fairness = PyDict::new(py);
    match settings.fairness {
        Fairness::BoundedBarging(limit) => {
            fairness.set_item("bounded_barging", limit.as_secs_f64())?;
            dict.set_item("fairness", fairness)?;
        }
        _ => dict.set_item("fairness", "fifo")?,
    }
    let shedding = PyDict::new(py);
    match settings.shedding {
        Shedding::CoDel { target, interval, newest_first } => {
            shedding.set_item("target", target.as_secs_f64())?;
            shedding.set_item("interval", interval.as_secs_f64())?;
            shedding.set_item("newest_first", newest_first)?;
            dict.set_item("shedding", shedding)?;
        }
        _ => dict.set_item("shedding", "off")?,
    }
    Ok(dict)
}

/// Where Python is now, outside of this package.
pub(crate) fn location(py: Python<'_>) -> Option<String> {
    let found = || -> PyResult<Option<String>> {
        let mut frame = py.import("sys")?.call_method1("_getframe", (0,))?;
        while !frame.is_none() {
            let name: String = frame.getattr("f_globals")?.get_item("__name__")?.extract()?;
            if name != "caliburn" && !name.starts_with("caliburn.") {
                let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
                let line: u32 = frame.getattr("f_lineno")?.extract()?;
                return Ok(Some(format!("{file}:{line}")));
            }
            frame = frame.getattr("f_back")?;
        }
        Ok(None)
    };
    found().ok().flatten()
}
