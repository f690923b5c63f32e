//! What a manager says of a connection that comes back.

/// Those methods of `Manager`, on connections of either driver.
macro_rules! on_return {
    ($connection:ty) => {
        fn has_broken(&self, connection: &mut $connection) -> bool {
            connection.has_broken()
        }

        fn needs_reset(&self, connection: &mut $connection) -> bool {
            let watch = connection.watch();
            !watch.is_clean() || self.reset == Reset::Session && watch.was_lent()
        }

        fn needs_reset_after_hook(&self, connection: &mut $connection) -> bool {
            connection.is_open_after_hook()
        }

        fn renews_session(&self) -> bool {
            self.reset == Reset::Session
        }
    };
}
pub(in crate::adapters::mysql) use on_return;
