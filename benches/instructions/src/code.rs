//! This program as machine code: instructions, and the lines of source that they come from.

use crate::tools::{ask, this_program};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

pub(crate) struct Code {
    instructions: BTreeMap<u64, Instruction>,
}

pub(crate) struct Instruction {
    pub(crate) text: String,
    /// The function that it lies in.
    pub(crate) function: String,
}

impl Instruction {
    /// It calls a function. One that ends with a jump to another has not called it.
    pub(crate) fn is_call(&self) -> bool {
        self.text.starts_with("call")
    }

    /// It may go one way or the other.
    pub(crate) fn is_branch(&self) -> bool {
        self.text.starts_with('j') && !self.text.starts_with("jmp")
    }

    /// What is locked, if it is: a fence costs as much, and an exchange with memory needs no
    /// prefix.
    pub(crate) fn locked(&self) -> Option<&str> {
        let text = self.text.strip_prefix("lock ").unwrap_or(&self.text);
        let is_exchange = text.starts_with("xchg") && text.contains('[');
        let is_locked = text.len() < self.text.len() || is_exchange || text.starts_with("mfence");
        text.split(' ').next().filter(|_| is_locked)
    }

    /// Where it may jump to.
    pub(crate) fn target(&self) -> Option<u64> {
        let target = self.text.strip_prefix('j')?.split_whitespace().nth(1)?;
        u64::from_str_radix(target, 16).ok()
    }
}

impl Code {
    pub(crate) fn of_this_program() -> Result<Self, String> {
        let mut instructions = BTreeMap::new();
        let mut function = String::new();
        let mut objdump = Command::new("objdump");
        objdump.args(["-d", "-C", "-M", "intel", "--no-show-raw-insn"]).arg(this_program()?);
        for line in ask(&mut objdump)?.lines() {
            if let Some((address, text)) = line.split_once(":\t") {
                let Ok(address) = u64::from_str_radix(address.trim(), 16) else { continue };
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                instructions.insert(address, Instruction { text, function: function.clone() });
            } else if let Some((_, name)) = line.split_once(" <") {
                function = name.strip_suffix(">:").unwrap_or(name).into();
            }
        }
        Ok(Self { instructions })
    }

    pub(crate) fn at(&self, address: u64) -> Option<&Instruction> {
        self.instructions.get(&address)
    }

    /// Where the function of a path begins.
    pub(crate) fn entry(&self, path: &str) -> Option<u64> {
        let name = format!("::paths::{path}");
        let is_there = |instruction: &Instruction| instruction.function.ends_with(&name);
        self.instructions.iter().find(|(_, found)| is_there(found)).map(|(address, _)| *address)
    }

    /// It touches a variable of the thread's own.
    pub(crate) fn is_about_the_thread(&self, address: u64) -> bool {
        self.at(address).is_some_and(|instruction| instruction.text.contains("fs:"))
    }

    /// For each address the line of this repository that it comes from, as `file:line`: where code
    /// of others has been inlined, the line that asked for it.
    pub(crate) fn lines(addresses: &BTreeMap<u64, u64>) -> Result<BTreeMap<u64, String>, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let mut addr2line = Command::new("addr2line");
        addr2line.args(["-a", "-i", "-e"]).arg(this_program()?);
        addr2line.args(addresses.keys().map(|address| format!("{address:#x}")));
        let (mut found, mut now) = (BTreeMap::new(), 0);
        for line in ask(&mut addr2line)?.lines() {
            if let Some(address) = line.strip_prefix("0x") {
                now = u64::from_str_radix(address, 16).map_err(|error| error.to_string())?;
            } else if let Ok(place) = Path::new(line).strip_prefix(&root) {
                let place = place.to_string_lossy();
                let place = place.split(' ').next().unwrap_or_default().to_owned();
                found.entry(now).or_insert(place);
            }
        }
        Ok(found)
    }
}
