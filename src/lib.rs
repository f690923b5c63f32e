mod sync;
mod raw;
