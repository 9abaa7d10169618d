//! What a run is given: checked, and laid out as a plan's inputs lie.

use kernels::memory::RunScalars;
use kernels::random::Philox;
use kernels::{Element, Real};

use super::rounding::Rounded;
use crate::error::RunError;
use crate::graph::{Content, InputSpec, Kind};
use crate::plan::{Location, Operand, Plan};
use crate::purpose;

/// What a run of a plan is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bindings<'a> {
    /// Members of every axis that is no union, in the order of their declaration.
    pub lengths: &'a [usize],
    /// Members of each of them that earlier micro-batches of the same optimizer step held; empty for the first.
    pub starts: &'a [u64],
    /// Integer inputs by name.
    pub integers: &'a [(&'a str, &'a [i32])],
    /// Real inputs by name.
    pub reals: &'a [(&'a str, &'a [f32])],
    /// The run's seed.
    pub seed: u64,
    /// The optimizer step.
    pub step: u32,
}

/// Takes the lengths of all axes; a union has none yet.
pub(super) fn take_lengths(
    plan: &Plan,
    &Bindings { lengths, starts, .. }: &Bindings<'_>,
    into: &mut [usize],
) -> Result<(), RunError> {
    let bound = plan.axes.iter().filter(|axis| axis.rows_of.is_none()).count();
    assert_eq!(lengths.len(), bound, "a run names the length of every axis that is no union");
    assert!(starts.is_empty() || starts.len() == bound, "a start for every axis, or none");
    let mut lengths = lengths.iter();
    for (axis, into) in plan.axes.iter().zip(into) {
        *into = if axis.rows_of.is_some() { 0 } else { lengths.next().copied().unwrap_or(0) };
        if *into > axis.capacity {
            return Err(RunError::Capacity {
                axis: axis.name.clone(),
                found: *into,
                capacity: axis.capacity,
            });
        }
    }
    Ok(())
}

/// Writes what a run is given to where it lies among a plan's inputs.
pub(super) fn stage<P: kernels::Precision>(
    plan: &Plan,
    bindings: &Bindings<'_>,
    rounds: bool,
    lengths: &[usize],
    staged: &mut [u8],
) -> Result<(), RunError> {
    let Bindings { integers, reals, starts, .. } = *bindings;
    for (input, at) in plan.inputs.iter().zip(&plan.input_places) {
        if input.content == Content::Real {
            let Some(at) = at else { continue };
            let values = bound(input, reals, lengths)?;
            let values = values.iter().map(|&value| f64::from(value));
            match at.kind {
                Kind::Activation => {
                    let round = |value| if rounds { Rounded::from_f64(value).to_f64() } else { value };
                    let to = place::<P::Activation>(staged, at, lengths).iter_mut();
                    to.zip(values).for_each(|(to, from)| *to = Real::from_f64(round(from)));
                }
                Kind::Statistic | Kind::Index => {
                    let to = place::<P::Master>(staged, at, lengths).iter_mut();
                    to.zip(values).for_each(|(to, from)| *to = Real::from_f64(from));
                }
            }
        } else {
            let values = bound(input, integers, lengths)?;
            check_content(plan, input, values, integers, lengths)?;
            if let Some(at) = at {
                place::<i32>(staged, at, lengths).copy_from_slice(values);
            }
        }
    }
    let words = RunScalars::words(plan.axes.len()) * size_of::<u64>();
    let philox = Philox::new(bindings.seed, purpose::DROPOUT);
    let words = bytemuck::cast_slice_mut(&mut staged[plan.regions.scalars..][..words]);
    let mut starts = starts.iter();
    let first_rows = plan.axes.iter().map(|axis| match axis.rows_of {
        Some(_) => 0,
        None => starts.next().copied().unwrap_or(0),
    });
    RunScalars::write(words, philox.key, bindings.step, first_rows);
    let one = &mut staged[plan.regions.one..][..size_of::<P::Master>()];
    bytemuck::cast_slice_mut(one)[0] = P::Master::from_f64(1.0);
    Ok(())
}

/// Where an operand lies among what is staged.
fn place<'a, T: Element>(staged: &'a mut [u8], operand: &Operand, lengths: &[usize]) -> &'a mut [T] {
    let Location::Arena(offset) = operand.location else { unreachable!("inputs lie in the arena") };
    let size = operand.shape.elements(lengths) * size_of::<T>();
    bytemuck::cast_slice_mut(&mut staged[offset..offset + size])
}

/// Makes the unions of lists that [`stage`] has checked: their lengths, their rows, the places of their lists.
pub(super) fn unite(
    plan: &Plan,
    bindings: &Bindings<'_>,
    lengths: &mut [usize],
    marks: &mut [i32],
    staged: &mut [u8],
) {
    for union in &plan.unions {
        let list = |input: usize| {
            let name = &plan.inputs[input].name;
            let found = bindings.integers.iter().find(|(known, _)| known == name);
            found.map_or(&[][..], |(_, list)| list)
        };
        // First whether a row is named, then how many of those before it are.
        let marks = &mut marks[..lengths[union.rows_of]];
        marks.fill(0);
        for &row in union.lists.iter().flat_map(|&input| list(input)) {
            marks[row as usize] = 1;
        }
        lengths[union.axis] = marks.iter().filter(|&&mark| mark == 1).count();
        if let Some(at) = &union.rows {
            let named = (0..).zip(&*marks).filter(|(_, mark)| **mark == 1);
            let to = place::<i32>(staged, at, lengths).iter_mut();
            to.zip(named).for_each(|(to, (row, _))| *to = row);
        }
        let mut before = 0;
        for mark in marks.iter_mut() {
            before += std::mem::replace(mark, before);
        }
        for (&input, at) in union.lists.iter().zip(&union.places) {
            let Some(at) = at else { continue };
            let to = place::<i32>(staged, at, lengths).iter_mut();
            to.zip(list(input)).for_each(|(to, &row)| *to = marks[row as usize]);
        }
    }
}

/// What is bound to an input, if it has the right length.
fn bound<'a, T>(
    input: &InputSpec,
    bindings: &[(&str, &'a [T])],
    lengths: &[usize],
) -> Result<&'a [T], RunError> {
    let found = bindings.iter().find(|(name, _)| *name == input.name);
    let Some((_, values)) = found else {
        return Err(RunError::NotBound { name: input.name.clone() });
    };
    let expected = input.shape.elements(lengths);
    if values.len() != expected {
        return Err(RunError::Length { name: input.name.clone(), found: values.len(), expected });
    }
    Ok(values)
}

/// Checks that integers are what their input declares, so that kernels can index with them.
fn check_content(
    plan: &Plan,
    input: &InputSpec,
    values: &[i32],
    integers: &[(&str, &[i32])],
    lengths: &[usize],
) -> Result<(), RunError> {
    let wrong = |index: usize, expected: String| {
        Err(RunError::Content { name: input.name.clone(), index, value: values[index], expected })
    };
    let limit = match input.content {
        Content::Real => return Ok(()),
        Content::Below(limit) => limit,
        Content::RowOf(axis) | Content::RowOfSequence(_, axis) => lengths[axis.0],
        Content::OrderOf(_) => values.len(),
        Content::OffsetsOf(axis) => {
            let end = lengths[axis.0] as i32;
            if values.first() != Some(&0) {
                return wrong(0, "the first offset is 0".into());
            }
            if values.last() != Some(&end) {
                return wrong(values.len() - 1, format!("the last offset is {end}"));
            }
            return match values.windows(2).position(|pair| pair[0] > pair[1]) {
                Some(index) => wrong(index + 1, "offsets do not descend".into()),
                None => Ok(()),
            };
        }
    };
    let outside = values.iter().position(|&value| value < 0 || value as usize >= limit);
    if let Some(index) = outside {
        return wrong(index, format!("it must lie in 0..{limit}"));
    }
    if let Content::RowOfSequence(of, _) = input.content {
        let offsets = bound(&plan.inputs[of], integers, lengths)?;
        let of_another = |(row, pair): (&i32, &[i32])| pair[0] < pair[1] && !(pair[0]..pair[1]).contains(row);
        if let Some(index) = values.iter().zip(offsets.windows(2)).position(of_another) {
            let (start, end) = (offsets[index], offsets[index + 1]);
            return wrong(index, format!("it must lie in its sequence, {start}..{end}"));
        }
    }
    if let Content::OrderOf(of) = input.content {
        let keys = bound(&plan.inputs[of], integers, lengths)?;
        // Rows that ascend strictly by (key, row) are distinct, and as many as there are rows: all of them.
        let key = |row: i32| (keys[row as usize], row);
        if let Some(index) = values.windows(2).position(|pair| key(pair[0]) >= key(pair[1])) {
            return wrong(index + 1, format!("rows must be sorted by `{}`, stably", plan.inputs[of].name));
        }
    }
    Ok(())
}
