//! Where the tensors of a file that is going to be written lie.

use std::io;

/// The header of a safetensors file of f32 tensors, and the place of each. Tensors are sorted by name, so that the same
/// tensors give the same bytes.
#[derive(Clone, Debug)]
pub struct Layout {
    header: Vec<u8>,
    /// By the caller's index: first byte in the file, bytes.
    places: Vec<(u64, u64)>,
    /// Indices in the order of the file.
    order: Vec<usize>,
    length: u64,
}

impl Layout {
    /// Lays out tensors of these names and shapes, beside `metadata` for whoever reads the file; `format: pt`, which
    /// transformers asks for, is added.
    ///
    /// # Errors
    /// `InvalidInput` if two tensors have one name.
    pub fn new(tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> io::Result<Self> {
        let mut order: Vec<_> = (0..tensors.len()).collect();
        order.sort_by_key(|&index| tensors[index].0);
        let mut notes = serde_json::Map::from_iter([("format".to_owned(), "pt".into())]);
        notes.extend(metadata.iter().map(|&(key, value)| (key.to_owned(), value.into())));
        let mut header = serde_json::Map::new(); // sorted by key, and "__metadata__" sorts before lower-case names
        header.insert("__metadata__".into(), notes.into());
        let (mut places, mut end) = (vec![(0, 0); tensors.len()], 0);
        for &index in &order {
            let (name, shape) = tensors[index];
            let bytes = (size_of::<f32>() * shape.iter().product::<usize>()) as u64;
            let offsets = [end, end + bytes];
            let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets });
            if header.insert(name.into(), entry).is_some() {
                let message = format!("two tensors are named `{name}`");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            places[index] = (end, bytes);
            end += bytes;
        }
        let mut json = serde_json::Value::from(header).to_string().into_bytes();
        json.resize(json.len().next_multiple_of(8), b' '); // the values start aligned
        let header = [&(json.len() as u64).to_le_bytes(), &json[..]].concat();
        let begin = header.len() as u64;
        places.iter_mut().for_each(|(start, _)| *start += begin);
        Ok(Self { length: begin + end, header, places, order })
    }

    /// The bytes before the values.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The byte of the file at which tensor `index` begins.
    pub fn start(&self, index: usize) -> u64 {
        self.places[index].0
    }

    /// Number of elements of tensor `index`.
    pub fn elements(&self, index: usize) -> usize {
        self.places[index].1 as usize / size_of::<f32>()
    }

    /// Indices of the tensors in the order of the file.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}
