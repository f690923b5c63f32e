//! Exporters: they report the figures of pools to monitoring systems, by OpenTelemetry's names.
//!
//! | exporter | feature | who reads, and when |
//! |---|---|---|
//! | [`Prometheus`] | | the program writes a text for each scrape |
//! | `OpenTelemetry` | `opentelemetry` | the SDK, at each collection |
//! | `Metrics` | `metrics` | the program publishes to the recorder, at its own pace |
//!
//! All three use the same instruments: [the conventions' for database clients][otel], and for what
//! these lack, names that begin with `caliburn`. Loans and returns export nothing: exporters read
//! [`Stats`](crate::Stats) when they are asked.
//!
//! A pool's [reserve](crate::Builder::reserved) is exported beside it: that of `songs` is called
//! `songs-reserved`.
//!
//! `OpenTelemetry` and `Metrics` do not keep a pool alive. Once its last handle is dropped, nothing
//! more is reported of it, not even what happened since the last collection. The counters of a new
//! pool that takes its name go on from where they stood.
//!
//! The pool counts durations in buckets, and these two take single values. So at each collection
//! they are told one value for each duration recorded since the last: it lies in the same bucket,
//! thus within an eighth of the truth, and the sum of all is the true sum. For each wait, connect
//! and measured loan that costs about 0.2 µs (`OpenTelemetry`) or 0.05 µs (`Metrics`), on the
//! thread that collects. Loans are measured only with
//! [`sample_use_time`](crate::Builder::sample_use_time), and counts are those of the sample.
//!
//! [otel]: https://opentelemetry.io/docs/specs/semconv/db/database-metrics/

mod instruments;
#[cfg(feature = "metrics")]
mod metrics;
mod named;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
mod prometheus;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
mod watched;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::metrics::Metrics;
#[cfg(feature = "opentelemetry")]
#[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry")))]
pub use self::opentelemetry::OpenTelemetry;
pub use prometheus::Prometheus;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "metrics", feature = "opentelemetry"))))]
pub use watched::NameTaken;
