//! Values of statements, as the driver takes them.

use bytes::Bytes;
use scylla::{
    cluster::metadata::ColumnType,
    serialize::{
        SerializationError,
        value::SerializeValue,
        writers::{CellWriter, WrittenCellProof},
    },
    value::Unset,
};

/// One value of a statement.
#[derive(Debug, Clone)]
pub(super) enum Bind {
    /// No value.
    Null,
    /// `text`.
    Text(String),
    /// `bigint`.
    Big(i64),
    /// `int`.
    Int(i32),
    /// `tinyint`.
    Tiny(i8),
    /// `blob`.
    Blob(Bytes),
    /// `list<text>`, as the right side of an `IN`.
    Texts(Vec<String>),
    /// `list<tuple<tinyint, text>>`, the same.
    Rows(Vec<(i8, String)>),
    /// Leaves the column as it is.
    Unset,
}

impl From<&str> for Bind {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Option<i64>> for Bind {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Big)
    }
}

impl From<Option<Bytes>> for Bind {
    fn from(value: Option<Bytes>) -> Self {
        value.map_or(Self::Null, Self::Blob)
    }
}

impl SerializeValue for Bind {
    fn serialize<'b>(
        &self,
        typ: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Null => None::<i64>.serialize(typ, writer),
            Self::Text(text) => text.serialize(typ, writer),
            Self::Big(value) => value.serialize(typ, writer),
            Self::Int(value) => value.serialize(typ, writer),
            Self::Tiny(value) => value.serialize(typ, writer),
            Self::Blob(bytes) => bytes.serialize(typ, writer),
            Self::Texts(texts) => texts.serialize(typ, writer),
            Self::Rows(rows) => rows.serialize(typ, writer),
            Self::Unset => Unset.serialize(typ, writer),
        }
    }
}
