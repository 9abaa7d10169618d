//! Copying columns; the gradient of a copy is the copy back.

use kernels::Precision;
use kernels::columns::{self, Place};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Operands, Pool};
use crate::step;

#[derive(Debug)]
pub struct Columns {
    columns: columns::Columns,
    rows: usize,
    place: Place,
}

impl Columns {
    fn new(rows: usize, columns: columns::Columns, place: Place) -> Self {
        Self { columns, rows, place }
    }

    fn back(&self) -> columns::Columns {
        let columns::Columns { width, x_width, from, y_width, to } = self.columns;
        columns::Columns { width, x_width: y_width, from: to, y_width: x_width, to: from }
    }
}

/// A destination of which columns stay is no poisoned one.
fn destination<'a, T: kernels::Element>(
    pool: &'a Pool,
    name: &'static str,
    place: Place,
) -> std::cell::RefMut<'a, [T]> {
    match place {
        Place::Clear => pool.assign(name),
        Place::Keep | Place::Add => pool.accumulate(name),
    }
}

impl Case for Columns {
    fn all() -> Vec<Self> {
        let slice = columns::Columns { width: 312, x_width: 936, from: 312, y_width: 312, to: 0 };
        let place = columns::Columns { width: 13, x_width: 20, from: 3, y_width: 31, to: 17 };
        let mut cases = Self::small();
        for kind in [Place::Keep, Place::Clear, Place::Add] {
            cases.extend([1, 127, 512].map(|rows| Self::new(rows, place, kind)));
            cases.push(Self::new(513, slice, kind));
        }
        cases
    }

    fn small() -> Vec<Self> {
        let columns = columns::Columns { width: 2, x_width: 5, from: 1, y_width: 4, to: 2 };
        [Place::Keep, Place::Clear, Place::Add].map(|place| Self::new(3, columns, place)).into()
    }

    fn operands(&self, operands: &mut Operands) {
        let (x, y) = (self.rows * self.columns.x_width, self.rows * self.columns.y_width);
        operands.random("x", x).random("y", y).random("dy", y).random("dx", x);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        // A gradient that keeps what other columns received is added; one on its own clears them.
        let place = if self.place == Place::Clear { Place::Clear } else { Place::Add };
        let back = self.back();
        vec![
            step! { p, 1, columns_copy(&self.columns, columns::Copy {
                x: &p.read("x"),
                y: &mut destination(p, "y", self.place),
                place: self.place,
            }) },
            step! { p, 1, columns_copy(&back, columns::Copy {
                x: &p.read("dy"),
                y: &mut destination(p, "dx", place),
                place,
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "y", upstream: "dy", gradients: vec![("x", "dx")] }
    }
}
