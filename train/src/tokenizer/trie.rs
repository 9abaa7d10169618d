//! A set of texts in which all prefixes of another text are found at one pass.

/// Texts with their numbers. The children of a node stand side by side, by their byte.
#[derive(Debug)]
pub(super) struct Trie {
    /// The children of the root, by byte; 0 for none.
    roots: Box<[u32; 256]>,
    /// The first child of each node; those of node n end where those of n + 1 begin.
    children: Vec<u32>,
    bytes: Vec<u8>,
    /// The number of the text that ends at a node, or [`NONE`].
    numbers: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Trie {
    /// No text is empty or given twice.
    pub fn new(mut texts: Vec<(&str, u32)>) -> Self {
        texts.sort_unstable();
        let mut trie =
            Self { roots: Box::new([0; 256]), children: Vec::new(), bytes: vec![0], numbers: vec![NONE] };
        // Nodes in the order of their distance from the root, each with the texts below it.
        let mut nodes = std::collections::VecDeque::from([(0, 0..texts.len())]);
        while let Some((depth, range)) = nodes.pop_front() {
            let is_root = trie.children.is_empty();
            trie.children.push(trie.bytes.len() as u32);
            let mut start = range.start;
            while start < range.end {
                let Some(&byte) = texts[start].0.as_bytes().get(depth) else {
                    start += 1; // the text that ends at this node
                    continue;
                };
                let length = texts[start..range.end]
                    .partition_point(|(text, _)| text.as_bytes().get(depth) == Some(&byte));
                if is_root {
                    trie.roots[usize::from(byte)] = trie.bytes.len() as u32;
                }
                let first = texts[start];
                trie.bytes.push(byte);
                trie.numbers.push(if first.0.len() == depth + 1 { first.1 } else { NONE });
                nodes.push_back((depth + 1, start..start + length));
                start += length;
            }
        }
        trie.children.push(trie.bytes.len() as u32);
        trie
    }

    /// Calls `found` with the length and the number of each text that `text` begins with, shortest first.
    pub fn prefixes(&self, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let Some(&first) = text.first() else { return };
        let mut node = self.roots[usize::from(first)] as usize;
        let mut length = 1;
        while node != 0 {
            if self.numbers[node] != NONE {
                found(length, self.numbers[node]);
            }
            let Some(&byte) = text.get(length) else { return };
            let children = self.children[node] as usize..self.children[node + 1] as usize;
            let place = self.bytes[children.clone()].binary_search(&byte);
            node = place.map_or(0, |place| children.start + place);
            length += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_text_begins_with(
            texts in prop::collection::btree_set("[abé]{1,5}", 0..40),
            text in "[abéc]{0,8}",
        ) {
            let texts: Vec<_> = texts.iter().map(String::as_str).zip(0..).collect();
            let mut expected: Vec<_> = texts.iter().filter(|(t, _)| text.starts_with(t)).map(|&(t, n)| (t.len(), n)).collect();
            expected.sort_unstable();
            let mut found = Vec::new();
            Trie::new(texts.clone()).prefixes(text.as_bytes(), |length, number| found.push((length, number)));
            prop_assert_eq!(found, expected);
        }
    }
}
