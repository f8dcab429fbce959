//! Parameters that the toolstack may change while the machine runs (`xl set-parameters`, `xenhypfs write`).

use command_line::{LogLevel, LogLevels};
use core::fmt;
use vault::{Durable, Tx, record};

record! {
    /// Those that were changed; what is zero is as the command line says.
    ///
    /// Lock: `Static::machine`. Rebuild: the log's levels (effect `CONSOLE`, and every start).
    pub struct Parameters {
        /// `gnttab_max_frames` and `gnttab_max_maptrack_frames`, each plus one.
        grants: [Durable<u32>; 2],
        /// `loglvl` and `guest_loglvl`: always, at a limited rate (four bits each), and [`CHANGED`].
        levels: [Durable<u32>; 2],
    }
}

/// The levels were changed.
const CHANGED: u32 = 0x100;

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// `gnttab_max_frames`: frames of a grant table that a domain gets at most.
    GrantFrames,
    /// `gnttab_max_maptrack_frames`: what it may map.
    MaptrackFrames,
    /// `loglvl`: which messages of the hypervisor are printed.
    LogLevels,
    /// `guest_loglvl`: which messages about guests are.
    GuestLogLevels,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u32),
    /// Levels.
    Levels(LogLevels),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Levels(levels) => write!(f, "{levels}"),
        }
    }
}

impl Value {
    /// Whether it is frames of grant tables, and more than `most`.
    pub fn is_above(&self, which: Parameter, most: u32) -> bool {
        which == Parameter::GrantFrames && matches!(*self, Value::Number(number) if number > most)
    }
}

impl Parameters {
    /// A parameter; `otherwise`: what the command line says.
    pub fn get(&self, which: Parameter, otherwise: Value) -> Value {
        let (word, of_levels) = self.word(which);
        match (word.get(), of_levels) {
            (0, _) => otherwise,
            (levels, true) => Value::Levels(unpacked(levels)),
            (number, false) => Value::Number(number - 1),
        }
    }

    /// Changes one; a value of the other sort, or a number that is not kept, changes nothing.
    pub fn set(&self, tx: &mut Tx<'_>, which: Parameter, value: Value) {
        match (self.word(which), value) {
            ((word, false), Value::Number(number)) => tx.set(word, number.saturating_add(1)),
            ((word, true), Value::Levels(levels)) => tx.set(word, packed(levels)),
            _ => {}
        }
    }

    fn word(&self, which: Parameter) -> (&Durable<u32>, bool) {
        match which {
            Parameter::GrantFrames => (&self.grants[0], false),
            Parameter::MaptrackFrames => (&self.grants[1], false),
            Parameter::LogLevels => (&self.levels[0], true),
            Parameter::GuestLogLevels => (&self.levels[1], true),
        }
    }
}

fn packed(levels: LogLevels) -> u32 {
    CHANGED | levels.always as u32 | (levels.rate_limited as u32) << 4
}

fn unpacked(word: u32) -> LogLevels {
    let level = |number: u32| match number & 0xf {
        0 => LogLevel::None,
        1 => LogLevel::Error,
        2 => LogLevel::Warning,
        3 => LogLevel::Info,
        _ => LogLevel::Debug,
    };
    LogLevels { always: level(word), rate_limited: level(word >> 4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_fit_a_word() {
        let all = [LogLevel::None, LogLevel::Error, LogLevel::Warning, LogLevel::Info, LogLevel::Debug];
        for always in all {
            for rate_limited in all {
                let levels = LogLevels { always, rate_limited };
                assert_eq!(unpacked(packed(levels)), levels);
            }
        }
    }
}
