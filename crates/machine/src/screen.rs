//! The screen as a place for the log: VGA text, or a linear frame buffer with a font of 8 by 16 pixels.
//!
//! What is shown is kept beside the screen, which is slow to read: scrolling writes the characters that change.
#![expect(unsafe_code, reason = "video memory, cursor registers")]

use crate::port;
use font8x8::legacy::BASIC_LEGACY;

/// Characters of a line that are used.
const MAX_COLUMNS: usize = 160;
/// Lines that are used.
const MAX_ROWS: usize = 64;
const GLYPH_WIDTH: usize = 8;
const GLYPH_HEIGHT: usize = 16;
/// Light grey on black, the attribute of a text screen's character.
const ATTRIBUTE: u16 = 0x0700;
/// Grey in every format: this byte for each of a pixel's.
const GREY: u8 = 0xaa;
/// Index and data port of the CRT controller.
const CRT_INDEX: u16 = 0x3d4;
const CURSOR_HIGH: u8 = 0x0e;
const CURSOR_LOW: u8 = 0x0f;

/// What video memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Two bytes for each character, that many in a line.
    Text {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Pixels.
    Pixels {
        /// Bytes from line to line.
        pitch: u32,
        /// Pixels in a line.
        width: u16,
        /// Lines.
        height: u16,
        /// Bytes of a pixel.
        bytes: u8,
    },
}

impl Format {
    /// Bytes of video memory.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Text { columns, rows } => 2 * columns as u64 * rows as u64,
            Self::Pixels { pitch, height, .. } => pitch as u64 * height as u64,
        }
    }

    fn cells(self) -> (usize, usize) {
        let (columns, rows) = match self {
            Self::Text { columns, rows } => (usize::from(columns), usize::from(rows)),
            Self::Pixels { width, height, .. } => {
                (usize::from(width) / GLYPH_WIDTH, usize::from(height) / GLYPH_HEIGHT)
            }
        };
        (columns.min(MAX_COLUMNS), rows.min(MAX_ROWS))
    }
}

/// A screen. Large: made for a variable, where it is opened.
#[derive(Debug)]
pub struct Screen {
    /// 0: not in use.
    base: usize,
    format: Format,
    columns: usize,
    rows: usize,
    column: usize,
    row: usize,
    /// What is shown; 0 is a blank.
    cells: [[u8; MAX_COLUMNS]; MAX_ROWS],
}

impl Screen {
    /// None.
    pub const CLOSED: Self = Self {
        base: 0,
        format: Format::Text { columns: 0, rows: 0 },
        columns: 0,
        rows: 0,
        column: 0,
        row: 0,
        cells: [[0; MAX_COLUMNS]; MAX_ROWS],
    };

    /// Takes the screen whose memory is at `base` and clears it; false if it has no room for a character.
    ///
    /// # Safety
    /// [`Format::bytes`] bytes of video memory are mapped there, and nobody else uses it.
    pub unsafe fn open(&mut self, base: u64, format: Format) -> bool {
        let (columns, rows) = format.cells();
        if columns == 0 || rows == 0 {
            return false;
        }
        (self.base, self.format) = (base as usize, format);
        (self.columns, self.rows) = (columns, rows);
        (self.column, self.row) = (0, 0);
        for row in 0..rows {
            self.cells[row] = [0; MAX_COLUMNS];
            (0..columns).for_each(|column| self.draw(column, row));
        }
        true
    }

    /// Leaves it as it is.
    pub const fn close(&mut self) {
        self.base = 0;
    }

    /// Whether there is one.
    pub const fn is_open(&self) -> bool {
        self.base != 0
    }

    /// The same screen, seen elsewhere from now on.
    ///
    /// # Safety
    /// As [`open`](Self::open).
    pub unsafe fn moved(&mut self, base: u64) {
        self.base = base as usize;
    }

    /// The cursor: from the left, from the top.
    pub const fn cursor(&self) -> (u16, u16) {
        (self.column as u16, self.row as u16)
    }

    /// Writes text: printable ASCII, tabs and newlines; other bytes are left out.
    pub fn write(&mut self, bytes: &[u8]) {
        if !self.is_open() {
            return;
        }
        for &byte in bytes {
            match byte {
                b'\n' => self.next_line(),
                b'\r' => self.column = 0,
                b'\t' => self.column = (self.column | 7) + 1,
                b' '..=b'~' => {
                    if self.column >= self.columns {
                        self.next_line();
                    }
                    self.set(self.column, self.row, byte);
                    self.column += 1;
                }
                _ => {}
            }
        }
        self.show_cursor();
    }

    fn next_line(&mut self) {
        self.column = 0;
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        for row in 0..self.rows {
            let next = if row + 1 < self.rows { self.cells[row + 1] } else { [0; MAX_COLUMNS] };
            (0..self.columns).for_each(|column| self.set(column, row, next[column]));
        }
    }

    fn set(&mut self, column: usize, row: usize, byte: u8) {
        if self.cells[row][column] != byte {
            self.cells[row][column] = byte;
            self.draw(column, row);
        }
    }

    fn draw(&self, column: usize, row: usize) {
        let byte = self.cells[row][column].max(b' ');
        match self.format {
            Format::Text { columns, .. } => {
                let at = self.base + 2 * (row * usize::from(columns) + column);
                let cell: *mut u16 = core::ptr::with_exposed_provenance_mut(at);
                // SAFETY: within the memory that `open` was promised: `cells` limits column and row.
                unsafe { cell.write_volatile(ATTRIBUTE | u16::from(byte)) };
            }
            Format::Pixels { pitch, bytes, .. } => {
                let glyph = BASIC_LEGACY.get(usize::from(byte)).copied().unwrap_or([0; 8]);
                for line in 0..GLYPH_HEIGHT {
                    let first = (row * GLYPH_HEIGHT + line) * pitch as usize
                        + column * GLYPH_WIDTH * usize::from(bytes);
                    self.draw_line(first, glyph[line / 2], usize::from(bytes));
                }
            }
        }
    }

    /// Eight pixels, the lowest bit leftmost.
    fn draw_line(&self, first: usize, bits: u8, bytes: usize) {
        for at in 0..GLYPH_WIDTH * bytes {
            let pixel: *mut u8 = core::ptr::with_exposed_provenance_mut(self.base + first + at);
            let value = if bits >> (at / bytes) & 1 != 0 { GREY } else { 0 };
            // SAFETY: as in `draw`.
            unsafe { pixel.write_volatile(value) };
        }
    }

    fn show_cursor(&self) {
        let Format::Text { columns, .. } = self.format else { return };
        let at = (self.row * usize::from(columns) + self.column.min(self.columns - 1)) as u16;
        for (register, value) in [(CURSOR_HIGH, (at >> 8) as u8), (CURSOR_LOW, at as u8)] {
            // SAFETY: the CRT controller's cursor registers.
            unsafe { port::write_u8(CRT_INDEX, register) };
            // SAFETY: as above.
            unsafe { port::write_u8(CRT_INDEX + 1, value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels() -> (Vec<u8>, Screen) {
        // 3 by 2 characters, and a strip beside each line.
        let format = Format::Pixels { pitch: 112, width: 24, height: 33, bytes: 4 };
        let mut memory = vec![1; format.bytes() as usize];
        let base = memory.as_mut_ptr().expose_provenance() as u64;
        let mut screen = Screen::CLOSED;
        // SAFETY: `memory` outlives the screen in each test below.
        assert!(unsafe { screen.open(base, format) });
        (memory, screen)
    }

    #[test]
    fn characters_become_pixels_and_lines_scroll() {
        let (memory, mut screen) = pixels();
        screen.write(b"I\nab");
        assert_eq!(screen.cursor(), (2, 1));
        let lit = |memory: &[u8], column: usize, row: usize| {
            (0..16)
                .flat_map(|y| (0..32).map(move |x| (row * 16 + y) * 112 + column * 32 + x))
                .filter(|at| memory[*at] == GREY)
                .count()
        };
        assert!(lit(&memory, 0, 0) > 0 && lit(&memory, 1, 0) == 0 && lit(&memory, 1, 1) > 0);
        let before = lit(&memory, 0, 1);
        screen.write(b"\n\x1b");
        assert_eq!((lit(&memory, 0, 0), lit(&memory, 0, 1)), (before, 0));
        // Nothing is drawn beside the characters.
        assert!(memory.chunks(112).take(33).all(|line| line[96..].iter().all(|byte| *byte == 1)));
        screen.write(b"abcd");
        assert_eq!(screen.cursor(), (1, 1));
    }

    #[test]
    fn a_screen_without_room_is_none() {
        let format = Format::Pixels { pitch: 4, width: 1, height: 1, bytes: 4 };
        let mut screen = Screen::CLOSED;
        // SAFETY: nothing is drawn.
        assert!(!unsafe { screen.open(0, format) });
        assert_eq!(Format::Text { columns: 80, rows: 25 }.bytes(), 4000);
    }
}
