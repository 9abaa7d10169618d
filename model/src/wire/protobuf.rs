//! Protocol buffers, as far as messages of a few numbers, texts and messages need them. Nothing in a message is believed.

/// A message that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("a field of {needed} bytes where {left} are left: truncated?")]
    Truncated {
        /// What the field says.
        needed: u64,
        /// What there is.
        left: usize,
    },
    /// A number is longer than any can be.
    #[error("a number of more than 64 bits")]
    Number,
    /// A kind of field that does not exist, or no longer.
    #[error("wire type {0}")]
    WireType(u64),
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer, a truth value, a choice.
    Varint(u64),
    /// A 32-bit number.
    Fixed32(u32),
    /// A 64-bit number.
    Fixed64(u64),
    /// A text, a message, packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, number and value, in the order of the file. Ends after the first error.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    rest: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message that `bytes` are.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let split = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (taken, rest) = split.ok_or(Malformed::Truncated { needed: count, left: self.rest.len() })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// The next bytes as a number; of a packed list as of a message.
    ///
    /// # Errors
    /// If they are none.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Number)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            wire => return Err(Malformed::WireType(wire)),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// A message that is being written, field by field.
#[derive(Clone, Debug, Default)]
pub struct MessageWriter(Vec<u8>);

impl MessageWriter {
    /// Adds the field `number`.
    #[must_use]
    pub fn with(mut self, number: u64, value: Value<'_>) -> Self {
        let (wire, content): (u64, &[u8]) = match &value {
            Value::Varint(_) => (0, &[]),
            Value::Fixed64(value) => (1, &value.to_le_bytes()),
            Value::Bytes(bytes) => (2, bytes),
            Value::Fixed32(value) => (5, &value.to_le_bytes()),
        };
        put_varint(&mut self.0, number << 3 | wire);
        match value {
            Value::Varint(value) => put_varint(&mut self.0, value),
            Value::Bytes(bytes) => put_varint(&mut self.0, bytes.len() as u64),
            _ => {}
        }
        self.0.extend(content);
        self
    }

    /// The bytes of the message.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Appends a number, seven bits a byte.
pub fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let fields = [
            (1, Value::Varint(u64::MAX)),
            (2, Value::Bytes(b"ab")),
            (300, Value::Fixed32(7)),
            (4, Value::Fixed64(1 << 40)),
            (5, Value::Varint(0)),
        ];
        let written =
            fields.iter().fold(MessageWriter::default(), |message, &(n, value)| message.with(n, value));
        let bytes = written.finish();
        assert_eq!(Message::new(&bytes).collect::<Result<Vec<_>, _>>(), Ok(fields.to_vec()));
    }

    #[test]
    fn fields_are_read_in_order() {
        // 1: 300, 2: "ab", 3: 1.5 in 32 bits, 4: 2 in 64 bits
        let bytes = [8, 0xAC, 2, 18, 2, b'a', b'b', 29, 0, 0, 0xC0, 0x3F, 33, 2, 0, 0, 0, 0, 0, 0, 0];
        let fields: Result<Vec<_>, _> = Message::new(&bytes).collect();
        let expected = [
            (1, Value::Varint(300)),
            (2, Value::Bytes(b"ab")),
            (3, Value::Fixed32(1.5_f32.to_bits())),
            (4, Value::Fixed64(2)),
        ];
        assert_eq!(fields.expect("a message"), expected);
        let error = |bytes: &[u8]| Message::new(bytes).find_map(Result::err).expect("none").to_string();
        assert_eq!(error(&bytes[..6]), "a field of 2 bytes where 1 are left: truncated?");
        assert_eq!(
            error(&[8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
            "a number of more than 64 bits"
        );
        assert_eq!(error(&[11]), "wire type 3");
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Message::new(&bytes).count() <= bytes.len());
        }
    }
}
