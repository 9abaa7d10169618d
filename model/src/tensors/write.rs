//! Values to a file.

use std::borrow::Cow;
use std::io::{self, Write};

use super::{CHUNK, Layout, ReadValues};

/// Writes the file of `layout`, its values taken from `read` a chunk at a time.
///
/// # Errors
/// `InvalidData` for a NaN or infinity, which must never be saved as if it were a model; else what the sink reports.
pub fn write(
    layout: &Layout,
    names: &[&str],
    read: &mut ReadValues<'_>,
    sink: &mut dyn Write,
) -> io::Result<()> {
    sink.write_all(layout.header())?;
    chunks(layout, read, &mut |index, values| match values.iter().find(|value| !value.is_finite()) {
        Some(value) => {
            let message = format!("tensor `{}` holds {value}", names[index]);
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
        None => sink.write_all(&bytes(values)),
    })
}

/// blake3 of all values as they lie in the file, in hexadecimal.
pub fn digest(layout: &Layout, read: &mut ReadValues<'_>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |_: usize, values: &[f32]| {
        hasher.update(&bytes(values));
        Ok(())
    };
    chunks(layout, read, &mut add).expect("hashing does not fail");
    hasher.finalize().to_hex().to_string()
}

fn chunks(
    layout: &Layout,
    read: &mut ReadValues<'_>,
    each: &mut dyn FnMut(usize, &[f32]) -> io::Result<()>,
) -> io::Result<()> {
    let mut values = Vec::new();
    for &index in layout.order() {
        let elements = layout.elements(index);
        for start in (0..elements).step_by(CHUNK) {
            values.clear();
            let range = start..elements.min(start + CHUNK);
            read(index, range.clone(), &mut values);
            assert_eq!(values.len(), range.len(), "as many values as were asked for");
            each(index, &values)?;
        }
    }
    Ok(())
}

/// The values as a file holds them.
fn bytes(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}
