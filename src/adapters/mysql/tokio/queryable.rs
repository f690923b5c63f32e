//! The driver's [`Queryable`], watched.

use super::connection::AsyncMysqlConnection;
use super::seen::{Answer, Executed, Kind};
use super::transaction::AsyncMysqlTransaction;
use crate::adapters::mysql::session::statement::Effect;
use mysql_async::prelude::{AsQuery, FromRow, Queryable, StatementLike};
use mysql_async::{
    BinaryProtocol, Params, QueryResult, Result, Row, Statement, TextProtocol, from_row,
};

fn text(query: &impl AsQuery) -> Kind {
    let sql = query.as_query();
    Kind::Text(str::from_utf8(&sql).map_or(Effect::Unknown, Effect::of))
}

fn has_values(params: &Params) -> bool {
    match params {
        Params::Empty => false,
        Params::Named(values) => !values.is_empty(),
        Params::Positional(values) => !values.is_empty(),
    }
}

/// Executes a statement, and reads all that it answers; of its first rows, `f` makes something.
async fn fold<Q: Queryable, U>(
    on: &mut Q,
    statement: impl StatementLike,
    params: Params,
    init: U,
    mut f: impl FnMut(U, Row) -> U,
) -> Result<Executed<U>> {
    let has_values = has_values(&params);
    let mut result = on.exec_iter(statement, params).await?;
    let has_rows = !result.columns_ref().is_empty();
    let mut value = init;
    while let Some(row) = result.next().await? {
        value = f(value, row);
    }
    // What a procedure answers ends with another result.
    let is_usual = has_values || has_rows && result.is_empty();
    result.drop_result().await?;
    Ok(Executed { value, is_usual })
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
                self.observe(Kind::Rows, |on| on.query_iter(query))
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
                let params = params.into();
                self.observe(Kind::Rows, |on| on.exec_iter(stmt, params))
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
                self.execute(|on| {
                    Box::pin(async move {
                        let mut is_usual = false;
                        let params = params_iter.into_iter().map(|params| {
                            let params = params.into();
                            is_usual |= has_values(&params);
                            params
                        });
                        on.exec_batch(stmt, params).await?;
                        Ok(Executed { value: (), is_usual })
                    })
                })
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
                let (params, push) = (params.into(), |mut rows: Vec<T>, row| {
                    rows.push(from_row(row));
                    rows
                });
                self.execute(move |on| Box::pin(fold(on, stmt, params, Vec::new(), push)))
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
                let (params, first) =
                    (params.into(), |first: Option<Row>, row| first.or(Some(row)));
                let row = self.execute(move |on| Box::pin(fold(on, stmt, params, None, first)));
                Box::pin(async move { Ok(row.await?.map(from_row)) })
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
                let (params, mut f) = (params.into(), f);
                let f = move |value, row| f(value, from_row(row));
                self.execute(move |on| Box::pin(fold(on, stmt, params, init, f)))
            }

            fn exec_drop<'a: 'b, 'b, S, P>(&'a mut self, stmt: S, params: P) -> Answer<'b, ()>
            where
                S: StatementLike + 'b,
                P: Into<Params> + Send + 'b,
            {
                let params = params.into();
                self.execute(move |on| Box::pin(fold(on, stmt, params, (), |(), _| ())))
            }
        }
    };
}

watched!(AsyncMysqlConnection);
watched!(AsyncMysqlTransaction<'_>);
