//! Avro as manifests use it: a container of records, read field by field without a tree of values in between.
//!
//! Fields are found by their `field-id`, so names that Avro does not allow are no matter. Every length is checked
//! against the bytes that are there. Source: Avro 1.12 specification, "Object Container Files".

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use flate2::read::DeflateDecoder;
use serde_json::Value;

/// First bytes of a container.
const MAGIC: &[u8] = b"Obj\x01";
/// Bytes between blocks.
const SYNC_BYTES: usize = 16;
/// Largest block that is decompressed, in bytes.
const BLOCK_BYTES_MAX: usize = 1 << 30;
/// Deepest schema.
const DEPTH_MAX: usize = 32;

/// What is wrong with a file. The caller names the file.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// The type of a value.
#[derive(Clone, Debug)]
pub(crate) enum Schema {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    /// Its values are positions of symbols.
    Enum,
    Array(Arc<Schema>),
    Map(Arc<Schema>),
    Union(Arc<Vec<Schema>>),
    Record(Arc<Vec<Field>>),
}

/// A field of a record.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Iceberg's id.
    pub(crate) id: Option<i32>,
    pub(crate) schema: Schema,
}

/// A container's header, and the bytes after it.
pub(crate) struct Container<'a> {
    pub(crate) schema: Schema,
    codec: String,
    sync: [u8; SYNC_BYTES],
    rest: Cursor<'a>,
}

impl<'a> Container<'a> {
    pub(crate) fn open(bytes: &'a [u8], fixed: Fixed) -> Result<Self> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("it is no Avro file")?;
        let mut rest = Cursor(rest);
        let mut metadata = HashMap::new();
        while let Some(count) = rest.block()? {
            for _ in 0..count {
                let key = rest.text()?.to_owned();
                metadata.insert(key, rest.bytes()?);
            }
        }
        let sync = rest.take(SYNC_BYTES)?;
        let sync = sync.try_into().map_err(|_| "it is cut short".to_owned())?;
        let text = |key: &str| {
            let bytes = metadata.get(key)?;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        let schema = text("avro.schema").ok_or("it has no Avro schema")?;
        let schema: Value =
            serde_json::from_str(&schema).map_err(|error| format!("its Avro schema: {error}"))?;
        Ok(Self {
            schema: parse_schema(&schema, &mut Types::of(fixed), 0)?,
            codec: text("avro.codec").unwrap_or_else(|| "null".to_owned()),
            sync,
            rest,
        })
    }

    /// Calls `each` with every record; it must consume the record.
    pub(crate) fn for_each(
        mut self,
        mut each: impl FnMut(&mut Cursor<'_>) -> Result<()>,
    ) -> Result<()> {
        while !self.rest.0.is_empty() {
            let count = self.rest.long()?;
            let size = self.rest.length()?;
            let packed = self.rest.take(size)?;
            if self.rest.take(SYNC_BYTES)? != self.sync {
                return Err("a block does not end where it says".to_owned());
            }
            let unpacked;
            let block = match self.codec.as_str() {
                "null" => packed,
                codec => {
                    unpacked = unpack(codec, packed)?;
                    &unpacked[..]
                }
            };
            let mut block = Cursor(block);
            for _ in 0..count {
                each(&mut block)?;
            }
            if !block.0.is_empty() {
                return Err("a block holds more than its records".to_owned());
            }
        }
        Ok(())
    }
}

fn unpack(codec: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: String| format!("a block cannot be decompressed ({codec}): {error}");
    let mut out = Vec::new();
    match codec {
        "deflate" => {
            DeflateDecoder::new(packed)
                .take(BLOCK_BYTES_MAX as u64)
                .read_to_end(&mut out)
                .map_err(|error| failed(error.to_string()))?;
        }
        "zstandard" => {
            zstd::stream::read::Decoder::new(packed)
                .and_then(|decoder| decoder.take(BLOCK_BYTES_MAX as u64).read_to_end(&mut out))
                .map_err(|error| failed(error.to_string()))?;
        }
        "snappy" => {
            // Four bytes of checksum come last.
            let (packed, crc) = packed
                .split_last_chunk::<4>()
                .ok_or_else(|| failed("it is cut short".to_owned()))?;
            let size =
                snap::raw::decompress_len(packed).map_err(|error| failed(error.to_string()))?;
            if size > BLOCK_BYTES_MAX {
                return Err(failed("it is too large".to_owned()));
            }
            out = snap::raw::Decoder::new()
                .decompress_vec(packed)
                .map_err(|error| failed(error.to_string()))?;
            if crc32fast::hash(&out).to_be_bytes() != *crc {
                return Err(failed("its checksum does not match".to_owned()));
            }
        }
        other => {
            return Err(format!(
                "its blocks are compressed with \"{other}\", which is not read"
            ));
        }
    }
    Ok(out)
}

/// How values of type fixed are written, other than those with a logical type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixed {
    /// As the schema says: their bytes alone.
    AsDeclared,
    /// As bytes, with a length in front.
    WithLength,
}

/// The named types of a schema so far.
struct Types {
    named: HashMap<String, Schema>,
    fixed: Fixed,
}

impl Types {
    fn of(fixed: Fixed) -> Self {
        let named = HashMap::new();
        Self { named, fixed }
    }
}

fn parse_schema(json: &Value, types: &mut Types, depth: usize) -> Result<Schema> {
    if depth > DEPTH_MAX {
        return Err("its Avro schema is nested too deep".to_owned());
    }
    let below = depth + 1;
    match json {
        Value::String(name) => Ok(match name.as_str() {
            "null" => Schema::Null,
            "boolean" => Schema::Boolean,
            "int" => Schema::Int,
            "long" => Schema::Long,
            "float" => Schema::Float,
            "double" => Schema::Double,
            "bytes" => Schema::Bytes,
            "string" => Schema::String,
            other => {
                let unknown = || format!("its Avro schema names an unknown type \"{other}\"");
                types.named.get(other).cloned().ok_or_else(unknown)?
            }
        }),
        Value::Array(branches) => {
            let branches = branches
                .iter()
                .map(|branch| parse_schema(branch, types, below));
            Ok(Schema::Union(Arc::new(branches.collect::<Result<_>>()?)))
        }
        Value::Object(object) => {
            let part = |key: &str| object.get(key).ok_or_else(|| no_part(key));
            let kind = part("type")?;
            let schema = match kind.as_str() {
                Some("record" | "error") => {
                    let fields = part("fields")?
                        .as_array()
                        .ok_or_else(|| no_part("fields"))?;
                    let fields = fields.iter().map(|field| parse_field(field, types, below));
                    Schema::Record(Arc::new(fields.collect::<Result<_>>()?))
                }
                Some("array") => {
                    Schema::Array(Arc::new(parse_schema(part("items")?, types, below)?))
                }
                Some("map") => Schema::Map(Arc::new(parse_schema(part("values")?, types, below)?)),
                Some("enum") => Schema::Enum,
                Some("fixed")
                    if types.fixed == Fixed::WithLength && !object.contains_key("logicalType") =>
                {
                    Schema::Bytes
                }
                Some("fixed") => {
                    let size = part("size")?
                        .as_u64()
                        .and_then(|size| usize::try_from(size).ok());
                    Schema::Fixed(size.ok_or_else(|| no_part("size"))?)
                }
                _ => return parse_schema(kind, types, below),
            };
            if let Some(name) = object.get("name").and_then(Value::as_str) {
                types.named.insert(name.to_owned(), schema.clone());
                if let Some(space) = object.get("namespace").and_then(Value::as_str) {
                    types
                        .named
                        .insert(format!("{space}.{name}"), schema.clone());
                }
            }
            Ok(schema)
        }
        _ => Err("its Avro schema is malformed".to_owned()),
    }
}

fn parse_field(json: &Value, types: &mut Types, depth: usize) -> Result<Field> {
    let part = |key: &str| json.get(key).ok_or_else(|| no_part(key));
    let id = json.get("field-id").and_then(Value::as_i64);
    Ok(Field {
        name: part("name")?
            .as_str()
            .ok_or_else(|| no_part("name"))?
            .to_owned(),
        id: id.and_then(|id| i32::try_from(id).ok()),
        schema: parse_schema(part("type")?, types, depth)?,
    })
}

fn no_part(key: &str) -> String {
    format!("its Avro schema lacks \"{key}\"")
}

/// A value without structure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
    Text(&'a str),
}

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.0.split_first().ok_or("it is cut short")?;
        self.0 = rest;
        Ok(*byte)
    }

    fn long(&mut self) -> Result<i64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // Zigzag: the sign is the lowest bit.
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("a number does not end".to_owned())
    }

    fn length(&mut self) -> Result<usize> {
        match usize::try_from(self.long()?) {
            Ok(length) if length <= self.0.len() => Ok(length),
            _ => Err("it is cut short, or a length is wrong".to_owned()),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8".to_owned())
    }

    /// The number of items in the next block of an array or map; `None` at its end. An item of ours takes a byte at least.
    fn block(&mut self) -> Result<Option<usize>> {
        let mut count = self.long()?;
        if count < 0 {
            // The block's size in bytes comes next, for readers that skip.
            self.long()?;
            count = count.checked_neg().ok_or("a count is wrong")?;
        }
        match usize::try_from(count) {
            Ok(0) => Ok(None),
            Ok(count) if count <= self.0.len() => Ok(Some(count)),
            _ => Err("it is cut short, or a count is wrong".to_owned()),
        }
    }

    /// The type of the value that comes, out of a union.
    fn branch<'s>(&mut self, schema: &'s Schema) -> Result<&'s Schema> {
        let mut schema = schema;
        while let Schema::Union(branches) = schema {
            let branch = usize::try_from(self.long()?).ok();
            schema = branch
                .and_then(|branch| branches.get(branch))
                .ok_or("a value has no type of its union")?;
        }
        Ok(schema)
    }

    /// Reads a value without structure.
    pub(crate) fn scalar(&mut self, schema: &Schema) -> Result<Scalar<'a>> {
        Ok(match self.branch(schema)? {
            Schema::Null => Scalar::Null,
            Schema::Boolean => Scalar::Boolean(self.byte()? != 0),
            Schema::Int | Schema::Enum => Scalar::Int(
                i32::try_from(self.long()?).map_err(|_| "a number is too large".to_owned())?,
            ),
            Schema::Long => Scalar::Long(self.long()?),
            Schema::Float => Scalar::Float(f32::from_le_bytes(self.array()?)),
            Schema::Double => Scalar::Double(f64::from_le_bytes(self.array()?)),
            Schema::Bytes => Scalar::Bytes(self.bytes()?),
            Schema::String => Scalar::Text(self.text()?),
            Schema::Fixed(size) => Scalar::Bytes(self.take(*size)?),
            Schema::Array(_) | Schema::Map(_) | Schema::Record(_) | Schema::Union(_) => {
                return Err("a field has another type than the format says".to_owned());
            }
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?
            .try_into()
            .map_err(|_| "it is cut short".to_owned())
    }

    /// Reads an array, item by item. NULL has no items.
    pub(crate) fn items(
        &mut self,
        schema: &Schema,
        mut each: impl FnMut(&mut Self, &Schema) -> Result<()>,
    ) -> Result<()> {
        match self.branch(schema)? {
            Schema::Null => Ok(()),
            Schema::Array(items) => {
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        each(self, items)?;
                    }
                }
                Ok(())
            }
            _ => Err("a field has another type than the format says".to_owned()),
        }
    }

    /// The fields of the record that comes. NULL has none.
    pub(crate) fn record<'s>(&mut self, schema: &'s Schema) -> Result<&'s [Field]> {
        match self.branch(schema)? {
            Schema::Null => Ok(&[]),
            Schema::Record(fields) => Ok(fields),
            _ => Err("a field has another type than the format says".to_owned()),
        }
    }

    pub(crate) fn skip(&mut self, schema: &Schema) -> Result<()> {
        let schema = self.branch(schema)?;
        match schema {
            Schema::Array(_) => self.items(schema, Self::skip),
            Schema::Map(values) => {
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        self.bytes()?;
                        self.skip(values)?;
                    }
                }
                Ok(())
            }
            Schema::Record(fields) => fields.iter().try_for_each(|field| self.skip(&field.schema)),
            scalar => self.scalar(scalar).map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(codec: &str, block: &[u8], count: u8) -> Vec<u8> {
        let schema = r#"{"type": "record", "name": "r", "fields": [
            {"name": "a", "field-id": 7, "type": ["null", "long"]},
            {"name": "b", "type": {"type": "array", "items": "string"}}]}"#;
        let mut out = MAGIC.to_vec();
        out.push(4);
        for text in ["avro.schema", schema, "avro.codec", codec] {
            let mut length = text.len() * 2;
            while length >= 128 {
                out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            out.push(u8::try_from(length).unwrap());
            out.extend(text.as_bytes());
        }
        out.push(0);
        out.extend([9; SYNC_BYTES]);
        out.extend([count * 2, u8::try_from(block.len() * 2).unwrap()]);
        out.extend(block);
        out.extend([9; SYNC_BYTES]);
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Option<i64>, Vec<String>)>> {
        let container = Container::open(bytes, Fixed::AsDeclared)?;
        let schema = container.schema.clone();
        let mut out = Vec::new();
        container.for_each(|cursor| {
            let fields = cursor.record(&schema)?;
            assert_eq!(fields[0].id, Some(7));
            let a = match cursor.scalar(&fields[0].schema)? {
                Scalar::Long(value) => Some(value),
                _ => None,
            };
            let mut b = Vec::new();
            cursor.items(&fields[1].schema, |cursor, item| {
                if let Scalar::Text(text) = cursor.scalar(item)? {
                    b.push(text.to_owned());
                }
                Ok(())
            })?;
            out.push((a, b));
            Ok(())
        })?;
        Ok(out)
    }

    /// Two records: -2 with the texts x and yz, and NULL with none.
    const BLOCK: [u8; 10] = [2, 3, 4, 2, b'x', 4, b'y', b'z', 0, 0];

    fn block() -> Vec<u8> {
        [&BLOCK[..], &[0]].concat()
    }

    #[test]
    fn records_are_read_plain_and_compressed() {
        let expected = vec![
            (Some(-2), vec!["x".to_owned(), "yz".to_owned()]),
            (None, vec![]),
        ];
        assert_eq!(read(&container("null", &block(), 2)), Ok(expected.clone()));
        let plain = block();
        let mut deflate =
            flate2::read::DeflateEncoder::new(&plain[..], flate2::Compression::fast());
        let mut packed = Vec::new();
        deflate.read_to_end(&mut packed).unwrap();
        assert_eq!(
            read(&container("deflate", &packed, 2)),
            Ok(expected.clone())
        );
        let packed = zstd::stream::encode_all(&block()[..], 1).unwrap();
        assert_eq!(
            read(&container("zstandard", &packed, 2)),
            Ok(expected.clone())
        );
        let mut packed = snap::raw::Encoder::new().compress_vec(&block()).unwrap();
        packed.extend(crc32fast::hash(&block()).to_be_bytes());
        assert_eq!(read(&container("snappy", &packed, 2)), Ok(expected));
        let bad = read(&container("snappy", &[0; 9], 2)).unwrap_err();
        assert!(bad.contains("snappy"), "{bad}");
        let unknown = read(&container("xz", &block(), 2)).unwrap_err();
        assert!(unknown.contains("\"xz\""), "{unknown}");
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_error_or_another_value_but_no_panic() {
        let whole = container("null", &block(), 2);
        for end in 0..whole.len() - SYNC_BYTES - block().len() - 2 {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x81;
            let _ = read(&damaged);
        }
    }
}
