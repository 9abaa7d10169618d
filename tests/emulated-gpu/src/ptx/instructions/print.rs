//! `printf`: `vprintf(format, arguments)`, with the arguments laid out as in C.

use super::super::PtxError;
use super::super::decode::{Decoding, checked};
use super::super::operation::Operation;
use super::super::run::{Machine, active};

/// `(ret), vprintf, (format, arguments)`: each lane's text goes to the launch's statistics.
pub fn decode<'a>(d: &mut Decoding<'_, '_, '_, 'a>, arguments: &[&'a str]) -> Result<Operation, PtxError> {
    let places = d.arguments(arguments)?;
    let &[format, values] = places.as_slice() else { return Err(d.invalid("a print with other arguments")) };
    Ok(checked(move |machine, mask| {
        for lane in active(mask) {
            let format = machine.text(machine.argument(lane, format, 8));
            let values = machine.argument(lane, values, 8);
            let text = render(machine, lane, &format, values);
            machine.printed.push_str(&text);
        }
        Ok(())
    }))
}

/// C formatting of the conversions that kernels use; flags and widths are not looked at, precisions are.
fn render(machine: &mut Machine, lane: usize, format: &str, mut values: u64) -> String {
    let mut text = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut specification = String::new();
        while let Some(&c) = rest.peek() {
            rest.next();
            if c.is_ascii_alphabetic() && !matches!(c, 'l' | 'h' | 'z') || c == '%' {
                specification.push(c);
                break;
            }
            specification.push(c);
        }
        let conversion = specification.chars().last().unwrap_or('%');
        if conversion == '%' {
            text.push('%');
            continue;
        }
        let long = specification.contains(['l', 'z']) || matches!(conversion, 'f' | 'e' | 'g' | 's' | 'p');
        let size = if long { 8 } else { 4 };
        values = values.wrapping_add(size - 1) & !(size - 1);
        let bits = machine.generic(lane, values, size as usize);
        values = values.wrapping_add(size);
        let precision = specification.split_once('.').map(|(_, tail)| tail.trim_matches(char::is_alphabetic));
        let precision = precision.and_then(|digits| digits.parse().ok()).unwrap_or(6);
        text += &match conversion {
            'd' | 'i' if long => (bits as i64).to_string(),
            'd' | 'i' => (bits as i32).to_string(),
            'u' => bits.to_string(),
            'x' => format!("{bits:x}"),
            'p' => format!("{bits:#x}"),
            'c' => char::from(bits as u8).to_string(),
            's' => machine.text(bits),
            'e' => format!("{:.precision$e}", f64::from_bits(bits)),
            'f' => format!("{:.precision$}", f64::from_bits(bits)),
            'g' => f64::from_bits(bits).to_string(),
            _ => format!("%{specification}"),
        };
    }
    text
}
