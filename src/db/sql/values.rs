//! Values of statement parameters and of columns, the same for both databases.

use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::domain::ids::{AttachmentId, BlobId, ContactId, EventId, SiteId, SubscriptionId};

type AnyError = Box<dyn std::error::Error + Sync + Send>;

/// A value of a column or a parameter. Booleans are 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum Cell<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    /// Bytes; an id is 16 of them.
    Bytes(&'a [u8]),
    /// Several ids, for PostgreSQL only.
    Ids(&'a [Uuid]),
}

impl<'a> Cell<'a> {
    pub(super) fn from_sqlite(value: ValueRef<'a>) -> Option<Self> {
        Some(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Text(text) => Self::Text(std::str::from_utf8(text).ok()?),
            ValueRef::Blob(bytes) => Self::Bytes(bytes),
            ValueRef::Real(_) => return None,
        })
    }
}

impl rusqlite::ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Ids(_) => return Err(rusqlite::Error::InvalidQuery),
        }))
    }
}

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, AnyError> {
        Ok(match *kind {
            Type::INT8 => Self::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Integer(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Self::Integer(i16::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Integer(bool::from_sql(kind, raw)?.into()),
            Type::BYTEA | Type::UUID => Self::Bytes(raw),
            _ => Self::Text(std::str::from_utf8(raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, AnyError> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        let known = [Type::INT8, Type::INT4, Type::INT2, Type::BOOL, Type::BYTEA, Type::UUID];
        known.contains(kind) || [Type::TEXT, Type::VARCHAR, Type::NAME].contains(kind)
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, AnyError> {
        match (*self, kind) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Integer(number), &Type::INT2) => i16::try_from(number)?.to_sql(kind, out),
            (Self::Integer(number), &Type::INT4) => i32::try_from(number)?.to_sql(kind, out),
            (Self::Integer(number), &Type::INT8) => number.to_sql(kind, out),
            (Self::Integer(number), &Type::BOOL) => (number != 0).to_sql(kind, out),
            // PostgreSQL cannot store NUL in text. Names with one are rejected (`http::request`),
            // but the response of a webhook receiver may contain it.
            (Self::Text(text), &(Type::TEXT | Type::VARCHAR)) if text.contains('\0') => {
                text.replace('\0', "\u{fffd}").to_sql(kind, out)
            }
            (Self::Text(text), &(Type::TEXT | Type::VARCHAR)) => text.to_sql(kind, out),
            (Self::Bytes(bytes), &(Type::BYTEA | Type::UNKNOWN)) => bytes.to_sql(kind, out),
            (Self::Bytes(bytes), &Type::UUID) => Uuid::from_slice(bytes)?.to_sql(kind, out),
            (Self::Ids(ids), &Type::UUID_ARRAY) => ids.to_sql(kind, out),
            (value, kind) => Err(format!("{value:?} is not of type {kind}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A type that can be a parameter.
pub(in crate::db) trait ToCell {
    fn to_cell(&self) -> Cell<'_>;
}

/// A type that can be read from a column.
pub(in crate::db) trait FromCell<'a>: Sized {
    /// `None` if the value has another type.
    fn from_cell(cell: Cell<'a>) -> Option<Self>;
}

impl<T: ToCell + ?Sized> ToCell for &T {
    fn to_cell(&self) -> Cell<'_> {
        (**self).to_cell()
    }
}

impl<T: ToCell> ToCell for Option<T> {
    fn to_cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, ToCell::to_cell)
    }
}

impl<'a, T: FromCell<'a>> FromCell<'a> for Option<T> {
    fn from_cell(cell: Cell<'a>) -> Option<Self> {
        if cell == Cell::Null { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}

impl ToCell for Cell<'_> {
    fn to_cell(&self) -> Cell<'_> {
        *self
    }
}

macro_rules! integers {
    ($($kind:ty),*) => {$(
        impl ToCell for $kind {
            fn to_cell(&self) -> Cell<'_> {
                Cell::Integer(i64::from(*self))
            }
        }

        impl FromCell<'_> for $kind {
            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                match cell {
                    Cell::Integer(number) => Self::try_from(number).ok(),
                    _ => None,
                }
            }
        }
    )*};
}
integers!(i64, u32, u16, u8);

impl ToCell for bool {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Integer(i64::from(*self))
    }
}

impl FromCell<'_> for bool {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        i64::from_cell(cell).map(|number| number != 0)
    }
}

impl ToCell for str {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Text(self)
    }
}

impl ToCell for String {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Text(self)
    }
}

impl<'a> FromCell<'a> for &'a str {
    fn from_cell(cell: Cell<'a>) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text) } else { None }
    }
}

impl FromCell<'_> for String {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        <&str>::from_cell(cell).map(ToOwned::to_owned)
    }
}

impl ToCell for [u8] {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Bytes(self)
    }
}

impl ToCell for Vec<u8> {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Bytes(self)
    }
}

impl FromCell<'_> for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Bytes(bytes) = cell { Some(bytes.to_vec()) } else { None }
    }
}

impl<const N: usize> ToCell for [u8; N] {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Bytes(self)
    }
}

impl<const N: usize> FromCell<'_> for [u8; N] {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Bytes(bytes) = cell { bytes.try_into().ok() } else { None }
    }
}

impl ToCell for Uuid {
    fn to_cell(&self) -> Cell<'_> {
        Cell::Bytes(self.as_bytes())
    }
}

impl FromCell<'_> for Uuid {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        <[u8; 16]>::from_cell(cell).map(Self::from_bytes)
    }
}

macro_rules! stored_as_16_bytes {
    ($($id:ident),*) => {$(
        impl ToCell for $id {
            fn to_cell(&self) -> Cell<'_> {
                Cell::Bytes(self.as_bytes())
            }
        }

        impl FromCell<'_> for $id {
            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                <[u8; 16]>::from_cell(cell).map(Self::from_bytes)
            }
        }
    )*};
}
stored_as_16_bytes!(SiteId, ContactId, AttachmentId, BlobId, SubscriptionId, EventId);
