//! The driver's [`Queryable`], watched.

use super::connection::AsyncMysqlConnection;
use super::seen::{Answer, Kind};
use super::transaction::AsyncMysqlTransaction;
use crate::adapters::mysql::session::statement::Effect;
use mysql_async::prelude::{AsQuery, FromRow, Queryable, StatementLike};
use mysql_async::{BinaryProtocol, Params, QueryResult, Statement, TextProtocol};

fn text(query: &impl AsQuery) -> Kind {
    let sql = query.as_query();
    Kind::Text(str::from_utf8(&sql).map_or(Effect::Unknown, Effect::of))
}

macro_rules! watched {
    ($on:ty) => {
        impl Queryable for $on {
            fn ping(&mut self) -> Answer<'_, ()> {
                self.observe(Kind::Aside, |on| on.ping())
            }

            fn query_iter<'a, Q>(
                &'a mut self,
                query: Q,
            ) -> Answer<'a, QueryResult<'a, 'static, TextProtocol>>
            where
                Q: AsQuery + 'a,
            {
                self.out_of_sight().query_iter(query)
            }

            fn prep<'a, Q: AsQuery + 'a>(&'a mut self, query: Q) -> Answer<'a, Statement> {
                self.observe(Kind::Aside, |on| on.prep(query))
            }

            fn close(&mut self, stmt: Statement) -> Answer<'_, ()> {
                self.observe(Kind::Aside, |on| on.close(stmt))
            }

            fn exec_iter<'a: 's, 's, Q, P>(
                &'a mut self,
                stmt: Q,
                params: P,
            ) -> Answer<'s, QueryResult<'a, 'static, BinaryProtocol>>
            where
                Q: StatementLike + 's,
                P: Into<Params>,
            {
                self.out_of_sight().exec_iter(stmt, params)
            }

            fn exec_batch<'a: 'b, 'b, S, P, I>(
                &'a mut self,
                stmt: S,
                params_iter: I,
            ) -> Answer<'b, ()>
            where
                S: StatementLike + 'b,
                I: IntoIterator<Item = P> + Send + 'b,
                I::IntoIter: Send,
                P: Into<Params> + Send,
            {
                self.observe(Kind::Prepared, |on| on.exec_batch(stmt, params_iter))
            }

            fn query<'a, T, Q>(&'a mut self, query: Q) -> Answer<'a, Vec<T>>
            where
                Q: AsQuery + 'a,
                T: FromRow + Send + 'static,
            {
                self.observe(text(&query), |on| on.query(query))
            }

            fn query_first<'a, T, Q>(&'a mut self, query: Q) -> Answer<'a, Option<T>>
            where
                Q: AsQuery + 'a,
                T: FromRow + Send + 'static,
            {
                self.observe(text(&query), |on| on.query_first(query))
            }

            fn query_fold<'a, T, F, Q, U>(&'a mut self, query: Q, init: U, f: F) -> Answer<'a, U>
            where
                Q: AsQuery + 'a,
                T: FromRow + Send + 'static,
                F: FnMut(U, T) -> U + Send + 'a,
                U: Send + 'a,
            {
                self.observe(text(&query), |on| on.query_fold(query, init, f))
            }

            fn query_drop<'a, Q: AsQuery + 'a>(&'a mut self, query: Q) -> Answer<'a, ()> {
                self.observe(text(&query), |on| on.query_drop(query))
            }

            fn exec<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> Answer<'b, Vec<T>>
            where
                S: StatementLike + 'b,
                P: Into<Params> + Send + 'b,
                T: FromRow + Send + 'static,
            {
                self.observe(Kind::Prepared, |on| on.exec(stmt, params))
            }

            fn exec_first<'a: 'b, 'b, T, S, P>(
                &'a mut self,
                stmt: S,
                params: P,
            ) -> Answer<'b, Option<T>>
            where
                S: StatementLike + 'b,
                P: Into<Params> + Send + 'b,
                T: FromRow + Send + 'static,
            {
                self.observe(Kind::Prepared, |on| on.exec_first(stmt, params))
            }

            fn exec_fold<'a: 'b, 'b, T, S, P, U, F>(
                &'a mut self,
                stmt: S,
                params: P,
                init: U,
                f: F,
            ) -> Answer<'b, U>
            where
                S: StatementLike + 'b,
                P: Into<Params> + Send + 'b,
                T: FromRow + Send + 'static,
                F: FnMut(U, T) -> U + Send + 'a,
                U: Send + 'a,
            {
                self.observe(Kind::Prepared, |on| on.exec_fold(stmt, params, init, f))
            }

            fn exec_drop<'a: 'b, 'b, S, P>(&'a mut self, stmt: S, params: P) -> Answer<'b, ()>
            where
                S: StatementLike + 'b,
                P: Into<Params> + Send + 'b,
            {
                self.observe(Kind::Prepared, |on| on.exec_drop(stmt, params))
            }
        }
    };
}

watched!(AsyncMysqlConnection);
watched!(AsyncMysqlTransaction<'_>);
