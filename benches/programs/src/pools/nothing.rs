//! A database for sqlx that knows connections, which are objects, and nothing else: there can be no
//! row, no value and no statement, as the type of all of them has no values.

use super::object::{Object, Touch};
use log::LevelFilter;
use sqlx_core::arguments::Arguments;
use sqlx_core::column::{Column, ColumnIndex};
use sqlx_core::connection::{ConnectOptions, Connection};
use sqlx_core::database::Database;
use sqlx_core::encode::Encode;
use sqlx_core::error::BoxDynError;
use sqlx_core::row::Row;
use sqlx_core::sql_str::SqlStr;
use sqlx_core::statement::Statement;
use sqlx_core::transaction::{Transaction, TransactionManager};
use sqlx_core::type_info::TypeInfo;
use sqlx_core::types::Type;
use sqlx_core::value::{Value, ValueRef};
use sqlx_core::{Either, Error, Url, impl_into_arguments_for_arguments, impl_statement_query};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The database, and whatever of it there is to have: its address, arguments and results.
#[derive(Clone, Debug, Default)]
pub struct Nothing;

impl Database for Nothing {
    type Connection = Lent;
    type TransactionManager = Self;
    type Row = Never;
    type QueryResult = Self;
    type Column = Never;
    type TypeInfo = Never;
    type Value = Never;
    type ValueRef<'r> = Never;
    type Arguments = Self;
    type ArgumentBuffer = ();
    type Statement = Never;
    const NAME: &'static str = "nothing";
    const URL_SCHEMES: &'static [&'static str] = &[];
}

#[derive(Debug)]
pub struct Lent(Box<Object>);

impl Touch for Lent {
    fn touch(&mut self) {
        self.0.touch();
    }
}

impl Connection for Lent {
    type Database = Nothing;
    type Options = Nothing;

    async fn close(self) -> Result<(), Error> {
        Ok(())
    }

    async fn close_hard(self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn begin(
        &mut self,
    ) -> impl Future<Output = Result<Transaction<'_, Nothing>, Error>> + Send + '_ {
        Transaction::begin(self, None)
    }

    fn shrink_buffers(&mut self) {}

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn should_flush(&self) -> bool {
        false
    }
}

impl FromStr for Nothing {
    type Err = Error;

    fn from_str(_: &str) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl ConnectOptions for Nothing {
    type Connection = Lent;

    fn from_url(_: &Url) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn connect(&self) -> Result<Lent, Error> {
        Ok(Lent(Object::boxed()))
    }

    fn log_statements(self, _: LevelFilter) -> Self {
        self
    }

    fn log_slow_statements(self, _: LevelFilter, _: Duration) -> Self {
        self
    }
}

impl TransactionManager for Nothing {
    type Database = Nothing;

    async fn begin(_: &mut Lent, _: Option<SqlStr>) -> Result<(), Error> {
        Ok(())
    }

    async fn commit(_: &mut Lent) -> Result<(), Error> {
        Ok(())
    }

    async fn rollback(_: &mut Lent) -> Result<(), Error> {
        Ok(())
    }

    fn start_rollback(_: &mut Lent) {}

    fn get_transaction_depth(_: &Lent) -> usize {
        0
    }
}

impl Extend<Nothing> for Nothing {
    fn extend<I: IntoIterator<Item = Nothing>>(&mut self, _: I) {}
}

impl_into_arguments_for_arguments!(Nothing);

impl Arguments for Nothing {
    type Database = Nothing;

    fn reserve(&mut self, _: usize, _: usize) {}

    fn add<'t, T>(&mut self, _: T) -> Result<(), BoxDynError>
    where
        T: Encode<'t, Nothing> + Type<Nothing>,
    {
        Ok(())
    }

    fn len(&self) -> usize {
        0
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Methods that nobody can call, as there is no value to call them on; and whatever else.
macro_rules! never {
    ($($name:path {
        $(type $kind:ident = $type:ty;)*
        $(fn $method:ident(&self) -> $out:ty;)*
        $({ $($more:tt)* })?
    })*) => {$(
        impl $name for Never {
            $(type $kind = $type;)*
            $(fn $method(&self) -> $out { match *self {} })*
            $($($more)*)?
        }
    )*};
}

never! {
    TypeInfo { fn is_null(&self) -> bool; fn name(&self) -> &str; }
    Column {
        type Database = Nothing;
        fn ordinal(&self) -> usize;
        fn name(&self) -> &str;
        fn type_info(&self) -> &Never;
    }
    Value {
        type Database = Nothing;
        fn as_ref(&self) -> Never;
        fn type_info(&self) -> Cow<'_, Never>;
        fn is_null(&self) -> bool;
    }
    ValueRef<'_> {
        type Database = Nothing;
        fn to_owned(&self) -> Never;
        fn type_info(&self) -> Cow<'_, Never>;
        fn is_null(&self) -> bool;
    }
    Row {
        type Database = Nothing;
        fn columns(&self) -> &[Never];
        {
            fn try_get_raw<I: ColumnIndex<Self>>(&self, _: I) -> Result<Never, Error> {
                match *self {}
            }
        }
    }
    Statement {
        type Database = Nothing;
        fn sql(&self) -> &SqlStr;
        fn parameters(&self) -> Option<Either<&[Never], usize>>;
        fn columns(&self) -> &[Never];
        {
            fn into_sql(self) -> SqlStr {
                match self {}
            }
            impl_statement_query!(Nothing);
        }
    }
}
