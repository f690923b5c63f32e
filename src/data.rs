//! What a user keeps beside a connection.

use std::any::{Any, TypeId};
use std::fmt;

/// Values that a user keeps beside a connection: one of each type, for as long as the connection
/// lives. Hooks reach them through their [`Metadata`](crate::Metadata), borrowers through
/// [`PooledConnection::data`](crate::PooledConnection::data).
///
/// They are dropped with the connection: on the pool's threads, or where the connection is
/// [detached](crate::PooledConnection::detach).
///
/// ```
/// # use caliburn::{Manager, PooledConnection};
/// /// How far this session has read.
/// struct Position(u64);
///
/// fn advance<M: Manager>(conn: &mut PooledConnection<M>) -> u64 {
///     let position = PooledConnection::data_mut(conn).get_or_insert_with(|| Position(0));
///     position.0 += 1;
///     position.0
/// }
///
/// fn jump<M: Manager>(conn: &mut PooledConnection<M>) -> Option<Position> {
///     let data = PooledConnection::data_mut(conn);
///     let before = data.insert(Position(10));
///     data.get_mut::<Position>()?.0 *= 2;
///     data.remove::<Position>().and(before)
/// }
/// ```
#[derive(Default)]
pub struct ConnectionData(
    /// Boxed, so that a connection without any costs a word. Few are ever kept, so a list is faster
    /// than a map.
    Option<Box<Values>>,
);

type Values = Vec<(TypeId, Box<dyn Any + Send + Sync>)>;

impl ConnectionData {
    fn values(&self) -> &[(TypeId, Box<dyn Any + Send + Sync>)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Returns the value of type `T`, if there is one.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.values().iter().find_map(|(_, value)| value.downcast_ref())
    }

    /// As `get`, mutable.
    pub fn get_mut<T: Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()?.iter_mut().find_map(|(_, value)| value.downcast_mut())
    }

    /// Returns the value of type `T`; if there is none, keeps the one that `make` returns.
    pub fn get_or_insert_with<T: Send + Sync + 'static>(
        &mut self,
        make: impl FnOnce() -> T,
    ) -> &mut T {
        let values = self.0.get_or_insert_default();
        let place = values.iter().position(|(kind, _)| *kind == TypeId::of::<T>());
        let place = place.unwrap_or_else(|| {
            values.push((TypeId::of::<T>(), Box::new(make())));
            values.len() - 1
        });
        match values[place].1.downcast_mut() {
            Some(value) => value,
            None => unreachable!("it is kept by its type"),
        }
    }

    /// Keeps `value`, and returns the previous value of its type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        let before = self.remove();
        self.0.get_or_insert_default().push((TypeId::of::<T>(), Box::new(value)));
        before
    }

    /// Removes the value of type `T`, and returns it.
    pub fn remove<T: Send + Sync + 'static>(&mut self) -> Option<T> {
        let values = self.0.as_deref_mut()?;
        let place = values.iter().position(|(kind, _)| *kind == TypeId::of::<T>())?;
        values.swap_remove(place).1.downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for ConnectionData {
    /// The values need not be `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionData({} values)", self.values().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type_is_kept() {
        let mut data = ConnectionData::default();
        assert_eq!(size_of_val(&data), size_of::<usize>());
        assert_eq!(data.get::<u32>(), None);
        assert_eq!(data.insert(1_u32), None);
        assert_eq!(data.insert("text"), None);
        assert_eq!(data.insert(2_u32), Some(1));
        *data.get_mut::<u32>().unwrap() += 1;
        assert_eq!((data.get::<u32>(), data.get::<&str>()), (Some(&3), Some(&"text")));
        assert_eq!(*data.get_or_insert_with(|| 9_u32), 3);
        assert_eq!(*data.get_or_insert_with(|| 9_u64), 9);
        assert_eq!(format!("{data:?}"), "ConnectionData(3 values)");
        assert_eq!(data.remove::<u32>(), Some(3));
        assert_eq!((data.remove::<u32>(), data.get::<u64>()), (None, Some(&9)));
    }
}
