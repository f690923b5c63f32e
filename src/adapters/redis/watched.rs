//! The driver's requests, each seen by the session on its way.

/// Those of `ConnectionLike` for threads, on what can `run` one.
macro_rules! watched {
    () => {
        fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
            let request = Request::packed(self.session, packed, 1);
            self.run(&request, |driver| driver.req_packed_command(packed))
        }

        fn req_packed_commands(
            &mut self,
            packed: &[u8],
            offset: usize,
            count: usize,
        ) -> RedisResult<Vec<Value>> {
            let request = Request::packed(self.session, packed, offset.saturating_add(count));
            self.run(&request, |driver| driver.req_packed_commands(packed, offset, count))
        }

        fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
            let request = Request::command(self.session, command);
            self.run(&request, |driver| driver.req_command(command))
        }
    };
}
pub(super) use watched;

/// Those of `ConnectionLike` for tasks, on what can `ask` and `answer`: `$one` and `$several` are
/// the methods of its driver.
#[cfg(feature = "redis-tokio")]
macro_rules! watched_async {
    ($one:ident, $several:ident) => {
        fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
            Box::pin(async move {
                let request = Request::command(self.session, command);
                self.ask(&request);
                let answer = self.driver.$one(command).await;
                self.answer(&request, &answer);
                answer
            })
        }

        fn req_packed_commands<'a>(
            &'a mut self,
            pipeline: &'a Pipeline,
            offset: usize,
            count: usize,
        ) -> RedisFuture<'a, Vec<Value>> {
            Box::pin(async move {
                let count_in_all = offset.saturating_add(count);
                let request = Request::pipeline(self.session, pipeline, count_in_all);
                self.ask(&request);
                let answers = self.driver.$several(pipeline, offset, count).await;
                self.answer(&request, &answers);
                answers
            })
        }
    };
}
#[cfg(feature = "redis-tokio")]
pub(super) use watched_async;
