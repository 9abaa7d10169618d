//! Named buffers that the steps of a case read and write.

use std::any::{Any, TypeId};
use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;

use half::bf16;
use kernels::dropout::Randomness;
use kernels::random::{Philox, unit};
use kernels::{Element, Real, Store};

/// Named buffers. A step borrows them one by one, so that a call reads like the operands it fills; a buffer takes the type
/// that its first borrower wants, and its numbers are rounded to it.
#[derive(Default)]
pub struct Pool {
    buffers: BTreeMap<&'static str, RefCell<Buffer>>,
    written: RefCell<BTreeMap<&'static str, Store>>,
}

struct Buffer {
    /// What it held before a step wrote to it, rounded to the type that it has.
    before: Vec<f64>,
    /// A `Vec` of what kernels see, once one has seen it.
    typed: Option<Box<dyn Any>>,
}

impl Buffer {
    fn new(before: Vec<f64>) -> Self {
        Self { before, typed: None }
    }

    fn now(&self) -> Vec<f64> {
        self.typed.as_ref().map_or_else(|| self.before.clone(), |typed| exact(&**typed))
    }
}

/// Numbers as a type that kernels take.
fn typed<T: Element>(values: &[f64]) -> Vec<T> {
    fn rounded<R: Real>(values: &[f64]) -> Box<dyn Any> {
        Box::new(values.iter().map(|&value| R::from_f64(value)).collect::<Vec<R>>())
    }
    let typed = match TypeId::of::<T>() {
        id if id == TypeId::of::<f64>() => rounded::<f64>(values),
        id if id == TypeId::of::<f32>() => rounded::<f32>(values),
        id if id == TypeId::of::<bf16>() => rounded::<bf16>(values),
        id if id == TypeId::of::<i32>() => Box::new(values.iter().map(|&v| v as i32).collect::<Vec<i32>>()),
        _ => panic!("no kernel takes such numbers"),
    };
    *typed.downcast().expect("the type asked for")
}

/// The way back.
fn exact(typed: &dyn Any) -> Vec<f64> {
    fn of<R: Real>(typed: &dyn Any) -> Option<Vec<f64>> {
        typed.downcast_ref::<Vec<R>>().map(|numbers| numbers.iter().map(|number| number.to_f64()).collect())
    }
    let integers = || typed.downcast_ref::<Vec<i32>>().map(|v| v.iter().map(|&v| f64::from(v)).collect());
    let reals = of::<f64>(typed).or_else(|| of::<f32>(typed)).or_else(|| of::<bf16>(typed));
    reals.or_else(integers).expect("one of the types that kernels take")
}

impl Pool {
    fn cell<T: Element>(&self, name: &str) -> &RefCell<Buffer> {
        let cell = self.buffers.get(name).unwrap_or_else(|| panic!("no operand is called {name}"));
        if cell.borrow().typed.is_none() {
            let buffer = &mut *cell.borrow_mut();
            let numbers = typed::<T>(&buffer.before);
            buffer.before = exact(&numbers);
            buffer.typed = Some(Box::new(numbers));
        }
        cell
    }

    /// An input.
    pub fn read<T: Element>(&self, name: &str) -> Ref<'_, [T]> {
        Ref::map(self.cell::<T>(name).borrow(), |buffer| {
            let typed = buffer.typed.as_ref().and_then(|typed| typed.downcast_ref::<Vec<T>>());
            typed.unwrap_or_else(|| panic!("{name} has one type")).as_slice()
        })
    }

    /// An output: one that must be written without being read holds NaN first.
    pub fn store<T: Element>(&self, name: &'static str, store: Store) -> RefMut<'_, [T]> {
        self.written.borrow_mut().insert(name, store);
        let mut numbers = RefMut::map(self.cell::<T>(name).borrow_mut(), |buffer| {
            let typed = buffer.typed.as_mut().and_then(|typed| typed.downcast_mut::<Vec<T>>());
            typed.unwrap_or_else(|| panic!("{name} has one type")).as_mut_slice()
        });
        if store == Store::Assign {
            numbers.fill(typed::<T>(&[f64::NAN])[0]);
        }
        numbers
    }

    /// An output that is stored.
    pub fn assign<T: Element>(&self, name: &'static str) -> RefMut<'_, [T]> {
        self.store(name, Store::Assign)
    }

    /// An output that is added to, or changed in place.
    pub fn accumulate<T: Element>(&self, name: &'static str) -> RefMut<'_, [T]> {
        self.store(name, Store::Add)
    }

    /// Replaces a buffer's content.
    pub fn set(&mut self, name: &'static str, values: &[f64]) {
        self.buffers.insert(name, RefCell::new(Buffer::new(values.to_vec())));
    }

    /// A buffer's content.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.buffers.get(name).unwrap_or_else(|| panic!("no operand is called {name}")).borrow().now()
    }

    /// Whether a buffer's numbers are bf16.
    pub fn is_bf16(&self, name: &str) -> bool {
        self.buffers[name].borrow().typed.as_ref().is_some_and(|typed| typed.is::<Vec<bf16>>())
    }

    /// Makes a buffer longer or shorter by one number.
    pub fn resize(&mut self, name: &'static str, change: isize) {
        let mut values = self.values(name);
        values.resize(values.len().saturating_add_signed(change), 0.0);
        self.set(name, &values);
    }

    /// What was written since the last call, and how.
    pub fn take_written(&self) -> BTreeMap<&'static str, Store> {
        self.written.take()
    }

    /// The names of all buffers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.buffers.keys().copied()
    }

    /// The same numbers in no type yet.
    pub fn copy(&self) -> Self {
        self.map(Buffer::now)
    }

    /// The numbers as they were, rounded to the types they have, before any step wrote to them.
    pub fn before(&self) -> Self {
        self.map(|buffer| buffer.before.clone())
    }

    fn map(&self, values: impl Fn(&Buffer) -> Vec<f64>) -> Self {
        let copy = |cell: &RefCell<Buffer>| RefCell::new(Buffer::new(values(&cell.borrow())));
        Self {
            buffers: self.buffers.iter().map(|(&name, cell)| (name, copy(cell))).collect(),
            ..Self::default()
        }
    }
}

/// Random operands, every value exact in f32, the same ones in every run.
pub struct Operands {
    pool: Pool,
    random: Random,
}

impl Operands {
    /// No operands yet.
    pub fn new() -> Self {
        Self { pool: Pool::default(), random: Random::new(1) }
    }

    /// The finished pool.
    pub fn into_pool(self) -> Pool {
        self.pool
    }

    fn add(&mut self, name: &'static str, length: usize, mut value: impl FnMut(f64) -> f64) -> &mut Self {
        let values = (0..length).map(|_| f64::from(value(self.random.unit()) as f32)).collect();
        assert!(
            self.pool.buffers.insert(name, RefCell::new(Buffer::new(values))).is_none(),
            "two operands are called {name}"
        );
        self
    }

    /// Uniform in [−2, 2).
    pub fn random(&mut self, name: &'static str, length: usize) -> &mut Self {
        self.add(name, length, |unit| 4.0 * unit - 2.0)
    }

    /// Ascending rows of which some are left out.
    pub fn rows(&mut self, name: &'static str, length: usize) -> &mut Self {
        let mut row = 0.0;
        self.add(name, length, |unit| {
            row += 1.0 + (3.0 * unit).floor();
            row
        })
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
