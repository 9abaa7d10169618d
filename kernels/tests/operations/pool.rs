//! Named buffers that the steps of a case read and write.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;

use kernels::dropout::Randomness;
use kernels::random::{Philox, unit};
use kernels::{Real, Store};

/// Named buffers. A step borrows them one by one, so that a call reads like the operands it fills.
pub struct Pool<R> {
    buffers: BTreeMap<&'static str, RefCell<Vec<R>>>,
    written: RefCell<BTreeMap<&'static str, Store>>,
}

impl<R: Real> Pool<R> {
    fn cell(&self, name: &str) -> &RefCell<Vec<R>> {
        self.buffers.get(name).unwrap_or_else(|| panic!("no operand is called {name}"))
    }

    /// An input.
    pub fn read(&self, name: &str) -> Ref<'_, [R]> {
        Ref::map(self.cell(name).borrow(), Vec::as_slice)
    }

    /// An output: one that must be written without being read holds NaN first.
    pub fn store(&self, name: &'static str, store: Store) -> RefMut<'_, [R]> {
        self.written.borrow_mut().insert(name, store);
        let mut buffer = RefMut::map(self.cell(name).borrow_mut(), Vec::as_mut_slice);
        if store == Store::Assign {
            buffer.fill(R::from_f64(f64::NAN));
        }
        buffer
    }

    /// An output that is stored.
    pub fn assign(&self, name: &'static str) -> RefMut<'_, [R]> {
        self.store(name, Store::Assign)
    }

    /// An output that is added to, or changed in place.
    pub fn accumulate(&self, name: &'static str) -> RefMut<'_, [R]> {
        self.store(name, Store::Add)
    }

    /// Replaces a buffer's content.
    pub fn set(&mut self, name: &'static str, values: &[f64]) {
        *self.cell(name).borrow_mut() = values.iter().map(|&value| R::from_f64(value)).collect();
    }

    /// A buffer's content.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.read(name).iter().map(|value| value.to_f64()).collect()
    }

    /// Makes a buffer longer or shorter.
    pub fn resize(&mut self, name: &'static str, length: usize) {
        self.cell(name).borrow_mut().resize(length, R::from_f64(0.0));
    }

    /// What was written since the last call, and how.
    pub fn take_written(&self) -> BTreeMap<&'static str, Store> {
        self.written.take()
    }

    /// The names of all buffers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.buffers.keys().copied()
    }

    /// The same values in another precision.
    pub fn convert<T: Real>(&self) -> Pool<T> {
        let convert = |cell: &RefCell<Vec<R>>| {
            RefCell::new(cell.borrow().iter().map(|value| T::from_f64(value.to_f64())).collect())
        };
        Pool {
            buffers: self.buffers.iter().map(|(&name, cell)| (name, convert(cell))).collect(),
            written: RefCell::default(),
        }
    }
}

/// Random operands, every value exact in f32, the same ones in every run.
pub struct Operands {
    pool: Pool<f64>,
    random: Random,
}

impl Operands {
    /// No operands yet.
    pub fn new() -> Self {
        let pool = Pool { buffers: BTreeMap::new(), written: RefCell::default() };
        Self { pool, random: Random::new(1) }
    }

    /// The finished pool.
    pub fn into_pool(self) -> Pool<f64> {
        self.pool
    }

    fn add(&mut self, name: &'static str, length: usize, mut value: impl FnMut(f64) -> f64) -> &mut Self {
        let values = (0..length).map(|_| f64::from(value(self.random.unit()) as f32)).collect();
        assert!(
            self.pool.buffers.insert(name, RefCell::new(values)).is_none(),
            "two operands are called {name}"
        );
        self
    }

    /// Uniform in [−2, 2).
    pub fn random(&mut self, name: &'static str, length: usize) -> &mut Self {
        self.add(name, length, |unit| 4.0 * unit - 2.0)
    }

    /// Uniform in [0, 1).
    pub fn positive(&mut self, name: &'static str, length: usize) -> &mut Self {
        self.add(name, length, |unit| unit)
    }

    /// Uniform in [−2, 2), but NaN from element `live` on: where dead rows begin.
    pub fn random_until(&mut self, name: &'static str, length: usize, live: usize) -> &mut Self {
        let mut element = 0..length;
        self.add(name, length, |unit| if element.next() < Some(live) { 4.0 * unit - 2.0 } else { f64::NAN })
    }
}

/// Random numbers one after the other.
pub struct Random {
    philox: Philox,
    drawn: u64,
}

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self { philox: Philox::new(seed, 0), drawn: 0 }
    }

    /// The next one, in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.drawn += 1;
        unit(self.philox.word(0, self.drawn))
    }

    /// `length` integers in `0..bound`.
    pub fn indices(&mut self, length: usize, bound: usize) -> Indices {
        Indices((0..length).map(|_| (self.unit() * bound as f64) as i32).collect())
    }
}

/// Row numbers; a message shows how many, not which.
pub struct Indices(pub Vec<i32>);

impl std::ops::Deref for Indices {
    type Target = [i32];
    fn deref(&self) -> &[i32] {
        &self.0
    }
}

impl std::fmt::Debug for Indices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.len())
    }
}

/// The coins of a step in the middle of a run, in its second micro-batch.
pub fn randomness() -> Randomness {
    Randomness { philox: Philox::new(7, 1), step: 12, first_row: 1000 }
}

/// The offsets of packed sequences.
#[derive(Clone, Debug)]
pub struct Packed {
    pub offsets: Vec<i32>,
    /// All rows, dead ones included.
    pub rows: usize,
}

impl Packed {
    /// Sequences of these lengths, then `dead` rows that belong to none.
    pub fn new(lengths: &[usize], dead: usize) -> Self {
        let mut offsets = vec![0];
        for &length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length as i32);
        }
        Self { rows: offsets[lengths.len()] as usize + dead, offsets }
    }

    /// Rows that belong to a sequence.
    pub fn live(&self) -> usize {
        self.offsets[self.offsets.len() - 1] as usize
    }

    /// Rows of the longest sequence.
    pub fn longest(&self) -> usize {
        self.offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0)
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Batches every operation over sequences must get right: lengths 1, 7, 127 and 512, ragged ones, an empty
    /// sequence, dead rows.
    pub fn batches() -> Vec<Self> {
        vec![
            Self::new(&[1], 0),
            Self::new(&[7, 7, 7], 0),
            Self::new(&[127, 127], 1),
            Self::new(&[512], 0),
            Self::new(&[30, 1, 0, 129, 64, 7, 33], 5),
        ]
    }
}
