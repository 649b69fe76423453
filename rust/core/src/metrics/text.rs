//! The text format: lines of OpenMetrics 1.0.

use crate::metrics::Family;
use crate::shared::board::DURATIONS;
use std::fmt::{self, Write};

/// The smallest bucket that is told ends at 2^FIRST microseconds: what is shorter than a
/// process takes to be made is told together.
const FIRST: usize = 6;

pub(super) struct Text<'a> {
    out: &'a mut dyn Write,
    /// Of the family whose samples come.
    prefix: &'static str,
}

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Text<'a> {
        Text { out, prefix: "" }
    }

    /// What it is, and what it tells.
    pub(super) fn describe(&mut self, family: &Family) -> fmt::Result {
        self.prefix = family.prefix;
        let Family { prefix, name, kind, .. } = family;
        writeln!(self.out, "# TYPE {prefix}{name} {kind}")?;
        if name.ends_with("_seconds") {
            writeln!(self.out, "# UNIT {prefix}{name} seconds")?;
        }
        write!(self.out, "# HELP {prefix}{name}")?;
        for line in family.about {
            self.out.write_char(' ')?;
            // Names have backticks, which are for pages.
            line.trim().split('`').try_for_each(|piece| self.escape(piece))?;
        }
        self.out.write_char('\n')
    }

    pub(super) fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        label: Option<(&str, &str)>,
        value: u64,
    ) -> fmt::Result {
        write!(self.out, "{}{name}{suffix}", self.prefix)?;
        if let Some((label, text)) = label {
            write!(self.out, "{{{label}=\"")?;
            self.escape(text)?;
            self.out.write_str("\"}")?;
        }
        writeln!(self.out, " {value}")
    }

    /// Entry i of `counts` has what lasted less than 2^i microseconds, and not less than
    /// the entry before says; the last has all that was longer.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        counts: &[u64; DURATIONS],
        sum_us: u64,
    ) -> fmt::Result {
        let mut sum = 0_u64;
        for (index, count) in counts.iter().enumerate() {
            // Children may have written anything there; a sum that wraps would be no text
            // of this format.
            sum = sum.saturating_add(*count);
            if index == DURATIONS - 1 {
                writeln!(self.out, "{name}_bucket{{le=\"+Inf\"}} {sum}")?;
            } else if index >= FIRST {
                write!(self.out, "{name}_bucket{{le=\"")?;
                self.seconds(1 << index)?;
                writeln!(self.out, "\"}} {sum}")?;
            }
        }
        writeln!(self.out, "{name}_count {sum}")?;
        write!(self.out, "{name}_sum ")?;
        self.seconds(sum_us)?;
        self.out.write_char('\n')
    }

    fn seconds(&mut self, us: u64) -> fmt::Result {
        write!(self.out, "{}.{:06}", us / 1_000_000, us % 1_000_000)
    }

    fn escape(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|one| match one {
            '\\' => self.out.write_str("\\\\"),
            '"' => self.out.write_str("\\\""),
            '\n' => self.out.write_str("\\n"),
            other => self.out.write_char(other),
        })
    }

    pub(super) fn end(self) -> fmt::Result {
        self.out.write_str("# EOF\n")
    }
}
