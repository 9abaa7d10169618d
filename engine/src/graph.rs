//! The graph: what model code records, and what differentiation appends to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::op::Operation;
use crate::parameters::{ParameterId, Parameters};
use crate::shape::{Axis, AxisSpec, Named, Rows, Shape};

/// A value of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Bound by the caller at every run: position among the graph's inputs.
    Input(usize),
    /// A parameter.
    Parameter(ParameterId),
    /// The output of a node.
    Node(usize),
    /// Made of lists that are bound at every run: position among the graph's unions.
    Union { union: usize, value: UnionValue },
}

/// A list that a union makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnionValue {
    /// The rows.
    Rows,
    /// Places of the rows of one of its lists.
    Places,
}

/// What a value is, which decides what it is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An activation or its gradient: stored in the plan's precision.
    Activation,
    /// A loss, what is said about a row, a number that losses are told: stored as the masters of parameters are.
    Statistic,
    /// Integers.
    Index,
}

#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub shape: Shape,
    pub kind: Kind,
    pub source: Source,
}

/// A matrix of real numbers in a graph under construction: copy it around like a number.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) id: ValueId,
}

/// A list of integers in a graph under construction.
#[derive(Clone, Copy, Debug)]
pub struct Indices<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) id: ValueId,
}

/// Rows that lists name, each once: see [`Graph::union`].
#[derive(Clone, Copy, Debug)]
pub struct Union<'g, const N: usize> {
    /// The rows, ascending.
    pub rows: Indices<'g>,
    /// For each list, where among `rows` its own are.
    pub places: [Indices<'g>; N],
}

/// A union as the graph knows it.
#[derive(Clone, Debug)]
pub(crate) struct UnionSpec {
    /// The axis that its rows make.
    pub axis: Axis,
    /// The axis that they are rows of.
    pub rows_of: Axis,
    /// Its lists: positions among the inputs.
    pub lists: Vec<usize>,
    pub rows: ValueId,
    /// Of each list.
    pub places: Vec<ValueId>,
}

/// What the numbers of an input may be; checked at every run, so that no kernel ever reads outside a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Real numbers.
    Real,
    /// Integers in `0..limit`.
    Below(usize),
    /// Rows of values that lie along the axis.
    RowOf(Axis),
    /// Ascending from 0 to the length of the axis.
    OffsetsOf(Axis),
    /// Of each sequence one of its rows, where it has any: another input (a position among the inputs) says where sequences
    /// begin, in rows that lie along the axis.
    RowOfSequence(usize, Axis),
    /// All rows, sorted stably by what another input (a position among the inputs) says of each.
    OrderOf(usize),
}

/// An input as the graph knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Name it is bound by.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// What it may hold.
    pub content: Content,
}

/// One operation of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Scoped name, such as `encoder/layer.3/attention`.
    pub name: String,
    pub operation: Operation,
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
    /// Per output: the earlier contribution it is added to.
    pub into: Vec<Option<ValueId>>,
    /// Parameters whose gradient it adds to.
    pub accumulates: Vec<ParameterId>,
    /// Which recomputable region it belongs to.
    pub region: Option<usize>,
    /// Whether it computes for backward what was computed before.
    pub again: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub axes: Vec<AxisSpec>,
    pub inputs: Vec<InputSpec>,
    pub unions: Vec<UnionSpec>,
    pub values: Vec<Value>,
    pub nodes: Vec<Node>,
    scopes: Vec<String>,
    region: Option<usize>,
    regions: usize,
    dropouts: u32,
    parameter_values: HashMap<ParameterId, ValueId>,
}

impl Record {
    pub fn value(&mut self, shape: Shape, kind: Kind, source: Source) -> ValueId {
        self.values.push(Value { shape, kind, source });
        ValueId(self.values.len() - 1)
    }

    pub fn shape(&self, value: ValueId) -> Shape {
        self.values[value.0].shape
    }

    pub fn kind(&self, value: ValueId) -> Kind {
        self.values[value.0].kind
    }

    /// What may be bound to a value; anything real where nothing is bound.
    pub fn content(&self, value: ValueId) -> Content {
        match self.values[value.0].source {
            Source::Input(input) => self.inputs[input].content,
            Source::Union { union, value: UnionValue::Rows } => Content::RowOf(self.unions[union].rows_of),
            Source::Union { union, value: UnionValue::Places } => Content::RowOf(self.unions[union].axis),
            Source::Parameter(_) | Source::Node(_) => Content::Real,
        }
    }

    /// The parameter that a value is, if it is one.
    pub fn as_parameter(&self, value: ValueId) -> Option<ParameterId> {
        match self.values[value.0].source {
            Source::Parameter(id) => Some(id),
            Source::Input(_) | Source::Node(_) | Source::Union { .. } => None,
        }
    }

    /// The node that computes a value, if one does.
    pub fn producer(&self, value: ValueId) -> Option<usize> {
        match self.values[value.0].source {
            Source::Node(node) => Some(node),
            Source::Input(_) | Source::Parameter(_) | Source::Union { .. } => None,
        }
    }

    /// The list of rows that the members of `rows` are, where those lie along a union.
    pub fn logical_rows(&self, rows: Rows) -> Option<ValueId> {
        let union = |axis| self.unions.iter().find(|union| union.axis == axis);
        match rows {
            Rows::Along(axis) => union(axis).map(|union| union.rows),
            Rows::Fixed(_) | Rows::Offsets(_) => None,
        }
    }

    /// Appends a node whose outputs start from nothing and returns its outputs.
    pub fn push(&mut self, node: Node, outputs: &[(Shape, Kind)]) -> Vec<ValueId> {
        let source = Source::Node(self.nodes.len());
        let outputs: Vec<_> = outputs.iter().map(|&(shape, kind)| self.value(shape, kind, source)).collect();
        let into = if node.into.is_empty() { vec![None; outputs.len()] } else { node.into };
        self.nodes.push(Node { outputs: outputs.clone(), into, ..node });
        outputs
    }

    fn scoped(&self, name: &str) -> String {
        self.scopes.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
    }
}

/// A computation being recorded.
///
/// ```
/// use engine::{Content, Graph, Parameters, Rows, Shape};
/// use std::sync::Arc;
/// let graph = Graph::new(Arc::new(Parameters::default()));
/// let tokens = graph.axis("tokens", 128);
/// let x = graph.input("x", Shape::new(Rows::Along(tokens), 16));
/// assert_eq!(x.scale(2.0).shape(), x.shape());
/// ```
#[derive(Debug)]
pub struct Graph {
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) record: RefCell<Record>,
}

impl Graph {
    /// An empty graph over `parameters`.
    pub fn new(parameters: Arc<Parameters>) -> Self {
        Self { parameters, record: RefCell::default() }
    }

    /// Declares a dimension with at most `capacity` members.
    ///
    /// # Panics
    /// If an `i32`, which is what rows are named by, cannot count them.
    #[track_caller]
    pub fn axis(&self, name: &str, capacity: usize) -> Axis {
        assert!(i32::try_from(capacity).is_ok(), "axis {name}: {capacity} is more than 2³¹ − 1");
        let axes = &mut self.record.borrow_mut().axes;
        axes.push(AxisSpec { name: name.to_owned(), capacity, rows_of: None });
        Axis(axes.len() - 1)
    }

    /// The rows that any of `lists` names, each once and in ascending order, as an axis of their own: what is computed along
    /// it is computed for those rows alone. Every run finds them by itself; nothing is bound. An element that is dropped
    /// along it has the coin of the row that it comes from.
    ///
    /// # Panics
    /// If the lists are not inputs that name rows of one axis.
    #[track_caller]
    pub fn union<'g, const N: usize>(&'g self, name: &str, lists: [Indices<'g>; N]) -> Union<'g, N> {
        let record = &mut *self.record.borrow_mut();
        let rows_of = lists.first().and_then(|list| match record.content(list.id) {
            Content::RowOf(axis) => Some(axis),
            _ => None,
        });
        let rows_of = rows_of.unwrap_or_else(|| panic!("union {name}: its lists name no rows"));
        let inputs: Vec<usize> = (lists.iter())
            .filter_map(|list| match record.values[list.id.0].source {
                Source::Input(input) if record.inputs[input].content == Content::RowOf(rows_of) => {
                    Some(input)
                }
                _ => None,
            })
            .collect();
        assert_eq!(inputs.len(), N, "union {name}: its lists are inputs that name rows of one axis");
        let shapes = lists.map(|list| record.shape(list.id));
        let capacities: Vec<_> = record.axes.iter().map(|axis| axis.capacity).collect();
        let named = shapes.iter().map(|shape| shape.elements(&capacities)).sum();
        let capacity = capacities[rows_of.0].min(named);
        record.axes.push(AxisSpec { name: name.to_owned(), capacity, rows_of: Some(rows_of) });
        let (axis, union) = (Axis(record.axes.len() - 1), record.unions.len());
        let mut list = |shape, value| record.value(shape, Kind::Index, Source::Union { union, value });
        let rows = list(Shape::new(Rows::Along(axis), 1), UnionValue::Rows);
        let places = shapes.map(|shape| list(shape, UnionValue::Places));
        record.unions.push(UnionSpec { axis, rows_of, lists: inputs, rows, places: places.to_vec() });
        let indices = |id| Indices { graph: self, id };
        Union { rows: indices(rows), places: places.map(indices) }
    }

    /// Declares an input of real numbers, stored as activations are.
    ///
    /// # Panics
    /// If the name is taken.
    #[track_caller]
    pub fn input(&self, name: &str, shape: Shape) -> Tensor<'_> {
        self.tensor(self.declare_input(name, shape, Kind::Activation, Content::Real))
    }

    /// Declares an input of real numbers that losses are told, weights and targets: f32 in every precision but the
    /// reference's.
    ///
    /// # Panics
    /// If the name is taken.
    #[track_caller]
    pub fn statistic(&self, name: &str, shape: Shape) -> Tensor<'_> {
        self.tensor(self.declare_input(name, shape, Kind::Statistic, Content::Real))
    }

    /// Declares an input of integers, one per row.
    ///
    /// # Panics
    /// If the name is taken, or `content` is real, that of offsets without their number of rows, that of [`Graph::order`] or of
    /// [`Graph::rows_of_sequences`], or about a union.
    #[track_caller]
    pub fn indices(&self, name: &str, rows: Rows, content: Content) -> Indices<'_> {
        match content {
            Content::Real => panic!("input {name}: indices are integers"),
            Content::OrderOf(_) => panic!("input {name}: an order is declared by `Graph::order`"),
            Content::RowOfSequence(..) => {
                panic!("input {name}: rows of sequences are declared by `Graph::rows_of_sequences`")
            }
            Content::OffsetsOf(_) => {
                let offsets = matches!(rows, Rows::Offsets(_));
                assert!(offsets, "input {name}: there is one offset more than sequences: `Rows::Offsets`");
            }
            Content::Below(_) | Content::RowOf(_) => {}
        }
        self.list(name, rows, content)
    }

    #[track_caller]
    fn list(&self, name: &str, rows: Rows, content: Content) -> Indices<'_> {
        let id = self.declare_input(name, Shape::new(rows, 1), Kind::Index, content);
        Indices { graph: self, id }
    }

    /// Declares an input that names all rows of `list`, sorted stably by what it says of them.
    ///
    /// # Panics
    /// If the name is taken.
    #[track_caller]
    pub fn order(&self, name: &str, list: Indices<'_>) -> Indices<'_> {
        let Source::Input(of) = self.record.borrow().values[list.id.0].source else {
            panic!("input {name}: an order is that of a list that is bound")
        };
        self.list(name, list.rows(), Content::OrderOf(of))
    }

    /// Declares an input that names one row of each sequence; `offsets` says where sequences begin.
    ///
    /// # Panics
    /// If the name is taken, or `offsets` are no offsets.
    #[track_caller]
    pub fn rows_of_sequences(&self, name: &str, offsets: Indices<'_>) -> Indices<'_> {
        let (source, rows, content) = {
            let record = self.record.borrow();
            (record.values[offsets.id.0].source, record.shape(offsets.id).rows, record.content(offsets.id))
        };
        let (Source::Input(of), Rows::Offsets(sequences), Content::OffsetsOf(axis)) = (source, rows, content)
        else {
            panic!("input {name}: {content:?} are no offsets")
        };
        self.list(name, Rows::Along(sequences), Content::RowOfSequence(of, axis))
    }

    #[track_caller]
    fn declare_input(&self, name: &str, shape: Shape, kind: Kind, content: Content) -> ValueId {
        let mut record = self.record.borrow_mut();
        assert!(record.inputs.iter().all(|known| known.name != name), "input {name} is declared twice");
        assert!(shape.columns > 0, "input {name}: a matrix has columns");
        let lies_along = match shape.rows {
            Rows::Along(axis) | Rows::Offsets(axis) => Some(axis),
            Rows::Fixed(_) => None,
        };
        let names = match content {
            Content::RowOf(axis) | Content::OffsetsOf(axis) | Content::RowOfSequence(_, axis) => Some(axis),
            Content::Real | Content::Below(_) | Content::OrderOf(_) => None,
        };
        for axis in lies_along.into_iter().chain(names) {
            let bound = record.axes[axis.0].rows_of.is_none();
            assert!(bound, "input {name}: nobody knows how many rows a union has before it is made");
        }
        record.inputs.push(InputSpec { name: name.to_owned(), shape, content });
        let source = Source::Input(record.inputs.len() - 1);
        record.value(shape, kind, source)
    }

    /// A parameter as a tensor.
    pub fn parameter(&self, id: ParameterId) -> Tensor<'_> {
        let mut record = self.record.borrow_mut();
        let known = record.parameter_values.get(&id).copied();
        let value = known.unwrap_or_else(|| {
            let shape = Shape::new(Rows::Fixed(self.parameters.rows(id)), self.parameters.columns(id));
            let value = record.value(shape, Kind::Activation, Source::Parameter(id));
            record.parameter_values.insert(id, value);
            value
        });
        self.tensor(value)
    }

    /// Runs `body` with `name` prefixed to the names of what it records.
    pub fn scope<T>(&self, name: &str, body: impl FnOnce() -> T) -> T {
        self.record.borrow_mut().scopes.push(name.to_owned());
        let result = body();
        self.record.borrow_mut().scopes.pop();
        result
    }

    /// Runs `body` and marks what it records as one region, which `Recompute::Layer` computes a second time in backward
    /// instead of keeping its values.
    pub fn region<T>(&self, body: impl FnOnce() -> T) -> T {
        let outer = {
            let mut record = self.record.borrow_mut();
            let this = record.regions;
            record.regions += 1;
            record.region.replace(this)
        };
        let result = body();
        self.record.borrow_mut().region = outer;
        result
    }

    /// A shape as a person reads it.
    pub(crate) fn describe(&self, shape: Shape) -> String {
        Named(shape, &self.record.borrow().axes).to_string()
    }

    pub(crate) fn tensor(&self, id: ValueId) -> Tensor<'_> {
        Tensor { graph: self, id }
    }

    /// Records an operation of the model.
    pub(crate) fn forward(
        &self,
        name: &str,
        operation: crate::op::Op,
        inputs: &[ValueId],
        outputs: &[(Shape, Kind)],
    ) -> Vec<ValueId> {
        let mut record = self.record.borrow_mut();
        let node = Node {
            name: record.scoped(name),
            operation: Operation::Forward(operation),
            inputs: inputs.to_vec(),
            outputs: Vec::new(),
            into: Vec::new(),
            accumulates: Vec::new(),
            region: record.region,
            again: false,
        };
        record.push(node, outputs)
    }

    /// A dropout stream that no other operation of this graph has.
    pub(crate) fn next_dropout(&self) -> u32 {
        let dropouts = &mut self.record.borrow_mut().dropouts;
        *dropouts += 1;
        *dropouts - 1
    }

    /// Stops the program with the scoped name of the operation that was recorded with wrong shapes.
    #[track_caller]
    pub(crate) fn require(&self, holds: bool, operation: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.refuse(operation, &message());
        }
    }

    /// The same where there is nothing to go on with.
    #[track_caller]
    pub(crate) fn refuse(&self, operation: &str, message: &str) -> ! {
        let name = self.record.borrow().scoped(operation);
        panic!("{name}: {message}");
    }
}
