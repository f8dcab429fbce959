//! The chart's text (`hypervisor/src/chart.rs` says what it holds).

/// Where a field of a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// A region of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) va: u64,
    pub(crate) stride: usize,
    pub(crate) count: usize,
    pub(crate) fields: Vec<Field>,
}

/// Memory of the hypervisor's: first byte, first byte after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) name: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chart {
    /// The hypervisor's root table, a machine address.
    pub(crate) root: u64,
    pub(crate) cpus: u64,
    pub(crate) ram: Vec<(u64, u64)>,
    /// Memory-mapped configuration space.
    pub(crate) configuration: Vec<(u64, u64)>,
    pub(crate) own: Vec<Own>,
    /// Single words: name and address.
    pub(crate) words: Vec<(String, u64)>,
    pub(crate) regions: Vec<Region>,
}

/// The first line.
const HEAD: &str = "revenant chart 1";

impl Chart {
    /// Reads the text.
    pub(crate) fn parse(text: &str) -> Result<Chart, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("the chart does not begin with \"{HEAD}\""));
        }
        let mut chart = Chart::default();
        for line in lines {
            if line == "end" {
                return Ok(chart);
            }
            chart.line(line).ok_or_else(|| format!("the chart has a strange line: {line}"))?;
        }
        Err("the chart has no end".into())
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        match words[..] {
            ["root", root] => self.root = number(root)?,
            ["cpus", cpus] => self.cpus = number(cpus)?,
            ["ram", start, end] => self.ram.push((number(start)?, number(end)?)),
            ["configuration", start, end] => self.configuration.push((number(start)?, number(end)?)),
            ["own", name, start, end] => {
                self.own.push(Own { name: name.into(), start: number(start)?, end: number(end)? });
            }
            ["word", name, va] => self.words.push((name.into(), number(va)?)),
            ["region", name, va, stride, count] => self.regions.push(Region {
                name: name.into(),
                va: number(va)?,
                stride: usize::try_from(number(stride)?).ok()?,
                count: usize::try_from(number(count)?).ok()?,
                fields: Vec::new(),
            }),
            ["field", name, offset, bytes] => self.regions.last_mut()?.fields.push(Field {
                name: name.into(),
                offset: usize::try_from(number(offset)?).ok()?,
                bytes: usize::try_from(number(bytes)?).ok()?,
            }),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_read_whole_or_refused() {
        let text = "revenant chart 1\nroot 1000\ncpus 2\nram 0 a0000\nown heap 5000 6000\nword w 18\n\
                    region a::B ffff820000000000 18 3\nfield x 0 8\nfield y 8 10\nend\n\0\0";
        let chart = Chart::parse(text).unwrap();
        assert_eq!((chart.root, chart.cpus, chart.ram.len()), (0x1000, 2, 1));
        assert_eq!(chart.words, [("w".to_string(), 0x18)]);
        assert_eq!(chart.regions[0].fields[1], Field { name: "y".into(), offset: 8, bytes: 16 });
        assert!(Chart::parse("revenant chart 2\nend").is_err());
        assert!(Chart::parse(text.split("end").next().unwrap()).is_err());
        assert!(Chart::parse(&text.replace("cpus 2", "cpus two")).is_err());
        assert!(Chart::parse("revenant chart 1\nfield x 0 8\nend").is_err());
    }
}
