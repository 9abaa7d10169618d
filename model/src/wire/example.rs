//! `tf.train.Example`: named lists of numbers or texts, the content of most TFRecord files.

use std::collections::BTreeMap;

use super::protobuf::{Malformed, Message, Value};

/// A named list.
#[derive(Clone, Debug, PartialEq)]
pub enum Feature {
    /// Texts, or any bytes.
    Bytes(Vec<Vec<u8>>),
    /// Real numbers.
    Reals(Vec<f32>),
    /// Integers.
    Integers(Vec<i64>),
}

/// The features of an example by name.
///
/// # Errors
/// If `record` is no message.
pub fn features(record: &[u8]) -> Result<BTreeMap<String, Feature>, Malformed> {
    let mut features = BTreeMap::new();
    for entry in
        messages(record, 1)?.into_iter().map(|all| messages(all, 1)).collect::<Result<Vec<_>, _>>()?
    {
        for entry in entry {
            let (mut name, mut feature) = (String::new(), None);
            for field in Message::new(entry) {
                match field? {
                    (1, Value::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                    (2, Value::Bytes(value)) => feature = list(value)?,
                    _ => (),
                }
            }
            features.extend(feature.map(|feature| (name, feature)));
        }
    }
    Ok(features)
}

/// The messages that are the values of a field.
fn messages(bytes: &[u8], number: u64) -> Result<Vec<&[u8]>, Malformed> {
    let mut found = Vec::new();
    for field in Message::new(bytes) {
        if let (field, Value::Bytes(message)) = field?
            && field == number
        {
            found.push(message);
        }
    }
    Ok(found)
}

/// The list of a feature; numbers may be packed or not.
fn list(bytes: &[u8]) -> Result<Option<Feature>, Malformed> {
    let Some(kind) = Message::new(bytes).next().transpose()? else { return Ok(None) };
    let (kind, Value::Bytes(values)) = kind else { return Ok(None) };
    let values = Message::new(values).collect::<Result<Vec<_>, _>>()?;
    let values = values.into_iter().filter(|(number, _)| *number == 1).map(|(_, value)| value);
    Ok(match kind {
        1 => Some(Feature::Bytes(
            values
                .filter_map(|value| if let Value::Bytes(text) = value { Some(text.to_vec()) } else { None })
                .collect(),
        )),
        2 => {
            let mut reals = Vec::new();
            for value in values {
                match value {
                    Value::Fixed32(bits) => reals.push(f32::from_bits(bits)),
                    Value::Bytes(packed) => {
                        reals.extend(packed.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                    }
                    Value::Varint(_) | Value::Fixed64(_) => (),
                }
            }
            Some(Feature::Reals(reals))
        }
        3 => {
            let mut integers = Vec::new();
            for value in values {
                match value {
                    Value::Varint(number) => integers.push(number as i64),
                    Value::Bytes(packed) => {
                        let mut packed = Message::new(packed);
                        while !packed.is_empty() {
                            integers.push(packed.varint()? as i64);
                        }
                    }
                    Value::Fixed32(_) | Value::Fixed64(_) => (),
                }
            }
            Some(Feature::Integers(integers))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_may_be_packed_or_not() {
        // features { feature { key: "a", value { int64_list { value: 1, value: 300 } } } }
        let list = |values: &[u8]| {
            let feature = [&[0x1A, values.len() as u8], values].concat();
            let entry = [&[0x0A, 1, b'a', 0x12, feature.len() as u8], &feature[..]].concat();
            let all = [&[0x0A, entry.len() as u8], &entry[..]].concat();
            [&[0x0A, all.len() as u8], &all[..]].concat()
        };
        for values in [&[0x0A, 3, 1, 0xAC, 2][..], &[0x08, 1, 0x08, 0xAC, 2]] {
            let found = features(&list(values)).expect("an example");
            assert_eq!(found, BTreeMap::from([("a".to_owned(), Feature::Integers(vec![1, 300]))]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_example_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = features(&bytes);
        }
    }
}
