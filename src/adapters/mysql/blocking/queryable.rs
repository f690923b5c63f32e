//! The driver's [`Queryable`], watched.

use super::connection::MysqlConnection;
use super::transaction::MysqlTransaction;
use crate::adapters::mysql::session::statement::Effect;
use mysql::prelude::{AsStatement, FromRow, Queryable};
use mysql::{
    Binary, FromRowError, Params, QueryResult, Result, Statement, Text, from_row, from_row_opt,
};
use std::result::Result as StdResult;

/// The requests whose rows are each made a `$item`, by `$from_row`.
macro_rules! of_rows {
    (
        $query_fold:ident, $exec_first:ident, $exec_fold:ident, $item:ty, $from_row:ident
    ) => {
        fn $query_fold<T, F, Q, U>(&mut self, query: Q, init: U, mut f: F) -> Result<U>
        where
            Q: AsRef<str>,
            T: FromRow,
            F: FnMut(U, $item) -> U,
        {
            let f = |state, row: Result<_>| Ok(f(state, $from_row(row?)));
            self.connection().text(query.as_ref(), |rows| rows.try_fold(init, f))
        }

        fn $exec_first<T, S, P>(&mut self, stmt: S, params: P) -> Result<Option<$item>>
        where
            S: AsStatement,
            P: Into<Params>,
            T: FromRow,
        {
            self.connection()
                .binary(&stmt, params, |rows| Ok(rows.next().transpose()?.map($from_row)))
        }

        fn $exec_fold<T, S, P, U, F>(&mut self, stmt: S, params: P, init: U, mut f: F) -> Result<U>
        where
            S: AsStatement,
            P: Into<Params>,
            T: FromRow,
            F: FnMut(U, $item) -> U,
        {
            let f = |state, row: Result<_>| Ok(f(state, $from_row(row?)));
            self.connection().binary(&stmt, params, |rows| rows.try_fold(init, f))
        }
    };
}

/// A transaction is its connection.
macro_rules! watched {
    ($on:ty) => {
        impl Queryable for $on {
            fn query_iter<Q: AsRef<str>>(
                &mut self,
                query: Q,
            ) -> Result<QueryResult<'_, '_, '_, Text>> {
                self.connection().out_of_sight(|conn| conn.query_iter(query))
            }

            fn exec_iter<S, P>(
                &mut self,
                stmt: S,
                params: P,
            ) -> Result<QueryResult<'_, '_, '_, Binary>>
            where
                S: AsStatement,
                P: Into<Params>,
            {
                self.connection().out_of_sight(|conn| conn.exec_iter(stmt, params))
            }

            fn exec_batch<S, P, I>(&mut self, stmt: S, params: I) -> Result<()>
            where
                S: AsStatement,
                P: Into<Params>,
                I: IntoIterator<Item = P>,
            {
                let statement = stmt.as_statement(self.connection())?;
                let effect = self.connection().statements().effect_of(statement.id());
                self.connection().observe(effect, |conn| conn.exec_batch(&*statement, params))
            }

            fn prep<Q: AsRef<str>>(&mut self, query: Q) -> Result<Statement> {
                let effect = Effect::of(query.as_ref());
                let statement =
                    self.connection().observe(Effect::Keeps, |conn| conn.prep(query))?;
                self.connection().statements().note(statement.id(), effect);
                Ok(statement)
            }

            fn close(&mut self, stmt: Statement) -> Result<()> {
                self.connection().statements().forget(stmt.id());
                self.connection().observe(Effect::Keeps, |conn| conn.close(stmt))
            }

            fn query_first<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> Result<Option<T>> {
                self.connection()
                    .text(query.as_ref(), |rows| Ok(rows.next().transpose()?.map(from_row)))
            }

            fn query_first_opt<T, Q>(
                &mut self,
                query: Q,
            ) -> Result<Option<StdResult<T, FromRowError>>>
            where
                Q: AsRef<str>,
                T: FromRow,
            {
                self.connection()
                    .text(query.as_ref(), |rows| Ok(rows.next().transpose()?.map(from_row_opt)))
            }

            of_rows!(query_fold, exec_first, exec_fold, T, from_row);
            of_rows!(
                query_fold_opt,
                exec_first_opt,
                exec_fold_opt,
                StdResult<T, FromRowError>,
                from_row_opt
            );

            fn query_drop<Q: AsRef<str>>(&mut self, query: Q) -> Result<()> {
                self.connection().text(query.as_ref(), |_| Ok(()))
            }

            fn exec_drop<S: AsStatement, P: Into<Params>>(
                &mut self,
                stmt: S,
                params: P,
            ) -> Result<()> {
                self.connection().binary(&stmt, params, |_| Ok(()))
            }
        }
    };
}

watched!(MysqlConnection);
watched!(MysqlTransaction<'_>);
