//! The code that a GPU would run, by NVIDIA's disassembler: for checks that PTX cannot answer. How many tensor core
//! instructions there are, whether anything is spilled, whether a product and a sum were made one.
//!
//! `nvdisasm` is fetched from PyPI (5 MB) when it is first wanted, beside NVRTC.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::{self, Command};

use thiserror::Error;

use crate::setup::{self, SetupError};

/// Why there is no code to look at.
#[derive(Debug, Error)]
pub enum CodeError {
    /// The disassembler could not be fetched.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It could not be run.
    #[error("cannot run nvdisasm: {0}")]
    Run(#[from] io::Error),
    /// It did not accept the image.
    #[error("nvdisasm refuses the image: {0}")]
    Refused(String),
}

/// The instructions of an image's kernels: opcodes with their modifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineCode {
    kernels: BTreeMap<String, Kernel>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kernel {
    opcodes: Vec<String>,
    /// Which instruction is next behind a label.
    labels: BTreeMap<String, usize>,
    /// Instructions that branch, and where to.
    branches: Vec<(usize, String)>,
}

/// Some of a kernel's instructions.
#[derive(Clone, Copy, Debug)]
pub struct Instructions<'a>(&'a [String]);

impl Instructions<'_> {
    /// How many begin with `opcode`: `HMMA`, `LDL`, `STG.E.128`.
    pub fn count(&self, opcode: &str) -> usize {
        let wanted = |name: &&String| {
            name.strip_prefix(opcode).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.iter().filter(wanted).count()
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.len()
    }
}

impl MachineCode {
    /// Of a compiled image (cubin).
    ///
    /// # Errors
    /// Where the disassembler is not to be had, or refuses the image.
    pub fn of(image: &[u8]) -> Result<MachineCode, CodeError> {
        let disassembler = setup::disassembler()?;
        let name = format!("{}-{:?}.cubin", process::id(), std::thread::current().id());
        let file = disassembler.with_file_name(name);
        fs::write(&file, image)?;
        let output = Command::new(&disassembler).arg("-c").arg(&file).output();
        fs::remove_file(&file)?;
        let output = output?;
        if !output.status.success() {
            return Err(CodeError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(MachineCode::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// All instructions of a kernel.
    pub fn of_kernel(&self, kernel: &str) -> Instructions<'_> {
        Instructions(self.kernels.get(kernel).map_or(&[], |kernel| &kernel.opcodes))
    }

    /// How many instructions of a kernel begin with `opcode`.
    pub fn count(&self, kernel: &str, opcode: &str) -> usize {
        self.of_kernel(kernel).count(opcode)
    }

    /// The smallest loop of a kernel with `least` instructions `opcode` or more.
    pub fn smallest_loop(&self, kernel: &str, opcode: &str, least: usize) -> Option<Instructions<'_>> {
        let kernel = self.kernels.get(kernel)?;
        let bodies = kernel.branches.iter().filter_map(|(end, label)| {
            let body = kernel.opcodes.get(*kernel.labels.get(label)?..=*end)?;
            Some(Instructions(body)).filter(|body| body.count(opcode) >= least)
        });
        bodies.min_by_key(Instructions::total)
    }

    /// The kernels and device functions of the image.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.keys().map(String::as_str)
    }

    /// Nothing of a kernel is kept in local memory for want of registers.
    #[track_caller]
    pub fn assert_no_spills(&self, kernel: &str) {
        let (loads, stores) = (self.count(kernel, "LDL"), self.count(kernel, "STL"));
        assert!(loads + stores == 0, "{kernel}: {loads} loads of local memory, {stores} stores");
    }

    fn parse(text: &str) -> MachineCode {
        let mut code = MachineCode::default();
        let mut current: Option<&mut Kernel> = None;
        for line in text.lines() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix(".text.").and_then(|rest| rest.strip_suffix(':')) {
                current = Some(code.kernels.entry(name.to_owned()).or_default());
                continue;
            }
            let Some(kernel) = &mut current else { continue };
            if let Some(label) = line.strip_suffix(':') {
                kernel.labels.insert(label.to_owned(), kernel.opcodes.len());
            } else if let Some((_, instruction)) =
                line.strip_prefix("/*").and_then(|rest| rest.split_once("*/"))
            {
                let mut words = instruction.split_whitespace().skip_while(|word| word.starts_with('@'));
                let opcode = words.next().unwrap_or_default().trim_end_matches(';');
                if opcode.starts_with("BRA")
                    && let Some((label, _)) =
                        instruction.split_once("`(").and_then(|(_, rest)| rest.split_once(')'))
                {
                    kernel.branches.push((kernel.opcodes.len(), label.to_owned()));
                }
                kernel.opcodes.push(opcode.to_owned());
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_counted_by_kernel() {
        let code = MachineCode::parse(
            "\t.section\t.text.a,\"ax\",@progbits\n.text.a:\n        /*0000*/       LDC R1, c[0x0][0x28] ;\n\
             /*0010*/  @!P1 HMMA.16816.F32.BF16 R4, R8, R12, R4 ;\n /*0020*/ HMMA.1688.F32 R4, R8, R12, R4 ;\n\
             .text.b:\n /*0000*/ EXIT ;\n /*0010*/ @P0 STL [R1], R2 ;\n",
        );
        assert_eq!(code.kernels().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (code.count("a", "HMMA"), code.count("a", "HMMA.16816"), code.count("a", "LD")),
            (2, 1, 0)
        );
        assert_eq!((code.count("b", "STL"), code.count("b", "EXIT"), code.count("c", "EXIT")), (1, 1, 0));
        code.assert_no_spills("a");
    }

    #[test]
    fn loops_are_found() {
        let code = MachineCode::parse(
            ".text.a:\n /*0000*/ IADD3 R1, R1, R2 ;\n.L_x_0:\n /*0010*/ HMMA.16816 R4, R8, R12, R4 ;\n.L_x_1:\n\
             /*0020*/ HMMA.16816 R4, R8, R12, R4 ;\n /*0030*/ @P0 BRA `(.L_x_1) ;\n /*0040*/ STL [R1], R2 ;\n\
             /*0050*/ @!P1 BRA `(.L_x_0) ;\n /*0060*/ @P2 BRA `(.L_x_2) ;\n.L_x_2:\n /*0070*/ EXIT ;\n",
        );
        let sizes =
            |least| code.smallest_loop("a", "HMMA", least).map(|body| (body.total(), body.count("STL")));
        assert_eq!([sizes(1), sizes(2), sizes(3)], [Some((2, 0)), Some((5, 1)), None]);
        assert_eq!(code.of_kernel("a").total(), 8);
    }

    #[test]
    #[should_panic(expected = "b: 0 loads of local memory, 1 stores")]
    fn spills_are_named() {
        MachineCode::parse(".text.b:\n /*0010*/ STL [R1], R2 ;").assert_no_spills("b");
    }
}
