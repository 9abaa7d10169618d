//! The names of a function body, scope by scope.

use std::collections::HashMap;

use super::super::module::Fill;
use super::super::registers::{Class, Slot};
use super::super::syntax::Space;
use super::super::types::Type;
use super::Slots;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    /// A register.
    Register { kind: Type, slot: Slot },
    /// A variable: `fill` is its address within its space.
    Variable {
        space: Space,
        fill: Fill,
        size: usize,
        /// A parameter of a device function or call: `ld.param` reads it from local memory.
        argument: bool,
    },
}

/// The scopes of a function: a tree, of which one path is open.
pub struct Scopes<'a> {
    all: Vec<Scope<'a>>,
    current: usize,
}

#[derive(Default)]
struct Scope<'a> {
    parent: Option<usize>,
    symbols: HashMap<&'a str, Symbol>,
    /// `.reg .b32 %r<10>`: prefix, count, type. Registers get slots when first met.
    ranges: Vec<(&'a str, u32, Type)>,
    labels: HashMap<&'a str, usize>,
    targets: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Scopes<'a> {
    pub fn new() -> Scopes<'a> {
        Scopes { all: vec![Scope::default()], current: 0 }
    }

    pub fn open(&mut self) {
        self.all.push(Scope { parent: Some(self.current), ..Scope::default() });
        self.current = self.all.len() - 1;
    }

    pub fn close(&mut self) {
        self.current = self.all[self.current].parent.unwrap_or(0);
    }

    /// The scope now open, for [`Scopes::label_from`].
    pub fn current(&self) -> usize {
        self.current
    }

    pub fn declare(&mut self, name: &'a str, symbol: Symbol) {
        self.all[self.current].symbols.insert(name, symbol);
    }

    pub fn declare_range(&mut self, prefix: &'a str, count: u32, kind: Type) {
        self.all[self.current].ranges.push((prefix, count, kind));
    }

    pub fn declare_label(&mut self, name: &'a str, position: usize) -> bool {
        self.all[self.current].labels.insert(name, position).is_none()
    }

    pub fn declare_targets(&mut self, name: &'a str, targets: Vec<&'a str>) {
        self.all[self.current].targets.insert(name, targets);
    }

    /// What `name` means here; a register of a range gets its slot now.
    pub fn symbol(&mut self, name: &'a str, slots: &mut Slots) -> Option<Symbol> {
        let mut scope = Some(self.current);
        while let Some(index) = scope {
            let Scope { symbols, ranges, parent, .. } = &mut self.all[index];
            if let Some(&symbol) = symbols.get(name) {
                return Some(symbol);
            }
            let kind = ranges.iter().find_map(|&(prefix, count, kind)| {
                let digits = name.strip_prefix(prefix)?;
                let canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
                    && (digits == "0" || !digits.starts_with('0'));
                (canonical && digits.parse::<u32>().is_ok_and(|number| number < count)).then_some(kind)
            });
            if let Some(kind) = kind {
                let symbol = Symbol::Register { kind, slot: slots.register(Class::of(kind)) };
                symbols.insert(name, symbol);
                return Some(symbol);
            }
            scope = *parent;
        }
        None
    }

    /// Where a label that `scope` can see stands.
    pub fn label_from(&self, scope: usize, name: &str) -> Option<usize> {
        self.find(scope, |scope| scope.labels.get(name).copied())
    }

    /// The branch table called `name`.
    pub fn targets_from(&self, scope: usize, name: &str) -> Option<&[&'a str]> {
        self.find(scope, |scope| scope.targets.get(name)).map(Vec::as_slice)
    }

    fn find<'s, T>(&'s self, scope: usize, get: impl Fn(&'s Scope<'a>) -> Option<T>) -> Option<T> {
        let mut scope = Some(scope);
        while let Some(index) = scope {
            if let Some(found) = get(&self.all[index]) {
                return Some(found);
            }
            scope = self.all[index].parent;
        }
        None
    }
}
